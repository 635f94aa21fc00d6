"""Ctrl-C and SIGTERM: the first one lets a command finish its sentence, the second one ends it wherever it is."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def end_at_the_second() -> None:
    """From here on, Ctrl-C raises KeyboardInterrupt once; another one ends the process.

    By then a command may be waiting for whatever does not answer. Leaves other handlers, and ignored signals, alone.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if on_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _first)


def _first(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


@contextmanager
def saying(kept: Callable[[], str]) -> Iterator[None]:
    """What Ctrl-C leaves of the work inside, for the one line that `run_command` prints: what is kept, what goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept()) from None


class _TerminatedError(BaseException):
    """SIGTERM came."""


_cleans_up = os.getpid()
"""The process whose handler `_terminated` is: worker processes that are forked have it, too."""


def _terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.getpid() != _cleans_up:
        # Of a worker process, which came by it before `_forget` did; what was begun is its parent's.
        os.kill(os.getpid(), signal.SIGTERM)
    raise _TerminatedError


def _forget() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# Worker processes are ended by it, at once and without a word.
os.register_at_fork(after_in_child=_forget)


@contextmanager
def cleaning_up() -> Iterator[None]:
    """SIGTERM inside ends the process as it does by itself, but not before what was begun is removed.

    A second one waits for nothing. Leaves other handlers, and ignored signals, alone.
    """
    global _cleans_up
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    _cleans_up = os.getpid()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    except _TerminatedError:
        # Whoever sent it learns that it did what it was for.
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        _forget()
