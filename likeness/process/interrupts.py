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


def _terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _TerminatedError


def _forget() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _hold() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminated:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_go() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminated:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _in_worker() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


# Worker processes are ended by it, at once and without a word. It is held back while one is forked: a signal that came
# to the handler of its parent, which it begins with, would be lost.
os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_in_worker)


@contextmanager
def cleaning_up() -> Iterator[None]:
    """SIGTERM inside ends the process as it does by itself, but not before what was begun is removed.

    A second one waits for nothing. Leaves other handlers, and ignored signals, alone.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    except _TerminatedError:
        # Whoever sent it learns that it did what it was for.
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        _forget()
