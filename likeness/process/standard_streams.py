"""Standard output and error of a process that goes on when nobody reads them."""

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

PATIENCE_MS = 1000
"""How long a reader that has stopped reading is waited for, the first time."""
PIECE = 4096
"""Bytes that a pipe which is ready for writing takes without waiting (POSIX's PIPE_BUF on Linux)."""


class _Unread(io.RawIOBase):
    """A file whose writes always succeed: what nobody takes is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._patience_ms = PATIENCE_MS

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        """Bytes-like."""
        view = memoryview(content)
        try:
            for start in range(0, len(view), PIECE):
                # A terminal that was told to stop, or a pipe whose reader sleeps.
                if not self._poll.poll(self._patience_ms):
                    self._patience_ms = 0
                    break
                self._patience_ms = PATIENCE_MS
                os.write(self._descriptor, view[start : start + PIECE])
        except OSError:
            # The reader has gone, or the disk with the log is full. Whoever calls has other work to do.
            return len(view)
        return len(view)


def open_closed() -> None:
    """Standard streams that were closed (`2>&-`) are opened on /dev/null.

    Otherwise another file gets their numbers, and with them what is meant for people.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))


def outlive_readers() -> None:
    """From here on, writing to standard output and error never fails and never waits for long.

    Without it, a process ends in the middle of its work because whoever watched has left: the other end of a pipe, a
    connection, a terminal; or stands still because they do not read on. Streams that were closed are opened.
    """
    open_closed()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        with suppress(OSError):
            before.flush()
        stream = io.TextIOWrapper(
            io.BufferedWriter(_Unread(descriptor)),
            encoding=before.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, stream)
