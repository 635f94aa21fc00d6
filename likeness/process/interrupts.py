"""Ctrl-C: the first one lets a command finish its sentence, the second one ends it wherever it is."""

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
