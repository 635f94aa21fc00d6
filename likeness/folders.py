"""Walks a folder of somebody's files, and keeps count of what lies there and is not used."""

import os
from collections.abc import Iterator
from pathlib import Path

from likeness.command import BadInput
from likeness.names import name_of

_SHOWN = 3
"""Names that stand for the others of one reason."""


class Unused:
    """What lies in a folder and is not used: counts by reason, with the first names."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """reason: a word or more about each of them, such as `hidden` or `no video`."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        first = self._first.setdefault(reason, [])
        if len(first) < _SHOWN:
            first.append(name)

    def notes(self) -> tuple[str, ...]:
        """One line that counts all of it; none where everything is used."""
        parts = [
            f"{count} {reason} ({', '.join(self._first[reason])}{', …' if count > _SHOWN else ''})"
            for reason, count in sorted(self._counts.items())
        ]
        return (f"not used: {'; '.join(parts)}",) if parts else ()


def visible_files(folder: Path, unused: Unused) -> dict[str, Path]:
    """The files under a folder, at any depth, by name (see `likeness.names.name_of`), in the order of their names.

    Links are followed, except into a folder that they lie in, which would never end. Counted in `unused`: hidden files
    and folders, such links, dead ones, what is neither file nor folder, and folders that cannot be opened.
    Raises BadInput when two files have one name, spelled in two ways.
    """
    found: dict[str, Path] = {}
    for path in _below(folder, folder, (), unused):
        name = name_of(path, folder)
        if name in found:
            raise BadInput(f"{path} and {found[name]} have one name, spelled in two ways; rename one of them")
        found[name] = path
    return dict(sorted(found.items()))


def once_each(files: dict[str, Path], unused: Unused) -> dict[str, Path]:
    """Without files that a link leads to a second time; of two ways that which takes no link, else the first, stays.

    Where files are drawn apart, for training and testing, say, none may be met under two names.
    """
    real = {name: Path(os.path.realpath(path)) for name, path in files.items()}
    kept: dict[Path, str] = {}
    for name in sorted(files, key=lambda name: (real[name] != files[name].absolute(), name)):
        if real[name] in kept:
            unused.add("linked a second time", name)
        else:
            kept[real[name]] = name
    names = set(kept.values())
    return {name: path for name, path in files.items() if name in names}


def _below(folder: Path, root: Path, above: tuple[tuple[int, int], ...], unused: Unused) -> Iterator[Path]:
    """above: the folders that this one lies in, each as (device, inode)."""
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in above:
            unused.add("links to a folder that they lie in", name_of(folder, root))
            return
        # Kinds come with the names: asking after every file of a large dataset takes minutes on a network disk.
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        unused.add(f"folders that cannot be opened ({error.strerror})", name_of(folder, root))
        return
    for entry in inside:
        path = folder / entry.name
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link that leads to itself
            is_folder = is_file = False
        if entry.name.startswith("."):
            unused.add("hidden", name_of(path, root))
        elif is_folder:
            yield from _below(path, root, (*above, (status.st_dev, status.st_ino)), unused)
        elif is_file:
            yield path
        else:
            unused.add("dead links" if entry.is_symlink() else "neither files nor folders", name_of(path, root))
