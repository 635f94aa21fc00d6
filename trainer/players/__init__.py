"""A player's networks on however many ranks: engines, optimizers, averages."""
