"""Dynamic batching: a thread for each device runs the model on whatever waits, and the queue before them is bounded."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

Tensors = Mapping[str, Array]

_log = logging.getLogger(__name__)


class FullError(Exception):
    """No place is free in the queue. retry_after: seconds until one probably is."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full for about {retry_after:.0f} s")
        self.retry_after = retry_after


@dataclass(eq=False)
class _Request:
    """One that waits, or runs."""

    batch: "_Batch"
    """What it will run with."""
    row: int
    """Where its tensors are in it."""
    copied: bool = False
    """Whether they are there yet."""
    image: "Future[Array]" = field(default_factory=Future)
    """Its picture; cancelled when nobody waits for it any more."""


class _Batch:
    """Requests that will run together, stacked as they come: each has a row of the arrays.

    Whoever submits a request copies it into its row, so that the thread which runs the model has nothing to stack.
    """

    def __init__(self, first: Tensors, size: int) -> None:
        self.tensors = {name: np.empty((size, *value.shape), value.dtype) for name, value in first.items()}
        self.rows: list[_Request | None] = [None] * size
        """The request of each row, None where it is free."""

    def takes(self, tensors: Tensors) -> bool:
        """Whether a row is free for a request with these tensors."""
        return None in self.rows and {name: value.shape[1:] for name, value in self.tensors.items()} == {
            name: value.shape for name, value in tensors.items()
        }

    @property
    def requests(self) -> list[_Request]:
        """In the order of their rows."""
        return [request for request in self.rows if request is not None]

    @property
    def copied(self) -> bool:
        """Whether every request has its tensors in its row."""
        return all(request.copied for request in self.requests)

    def stacked(self) -> dict[str, Array]:
        """The tensors of `requests` with a batch axis in front."""
        rows = [request.row for request in self.requests]
        # Rows that were given up, and not taken again, leave holes.
        whole = rows == [*range(len(rows))]
        return {name: value[: len(rows)] if whole else value[rows] for name, value in self.tensors.items()}


class Batcher:
    """Runs `run` in threads of its own, as many as there are devices, each on up to `max_batch` requests at once.

    run: takes tensors with a batch axis in front, gives one image per entry. A batch is whatever waits when the thread
    is free: a request that comes alone runs alone and at once. max_queue: requests that may wait. Those that are
    `reserved` and not yet submitted count.
    observe: called for every batch with how many were in it and how many seconds it took.
    """

    def __init__(
        self,
        run: Callable[[dict[str, Array]], Array],
        max_batch: int,
        max_queue: int,
        observe: Callable[[int, float], None],
        threads: int = 1,
    ) -> None:
        self.run, self.max_batch, self.max_queue, self.observe = run, max_batch, max_queue, observe
        self._batches: deque[_Batch] = deque()
        """Those that wait. None is empty, and only where no row is free in them another one is begun."""
        self._waiting = self._reserved = 0
        self._closed = False
        self._batch_seconds = 0.0
        self._changed = threading.Condition()
        # A daemon, for the process to end even when a run never does.
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Places of the queue that are taken."""
        return self._waiting + self._reserved

    @property
    def retry_after(self) -> float:
        """Seconds that the queue, as it stands, takes to run: at least one."""
        return max(1.0, math.ceil(self.depth / self.max_batch / len(self._threads)) * self._batch_seconds)

    @contextmanager
    def reserved(self) -> Iterator[Callable[[Tensors], "Future[Array]"]]:
        """Holds a place in the queue for one request; what it gives submits the request, once, from any thread.

        Who leaves the block gives the request up: it is not computed, unless its batch has begun, and its place is
        free. Submitted afterwards, it is cancelled. Raises FullError.
        """
        with self._changed:
            if self.depth >= self.max_queue:
                raise FullError(self.retry_after)
            self._reserved += 1
        request: _Request | None = None
        left = False

        def submit(tensors: Tensors) -> "Future[Array]":
            nonlocal request
            with self._changed:
                if left:
                    nobody: Future[Array] = Future()
                    nobody.cancel()
                    return nobody
                request = self._begin(tensors)
            copied = False
            try:
                for name, value in tensors.items():
                    request.batch.tensors[name][request.row] = value
                copied = True
            finally:
                with self._changed:
                    request.copied = True
                    if not copied:
                        self._give_up(request)
                    elif request.image.cancelled():
                        self._free(request)
                    self._changed.notify()
            return request.image

        try:
            yield submit
        finally:
            with self._changed:
                left = True
                if request is None:
                    self._reserved -= 1
                else:
                    self._give_up(request)

    # The following are called by who holds the lock.

    def _begin(self, tensors: Tensors) -> _Request:
        """A request with a row in the first batch that has one to spare."""
        batch = next((each for each in self._batches if each.takes(tensors)), None)
        if batch is None:
            batch = _Batch(tensors, self.max_batch)
            self._batches.append(batch)
        request = _Request(batch, batch.rows.index(None))
        batch.rows[request.row] = request
        self._reserved -= 1
        self._waiting += 1
        return request

    def _give_up(self, request: _Request) -> None:
        """Cancels a request that waits; one that runs, or was given up already, stays what it is."""
        if not request.image.cancelled() and request.image.cancel():
            self._waiting -= 1
            # While its row is being copied into, nobody else may have it.
            if request.copied:
                self._free(request)

    def _free(self, request: _Request) -> None:
        request.batch.rows[request.row] = None
        if not request.batch.requests:
            self._batches.remove(request.batch)

    def close(self, seconds: float) -> bool:
        """Ends the threads once nothing waits; returns whether they ended within `seconds`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while batch := self._next():
            self._compute(batch)

    def _next(self) -> _Batch | None:
        """What runs next; nothing when the batcher is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches[0].copied if self._batches else self._closed)
            if not self._batches:
                return None
            batch = self._batches.popleft()
            # Another device's thread may have been waiting for this batch to be whole: it looks at the next one.
            self._changed.notify()
            for request in batch.requests:
                # From here on it cannot be given up any more; who was given up before has no row.
                request.image.set_running_or_notify_cancel()
            self._waiting -= len(batch.requests)
            return batch

    def _compute(self, batch: _Batch) -> None:
        begun = time.perf_counter()
        requests = batch.requests
        try:
            images = self.run(batch.stacked())
        except Exception as error:
            # Whatever it is, it concerns this batch: those who wait for it get it, and the next one runs.
            _log.error("a batch of %d failed: %r", len(requests), error, exc_info=not isinstance(error, BadInput))
            for request in requests:
                request.image.set_exception(error)
            return
        seconds = time.perf_counter() - begun
        self._batch_seconds = seconds
        self.observe(len(requests), seconds)
        for request, image in zip(requests, images, strict=True):
            request.image.set_result(image)
