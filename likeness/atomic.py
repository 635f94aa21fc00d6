"""Files and folders that appear whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from likeness.command import BadInput
from likeness.process.system_errors import warn_of_lack


def _read_umask() -> int:
    # Only by setting it, for all threads: what they created meanwhile would get other permissions.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


_UMASK = _read_umask()
"""Read once, before there are other threads."""


_LACKING = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say of an operation that they do not have."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of writing, which do not say what was being written."""
_LONGEST = 200
"""Of a name's 255 bytes: the rest is for what a temporary name adds."""


def sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk; where the file system cannot, that is said once."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError as error:
        if not path.is_dir():
            raise
        # One that may be written and not be read.
        _warn_of_flush(path, error)
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _LACKING:
            raise
        _warn_of_flush(path, error)
    finally:
        os.close(descriptor)


def _warn_of_flush(path: Path, error: OSError) -> None:
    what = "folders" if path.is_dir() else "files"
    warn_of_lack(path, f"cannot flush {what}", error, "after a power cut, what was written last may be missing")


def settle(path: Path, mode: int = 0o666) -> None:
    """Flushes to disk and gives the permissions that an ordinary open() or mkdir() would have given.

    mode: of a file, or 0o777 of a folder, from which the umask is taken. Where the file system sets no permissions,
    that is said once.
    """
    wanted = mode & ~_UMASK
    try:
        path.chmod(wanted)
    except OSError as error:
        if error.errno not in (errno.EPERM, *_LACKING):
            raise
        # It is ours, so that it is the file system that refuses.
        if path.stat().st_mode & 0o777 != wanted:
            warn_of_lack(path.parent, "sets no permissions", error, "what is written there has those that it gives")
    sync(path)


@contextmanager
def _place(path: Path) -> Iterator[None]:
    """Makes the folders above; when the body raises, those go again that it made and nobody uses."""
    missing = [folder for folder in path.parents if not folder.exists()]
    if not missing and not path.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Raises where that can be no name, which temporary ones, that are cut, would not show.
        path.exists()
        yield
    except BaseException:
        for folder in missing:
            try:
                folder.rmdir()
            except OSError:
                break  # never made, or in use
        raise


@contextmanager
def _named(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Lets what the system says of a temporary name, or of a write, speak of `path`."""
    try:
        yield
    except OSError as error:
        name = error.filename
        of_partial = isinstance(name, str) and (partial is None or Path(name).is_relative_to(partial))
        if of_partial or (name is None and error.errno in _NO_ROOM):
            error.filename = str(path)
        raise


def _beginning(name: str) -> str:
    return "." + os.fsdecode(os.fsencode(name)[:_LONGEST]) + "-"


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is fsynced and renamed to `path`.

    An existing file is replaced. When the body raises, nothing is left behind, nor are folders made for it.
    """
    path = Path(path)
    with _place(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        with _named(path):
            # Beside the target, because a rename is atomic within one file system only.
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=_beginning(path.stem), suffix=path.suffix)
        os.close(handle)
        partial = Path(name)
        try:
            with _named(path, partial):
                yield partial
                # Flushed before the rename: after a power cut, some file systems have the new name and none of the
                # bytes.
                settle(partial)
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
    with _place(path):
        with _named(path):
            partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=_beginning(path.name)))
        try:
            with _named(path, partial):
                yield partial
                for file in partial.rglob("*"):
                    sync(file)
                settle(partial, 0o777)
                os.replace(partial, path)
            sync(path.parent)
        finally:
            if partial.exists():
                shutil.rmtree(partial)


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `out`, from which files can be renamed to it; afterwards it is gone.

    So is, when the body raises, what of the folders above was made for it.
    """
    with _place(out):
        with _named(out):
            folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=_beginning(out.stem)))
        try:
            with _named(out, folder):
                yield folder
        finally:
            shutil.rmtree(folder)


def move_folder(source: Path, target: Path) -> None:
    """Renames a folder. Where that is not to be had, it appears under its new name whole, and then the old one goes.

    An overlay, as containers have it, renames no folder of its lower layer.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with new_folder(target) as partial:
            shutil.copytree(source, partial, dirs_exist_ok=True)
        shutil.rmtree(source)


def refuse_existing(path: Path) -> None:
    """Raises BadInput when `path` exists. An empty folder counts as existing, too."""
    if Path(path).exists():
        raise BadInput(f"{path} exists already; remove it or choose another --out")
