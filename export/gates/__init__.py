"""What a graph must pass before it is written."""
