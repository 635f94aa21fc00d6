"""Evaluation as a user runs it: what known pictures score, on any number of ranks, from checkpoints, folders and lists."""
