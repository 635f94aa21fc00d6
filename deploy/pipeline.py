"""Iterators as stages that work at the same time: one ahead of another, and items in groups."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Runs an iterator in a thread of its own, at most `depth` items ahead of who consumes them.

    What the iterator raises, the consumer raises in its place. Leaving the context ends the thread after the item that
    it is at.
    """
    # Items in tuples, so that one may be anything: None is the end, an exception what ended it.
    waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def produce() -> None:
        try:
            for item in items:
                waiting.put((item,))
                if stopped.is_set():
                    return
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    def consume() -> Iterator[T]:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    producer = threading.Thread(target=produce, name="ahead", daemon=True)
    producer.start()
    try:
        yield consume()
    finally:
        stopped.set()
        while producer.is_alive():
            # It may be waiting for room, again and again until it sees that it is stopped.
            while not waiting.empty():
                waiting.get_nowait()
            producer.join(0.05)


@contextmanager
def side_by_side(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[Iterator[R]]:
    """What a function gives for each item, in the order of the items, computed by so many threads.

    No more items are taken than there are threads. What the function or the iterator raises, the consumer raises in
    its place.
    """

    def results(pool: ThreadPoolExecutor) -> Iterator[R]:
        running: deque[Future[R]] = deque()
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) == threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    with ThreadPoolExecutor(threads, "side by side") as pool:
        yield results(pool)


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` neighbours; the last one may be shorter."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
