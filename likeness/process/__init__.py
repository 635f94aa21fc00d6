"""What a process lives with: signals, streams, surroundings, threads, and the errors of its system."""
