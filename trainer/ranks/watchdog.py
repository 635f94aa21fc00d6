"""Ranks that look after each other: who died, who hangs, said by name instead of an endless wait."""

import faulthandler
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

import orjson
from torch.distributed import DistStoreError, Store  # type: ignore[attr-defined]

from trainer.ranks.rendezvous import CONNECT_S

INTERVAL_S = 2.0
"""Seconds between a rank's signs of life; one that has given none for three of them is dead or frozen."""
LOST = 1
"""The exit code of the ranks that are left."""


@dataclass(frozen=True)
class Sign:
    """A rank's sign of life. beats: how many it has given. step, doing: where its training is."""

    rank: int
    host: str
    beats: int
    step: int
    doing: str


class Watchdog:
    """Ends this process with a message when training stands still for `timeout_s`, because of whichever rank.

    `at` is called by who trains; a thread tells the others, and looks at them when nothing moves any more.
    """

    def __init__(self, rank: int, ranks: int, timeout_s: float, store: Store | None) -> None:
        self.rank, self.ranks, self.timeout_s, self.store = rank, ranks, timeout_s, store
        self._step, self._doing, self._since = 0, "starting", time.monotonic()
        self._beats = 0
        self._launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self.store is not None:
            # At once, so that every rank that trains is known to the others.
            self._give_sign(self.store)
        if self.store is not None or self._launcher is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._thread.is_alive():
            # An interpreter that ends while the thread is inside the store aborts the process. A store that is gone
            # takes its time, too: on a busy machine torch was seen to write the trace of its error for seconds.
            self._thread.join(2 * CONNECT_S)

    def at(self, step: int, doing: str) -> None:
        """Training is here: `doing` is a word for people, such as `training` or `saving`."""
        self._step, self._doing, self._since = step, doing, time.monotonic()

    def missing(self) -> str:
        """Who has stopped giving signs of life, for an error message; empty when everybody does. Takes seconds."""
        if self.store is None:
            return ""
        try:
            before = self._signs()
            self._closed.wait(3 * INTERVAL_S)
            after = self._signs()
        except (DistStoreError, RuntimeError, ConnectionError):
            return f"the launcher of {os.environ['MASTER_ADDR']}, where the ranks met, is gone"
        silent = [
            f"rank {rank} ({after[rank].host}) is dead or frozen; its last step was {after[rank].step:,}"
            if rank in after
            else f"rank {rank} never started"
            for rank in range(self.ranks)
            if rank != self.rank and (rank not in after or (rank in before and before[rank].beats == after[rank].beats))
        ]
        return "; ".join(silent)

    def _signs(self) -> dict[int, Sign]:
        assert self.store is not None
        found = [str(rank) for rank in range(self.ranks) if self.store.check([str(rank)])]
        return {int(key): Sign(**orjson.loads(self.store.get(key))) for key in found}

    def _watch(self) -> None:
        while not self._closed.wait(INTERVAL_S):
            if self._launcher is not None and os.getppid() != self._launcher:
                # A rank without its launcher would train on, beside the one that is started in its place.
                print(f"error: the launcher of rank {self.rank} is gone", file=sys.stderr, flush=True)
                os._exit(LOST)
            if self.store is None:
                continue
            # The launcher may be gone or going; what follows from that shows in training, or by standing still.
            with suppress(DistStoreError, RuntimeError, ConnectionError):
                self._give_sign(self.store)
            stood_s = time.monotonic() - self._since
            if stood_s > self.timeout_s:
                self._give_up(stood_s)

    def _give_sign(self, store: Store) -> None:
        self._beats += 1
        sign = Sign(self.rank, socket.gethostname(), self._beats, self._step, self._doing)
        store.set(str(self.rank), orjson.dumps(asdict(sign)).decode())

    def _give_up(self, stood_s: float) -> None:
        who = self.missing() or self._slowest()
        if self._closed.is_set():
            return
        faulthandler.dump_traceback(file=sys.stderr)
        print(
            f"error: rank {self.rank} has not moved for {stood_s:.0f} s while {self._doing} at step {self._step:,}: "
            f"{who}. Go on from the last checkpoint with --resume latest; faults.timeout_s sets the patience.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(LOST)

    def _slowest(self) -> str:
        """Everybody lives: whoever is furthest behind is what the others wait for."""
        signs = self._signs()
        least = min(sign.step for sign in signs.values())
        behind = [sign for sign in signs.values() if sign.step == least]
        if len(behind) == len(signs):
            return f"all ranks wait at step {least:,}: " + ", ".join(f"{s.rank} {s.doing}" for s in signs.values())
        return "; ".join(f"rank {s.rank} ({s.host}) hangs while {s.doing} at step {s.step:,}" for s in behind)
