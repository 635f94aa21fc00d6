"""Where files will lie: folders that a command has still to make are judged by the one that is there."""

from pathlib import Path


def nearest_existing(path: Path) -> Path:
    """The path itself where it exists, else the nearest folder above it that does."""
    return next(place for place in (path, *path.parents) if place.exists())
