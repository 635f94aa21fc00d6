"""One process at a time writes a place; a second one is told so at once instead of undoing the first one's work.

The kernel lets go of a lock when the process that took it ends, however it ends: no lock file has to be removed. Where
the file system has no locks, that is said once, and nothing keeps two processes apart.
"""

import errno
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from likeness.command import BadInput
from likeness.process.system_errors import warn_of_lack

_LOCKLESS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems without locks say."""


@contextmanager
def only_writer(lock: Path, refusal: str, keep: bool = True) -> Iterator[None]:
    """Holds the lock file `lock`, which is made, with its folder, where it is not there; its content stays.

    keep: leave the file behind; otherwise it goes when the lock does.
    Raises BadInput with `refusal` while another process holds it.
    """
    with _opened(lock) as file:
        try:
            _lock(lock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(refusal) from error
        try:
            yield
        finally:
            # While it is still held: nobody else's lock file can be removed.
            if not keep:
                lock.unlink(missing_ok=True)


@contextmanager
def in_turn(lock: Path, waiting: str) -> Iterator[None]:
    """Holds the lock file `lock`; says `waiting` on stderr and waits while another process does."""
    with _opened(lock) as file:
        try:
            _lock(lock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr)
            _lock(lock, file, fcntl.LOCK_EX)
        yield


def is_held(lock: Path) -> bool:
    """Whether a process is in `only_writer` or `in_turn` with this lock file; changes nothing."""
    if not lock.is_file():
        return False
    with lock.open("rb") as file:
        try:
            _lock(lock, file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def held_by_this_process(lock: Path) -> IO[bytes] | None:
    """The lock file, held until it is closed; None while another process has it.

    Processes that are forked meanwhile have no part in the lock, as they would have in `only_writer`'s: where workers
    outlive a killed parent for a while, its place is free at once. To be opened nowhere else: closing any other handle
    of the file would end the lock.
    """
    file = lock.open("wb")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        _warn_unless_other(lock, error)
    return file


def _lock(lock: Path, file: IO[bytes], operation: int) -> None:
    """Raises BlockingIOError where it would have to wait and may not."""
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        raise
    except OSError as error:
        _warn_unless_other(lock, error)


def _warn_unless_other(lock: Path, error: OSError) -> None:
    """Says that the file system has no locks; raises the error when it is another one."""
    if error.errno not in _LOCKLESS:
        raise error
    apart = "nothing keeps two processes apart there; start only one at a time for each --out and --run"
    warn_of_lack(lock.parent, "has no locks", error, apart)


def _opened(lock: Path) -> IO[bytes]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    # On NFS only files that are open for writing can be locked.
    return lock.open("ab")
