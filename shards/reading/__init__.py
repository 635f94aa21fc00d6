"""From shards, wherever they lie, to samples in a known order."""
