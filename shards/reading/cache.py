"""Downloaded shards on the local disk, shared by all processes of a machine."""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from likeness.command import BadInput
from shards.records import Shard

_CACHED = re.compile(r"[0-9a-f]{64}-.+")
_PARTIAL = re.compile(r"\.[0-9a-f]{64}-.+\.part")


@dataclass(frozen=True)
class Cache:
    """A folder for downloaded shards, shared by all processes of a machine."""

    folder: Path
    """The folder, of a local disk."""
    limit_bytes: int | None = None
    """What the shards in it may occupy together, in bytes; None for no limit. When it is exceeded, the least recently
    used go first. Shards that another process has just been given stay, and so does a single one that is bigger."""


class Pin:
    """A shared lock on a cached file: no process removes it meanwhile, this one included."""

    # Locks are of the open file, not of its name: between opening and locking, another process may have removed the
    # file or put a new one there. Hence the comparison of inodes wherever a lock has been waited for.

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.process = descriptor, os.getpid()
        status = os.fstat(descriptor)
        self.inode, self.bytes = status.st_ino, status.st_size

    @classmethod
    def take(cls, file: Path) -> "Pin | None":
        """None when there is no such file, or no longer."""
        try:
            pin = cls(os.open(file, os.O_RDONLY))
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(pin.descriptor, fcntl.LOCK_SH)
        except BaseException:
            # Not released, which would unlock what is not locked.
            os.close(pin.descriptor)
            pin.descriptor = -1
            raise
        status = stat_if_there(file)
        if status is not None and status.st_ino == pin.inode:
            return pin
        pin.release()
        return None

    def release(self) -> None:
        if self.descriptor < 0:
            return
        # A forked child shares the lock with its parent: closing leaves it be, unlocking would end it for both. For the
        # same reason the owner must unlock; closing is not enough while a child has it open.
        if self.process == os.getpid():
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)
        self.descriptor = -1

    def __del__(self) -> None:
        self.release()


def stat_if_there(path: Path) -> os.stat_result | None:
    """What is known of a file, None when there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def lock_path(file: Path) -> Path:
    """The lock file of a cached file: who fetches it holds it."""
    return file.with_name(f".{file.name}.lock")


def partial_path(file: Path) -> Path:
    """Where a cached file is while it is being fetched."""
    return file.with_name(f".{file.name}.part")


def lock_exclusively(path: Path, wait: bool = True) -> int:
    """The descriptor of an exclusively locked file; closing it unlocks. Raises BlockingIOError unless `wait`."""
    # O_NOFOLLOW: a folder that others may write to must not lead us to a file elsewhere by a link.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def evict(folder: Path, limit_bytes: int, coming: int = 0) -> None:
    """Removes the least recently used shards until the rest and `coming` bytes lie within the limit."""
    # One process at a time: several that all see too many bytes would each remove enough for all.
    lock = lock_exclusively(folder / ".evict.lock")
    try:
        files = []
        for entry in os.scandir(folder):
            if _PARTIAL.fullmatch(entry.name):
                _remove_orphan(Path(entry.path))
            elif _CACHED.fullmatch(entry.name) and (status := stat_if_there(Path(entry.path))):
                # The time of change stands for that of the last use, see `Store`: many disks are mounted without access
                # times.
                files.append((status.st_mtime_ns, Path(entry.path), status.st_size))
        total = sum(size for _, _, size in files) + coming
        for _, file, size in sorted(files):
            if total <= limit_bytes:
                break
            if _remove_unused(file):
                total -= size
    finally:
        os.close(lock)


def _remove_unused(file: Path) -> bool:
    """Removes a cached file unless a process holds it; returns whether it is gone."""
    try:
        # Open for writing, though nothing is written: NFS grants an exclusive lock on nothing else.
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = stat_if_there(file)
        if status is None or status.st_ino != os.fstat(descriptor).st_ino:
            return status is None
        file.unlink(missing_ok=True)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def _remove_orphan(partial: Path) -> None:
    """Removes half a download, when whoever began it is no more."""
    try:
        lock = lock_exclusively(partial.with_name(partial.name.removesuffix(".part") + ".lock"), wait=False)
    except (BlockingIOError, PermissionError):
        return
    try:
        partial.unlink(missing_ok=True)
    finally:
        # The lock file stays. Were it removed, two processes could hold the locks of two files that had its name.
        os.close(lock)


@contextmanager
def local_disk(folder: Path, shard: Shard) -> Iterator[None]:
    """Turns what this machine's disk refuses into BadInput, so that it is not taken for the network's fault."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadInput(no_room(folder, shard, "no space left")) from error
        raise BadInput(
            f"the cache folder {folder} cannot be used for the shard {shard.name}: {error.strerror}; "
            "choose a folder of a local disk that you may write to"
        ) from error


def no_room(folder: Path, shard: Shard, state: str) -> str:
    """The message where a shard does not fit into the cache. state: what there is, in words."""
    return (
        f"the cache folder {folder} has {state}, but the shard {shard.name} needs {shard.bytes} bytes; "
        "free some space, lower the cache's limit or choose another folder"
    )
