"""How long a graph takes, against the hardware's limits."""
