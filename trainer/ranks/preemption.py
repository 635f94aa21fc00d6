"""Requests to stop: signals of clusters, terminals and people, and the end of the launcher."""

import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from likeness.command import INTERRUPTED
from trainer.ranks import launcher

SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM)
"""Ctrl-C, a terminal that goes, and what clusters send before they take a machine away."""
LOOK_EVERY_S = 2.0
"""How often this looks whether the launcher is still there."""
END = 0
"""No signal has this number."""
SAME_S = 1.0
"""A second Ctrl-C within these seconds is the first one, which the terminal and a launcher have both sent."""


class StopRequests:
    """Collects requests while it is entered; the training loop reads `stop` after each iteration.

    A request only sets a flag: a checkpoint can be written between two iterations, and not in the middle of one. A
    second Ctrl-C ends the process at once, wherever it is. A thread hears the signals, because Python's handlers wait
    for the main thread, which may be inside a collective for good.

    Signals that are ignored at the start, as SIGHUP under `nohup`, stay ignored. `trainer/run.py` enters it before
    anything slow is imported, so that a signal during start-up counts, too.
    """

    def __init__(self) -> None:
        self.stop = False
        self.interrupted = False
        """Whether the request was Ctrl-C."""
        self.launcher = launcher.find()
        self._asked_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._heard, self._ring = socket.socketpair()
        self._wakeup = -1
        self._thread = threading.Thread(target=self._listen, name="requests to stop", daemon=True)

    @property
    def asked_s(self) -> float:
        """Seconds since the first request; 0 without one."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def _ask(self) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        self.stop = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._ask()

    def __enter__(self) -> Self:
        for ring in (self._heard, self._ring):
            ring.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._ring.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        # Not by closing: loader workers, which are forked, hold this end open, too.
        self._ring.send(bytes([END]))
        self._thread.join()
        self._ring.close()
        self._heard.close()

    def _listen(self) -> None:
        """The thread: until it hears END."""
        watched = self.launcher
        while True:
            ready, _, _ = select.select([self._heard], [], [], LOOK_EVERY_S)
            if ready:
                numbers = self._heard.recv(64)
                if END in numbers:
                    return
                for number in numbers:
                    if number in self._before:
                        self._hear(number)
            if watched is not None and os.getppid() != watched.process:
                # A rank without its launcher would train on unseen, beside the one that is started in its place.
                _say(f"error: the launcher of rank {_rank()} is gone; saving, then ending")
                self._ask()
                watched = None

    def _hear(self, number: int) -> None:
        if number == signal.SIGINT:
            if self.interrupted and self.asked_s > SAME_S:
                _say("stopped at once; what was not saved yet is lost")
                os._exit(INTERRUPTED)
            if not self.interrupted and _rank() == "0":
                _say("stopping after this iteration, with a checkpoint; Ctrl-C again ends at once, without")
            self.interrupted = True
        self._ask()


def _rank() -> str:
    return os.environ.get("RANK", "0")


def _say(text: str) -> None:
    """Prints a line. Not by `print`: the main thread may hold the stream's lock, for good where nobody reads it."""
    with suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"\n{text}\n".encode())
