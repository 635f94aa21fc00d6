"""From videos and pictures to shards of pairs, and back to training batches."""
