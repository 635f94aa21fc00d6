"""Ranks that watch each other: a rank that died or hangs is an error that names it, not an endless wait.

A collective (an all-reduce, a broadcast) returns when every rank has entered it. If one of them is dead or stuck, the
others wait inside it, where no Python code runs that could time out; and what it raises in the end names an address,
not a rank. So each rank has a thread that writes a heartbeat into the launcher's store every two seconds and, when its
own training stands still for too long, reads those of the others and says who is to blame.
"""

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
"""Seconds between a rank's heartbeats; one that has given none for three of them is dead or frozen."""
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


class Watchdog:
    """Ends this process with a message when training stands still for `timeout_s`, because of whichever rank.

    The training loop calls `at`; a thread does the rest.
    """

    def __init__(self, rank: int, ranks: int, timeout_s: float, store: Store | None) -> None:
        """timeout_s: seconds. store: see `open_store`; None for a single rank, which has nobody to wait for."""
        self.rank, self.ranks, self.timeout_s, self.store = rank, ranks, timeout_s, store
        self._step, self._doing, self._since = 0, "starting", time.monotonic()
        self._beats = 0
        # Known under torchrun alone; anywhere else the parent may be a shell that is closed while training goes on.
        self._launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._closed = threading.Event()
        # A daemon: one that is stuck inside the store must not keep the process from ending.
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self.store is not None:
            # At once, so that every rank that trains is known to the others.
            self._give_heartbeat(self.store)
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
            f"rank {rank} ({after[rank].host}) is dead or frozen; its last step was {after[rank].step:,}"
            if rank in after
            else f"rank {rank} never started"
            for rank in range(self.ranks)
            if rank != self.rank and (rank not in after or (rank in before and before[rank].beats == after[rank].beats))
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
            if self._launcher is not None and os.getppid() != self._launcher:
                # A rank without its launcher would train on, beside the one that is started in its place.
                print(f"error: the launcher of rank {self.rank} is gone", file=sys.stderr, flush=True)
                # Not sys.exit, which would only end this thread: the main one may be inside a collective for good.
                os._exit(LOST)
            if self.store is None:
                continue
            # The launcher may be gone or going; what follows from that shows in training: an error, or a standstill.
            with suppress(DistStoreError, RuntimeError, ConnectionError):
                self._give_heartbeat(self.store)
            stood_s = time.monotonic() - self._since
            if stood_s > self.timeout_s:
                self._give_up(stood_s)

    def _give_heartbeat(self, store: Store) -> None:
        self._beats += 1
        heartbeat = Heartbeat(self.rank, socket.gethostname(), self._beats, self._step, self._doing)
        store.set(str(self.rank), orjson.dumps(asdict(heartbeat)).decode())

    def _give_up(self, stood_s: float) -> None:
        who = self.missing() or self._slowest()
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
