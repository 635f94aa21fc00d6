"""Checkpoints: their files, when they are written, and the generators in them."""
