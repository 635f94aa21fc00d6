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

    tensors: Tensors
    """Its inputs by name, without the batch axis."""
    image: "Future[Array]" = field(default_factory=Future)
    """Its picture; cancelled when nobody waits for it any more."""


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
        self._waiting: deque[_Request] = deque()
        self._reserved = 0
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
        return len(self._waiting) + self._reserved

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
                request = _Request(tensors)
                if left:
                    request.image.cancel()
                else:
                    self._reserved -= 1
                    self._waiting.append(request)
                    self._changed.notify()
            return request.image

        try:
            yield submit
        finally:
            with self._changed:
                left = True
                if request is None:
                    self._reserved -= 1
                elif request.image.cancel() and request in self._waiting:
                    self._waiting.remove(request)

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

    def _next(self) -> list[_Request]:
        """What runs next; nothing when the batcher is closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                batch: list[_Request] = []
                while self._waiting and len(batch) < self.max_batch:
                    request = self._waiting.popleft()
                    # From here on it cannot be given up any more; one that was given up before is left out.
                    if request.image.set_running_or_notify_cancel():
                        batch.append(request)
                if batch:
                    return batch

    def _compute(self, batch: list[_Request]) -> None:
        begun = time.perf_counter()
        try:
            stacked = {name: np.stack([request.tensors[name] for request in batch]) for name in batch[0].tensors}
            images = self.run(stacked)
        except Exception as error:
            # Whatever it is, it concerns this batch: those who wait for it get it, and the next one runs.
            _log.error("a batch of %d failed: %r", len(batch), error, exc_info=not isinstance(error, BadInput))
            for request in batch:
                request.image.set_exception(error)
            return
        seconds = time.perf_counter() - begun
        self._batch_seconds = seconds
        self.observe(len(batch), seconds)
        for request, image in zip(batch, images, strict=True):
            request.image.set_result(image)
