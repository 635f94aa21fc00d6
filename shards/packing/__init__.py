"""From sources to shards of pairs."""
