"""Where files will lie, and how one comes to lie in two places."""

import os
import shutil
from pathlib import Path


def nearest_existing(path: Path) -> Path:
    """The path itself where it exists, else the nearest folder above it that does, which stands for what is to come."""
    return next(place for place in (path, *path.parents) if place.exists())


def require_readable(file: Path) -> None:
    """Raises the OSError that says why a file cannot be read: libraries that open files tell less."""
    file.open("rb").close()


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file; a copy, where the file system or the distance does not allow that."""
    try:
        os.link(source, target)
    except OSError:
        # Whatever is wrong beside links, the copy runs into it, too. Not copy(), which sets permissions.
        shutil.copyfile(source, target)
