"""From shards to checkpoints: methods, networks, losses, and the loop that trains them."""
