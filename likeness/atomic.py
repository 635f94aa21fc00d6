"""Files and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from likeness.command import BadInput


def _read_umask() -> int:
    # Only by setting it, for all threads: what they created meanwhile would get other permissions.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


_UMASK = _read_umask()
"""Read once, before there are other threads."""


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settle(path: Path, mode: int) -> None:
    """Flushes to disk and gives the permissions that an ordinary open() or mkdir() would have given."""
    path.chmod(mode & ~_UMASK)
    sync(path)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is fsynced and renamed to `path`.

    An existing file is replaced. When the body raises, nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, because a rename is atomic within one file system only.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # Flushed before the rename: after a power cut, some file systems have the new name and none of the bytes.
        _settle(partial, 0o666)
        os.replace(partial, path)
        # The name stands in the folder, which is flushed by itself.
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` atomically."""
    with new_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on success its files are fsynced and it is renamed to `path`.

    Raises BadInput when `path` already exists: nobody's results are overwritten.
    """
    path = Path(path)
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield partial
        for file in partial.rglob("*"):
            sync(file)
        _settle(partial, 0o777)
        os.replace(partial, path)
        sync(path.parent)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def refuse_existing(path: Path) -> None:
    """Raises BadInput when `path` exists. An empty folder counts as existing, too."""
    if Path(path).exists():
        raise BadInput(f"{path} exists already; remove it or choose another --out")
