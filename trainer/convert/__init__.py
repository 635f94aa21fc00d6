"""Checkpoints of weights that the authors' own code trained."""
