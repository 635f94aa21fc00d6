"""Requests to stop: SIGTERM and SIGUSR1, which clusters send before they take a machine away."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequests:
    """Collects the signals while it is entered; the training loop reads `stop` after each iteration.

    The handler only sets a flag: a checkpoint can be written between two iterations, and not in the middle of one.
    `trainer/run.py` enters it before anything slow is imported, so that a signal during start-up counts, too.
    """

    def __init__(self) -> None:
        self.stop = False
        self._before: dict[signal.Signals, Any] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.stop = True

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
