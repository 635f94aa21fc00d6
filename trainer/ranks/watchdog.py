"""Ranks that watch each other: a rank that died or hangs is an error that names it, not an endless wait.

A collective (an all-reduce, a broadcast) returns when every rank has entered it. If one of them is dead or stuck, the
others wait inside it, where no Python code runs that could time out; and what it raises in the end names an address,
not a rank, if it raises at all: NCCL goes on waiting. So each rank has a thread that writes a heartbeat into the
launcher's store every two seconds. When its own training has stood still for a few of them, it looks for ranks that
give none any more, and ends; when all give theirs and nothing moves for much longer, it says who is to blame for that.
"""

import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

import orjson
from torch.distributed import DistStoreError, Store  # type: ignore[attr-defined]

from trainer.ranks.rendezvous import CONNECT_S

INTERVAL_S = 2.0
"""Seconds between a rank's heartbeats; one that has given none for three of them is dead or frozen."""
SILENT = 8
"""Heartbeats that a rank must have missed, while another one stands still, to be given up before `timeout_s`."""
LOST = 1
"""The exit code of the ranks that are left."""


@dataclass(frozen=True)
class Heartbeat:
    """What a rank last wrote about itself."""

    rank: int
    """Which rank."""
    host: str
    """The machine that it runs on."""
    beats: int
    """How many heartbeats it has given: two readings that are equal mean that it gives none any more."""
    step: int
    """The iteration that its training is in."""
    doing: str
    """What it does there, a word for people."""
    done: bool = False
    """It has come to its end as it should, and gives no more heartbeats."""


class Watchdog:
    """Ends this process with a message when training waits for a rank that is dead or frozen, or stands still.

    The training loop calls `at`; a thread does the rest.
    """

    def __init__(
        self, rank: int, ranks: int, timeout_s: float, store: Store | None, asked_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        """timeout_s: seconds that training may stand still.

        store: see `open_store`; None for a single rank. That one has nobody to wait for, and may stand still as long
        as its filesystem does, unless it has been asked to stop. asked_s: how long ago that was, 0 while it was not.
        """
        self.rank, self.ranks, self.timeout_s, self.store, self.asked_s = rank, ranks, timeout_s, store, asked_s
        self._step, self._doing, self._since = 0, "starting", time.monotonic()
        self._beats = 0
        # Of the others: the heartbeats last seen, and how often since then nothing came after them.
        self._seen: dict[int, int] = {}
        self._missed: dict[int, int] = {}
        self._unanswered = 0
        self._closed = threading.Event()
        # A daemon: one that is stuck inside the store must not keep the process from ending.
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self.store is not None:
            # At once, so that every rank that trains is known to the others.
            self._give_heartbeat(self.store)
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
        if self.store is not None and error is None and not self._thread.is_alive():
            # Another rank may still have something to finish, and is not to take this one's silence for death.
            with suppress(DistStoreError, RuntimeError, ConnectionError):
                self._give_heartbeat(self.store, done=True)

    def at(self, step: int, doing: str) -> None:
        """Training is here: `doing` is a word for people, such as `training` or `saving`."""
        self._step, self._doing, self._since = step, doing, time.monotonic()

    def missing(self) -> str:
        """Which ranks give no heartbeat any more, for an error message; empty when all do. Takes seconds."""
        if self.store is None:
            return ""
        try:
            # Compared with themselves a little later and not with a clock, since the machines' clocks may differ.
            before = self._heartbeats()
            self._closed.wait(3 * INTERVAL_S)
            after = self._heartbeats()
        except (DistStoreError, RuntimeError, ConnectionError):
            return f"the launcher of {os.environ['MASTER_ADDR']}, where the ranks met, is gone"
        silent = [
            _dead(after[rank]) if rank in after else f"rank {rank} never started"
            for rank in range(self.ranks)
            if rank != self.rank
            and (rank not in after or (rank in before and before[rank] == after[rank] and not after[rank].done))
        ]
        return "; ".join(silent)

    def _heartbeats(self) -> dict[int, Heartbeat]:
        """The last heartbeat of every rank that has given one."""
        assert self.store is not None
        # `get` would wait for a key that nobody has written: a rank that never started.
        keys = [str(rank) for rank in range(self.ranks) if self.store.check([str(rank)])]
        return {int(key): Heartbeat(**orjson.loads(self.store.get(key))) for key in keys}

    def _watch(self) -> None:
        while not self._closed.wait(INTERVAL_S):
            stood_s = time.monotonic() - self._since
            if self.store is None:
                if min(stood_s, self.asked_s()) > self.timeout_s:
                    self._give_up(stood_s, "it was asked to stop, and cannot")
                continue
            # The launcher may be gone or going; what follows from that shows in training: an error, or a standstill.
            try:
                self._give_heartbeat(self.store)
                lost = self._lost() if stood_s > 3 * INTERVAL_S else ""
                self._unanswered = 0
            except (DistStoreError, RuntimeError, ConnectionError):
                self._unanswered += 1
                lost = self.missing() if self._unanswered >= SILENT and stood_s > SILENT * INTERVAL_S else ""
            if lost or stood_s > self.timeout_s:
                self._give_up(stood_s, lost or self.missing() or self._slowest())

    def _lost(self) -> str:
        """The ranks that have missed SILENT heartbeats while this one stood still, for people; empty without any.

        Counted by this rank's own intervals, since the machines' clocks may differ.
        """
        heartbeats = self._heartbeats()
        for rank, beat in heartbeats.items():
            moved = beat.done or self._seen.get(rank) != beat.beats
            self._missed[rank] = 0 if moved else self._missed.get(rank, 0) + 1
            self._seen[rank] = beat.beats
        return "; ".join(
            _dead(heartbeats[rank]) for rank, missed in self._missed.items() if rank != self.rank and missed >= SILENT
        )

    def _give_heartbeat(self, store: Store, done: bool = False) -> None:
        self._beats += 1
        heartbeat = Heartbeat(self.rank, socket.gethostname(), self._beats, self._step, self._doing, done)
        store.set(str(self.rank), orjson.dumps(asdict(heartbeat)).decode())

    def _give_up(self, stood_s: float, who: str) -> None:
        # Asking takes seconds, in which training may have come to its end after all.
        if self._closed.is_set():
            return
        # Where each thread of this rank stands, for whoever looks for the reason.
        faulthandler.dump_traceback(file=sys.stderr)
        print(
            f"error: rank {self.rank} has not moved for {stood_s:.0f} s while {self._doing} at step {self._step:,}: "
            f"{who}. Go on from the last checkpoint with --resume latest; faults.timeout_s sets the patience.",
            file=sys.stderr,
            flush=True,
        )
        # The main thread stands inside a collective, where no exception reaches it.
        os._exit(LOST)

    def _slowest(self) -> str:
        """All ranks live: the others wait for the ones that are furthest behind."""
        ranks = [*self._heartbeats().values()]
        least = min(rank.step for rank in ranks)
        behind = [rank for rank in ranks if rank.step == least]
        if len(behind) == len(ranks):
            return f"all ranks wait at step {least:,}: " + ", ".join(f"{each.rank} {each.doing}" for each in ranks)
        return "; ".join(
            f"rank {each.rank} ({each.host}) hangs while {each.doing} at step {each.step:,}" for each in behind
        )


def _dead(last: Heartbeat) -> str:
    return f"rank {last.rank} ({last.host}) is dead or frozen; its last step was {last.step:,}"
