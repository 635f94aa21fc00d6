"""Checkpoints: files, when they are written, and the painter in them."""
