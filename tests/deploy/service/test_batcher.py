"""The queue before the model: its places, its batches, and what happens to requests that nobody waits for."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deploy.service.batcher import Batcher, FullError
from likeness.array import Array


class Gated:
    """A run that ends when it is let go, and gives back what it was given."""

    def __init__(self) -> None:
        self.begun, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, tensors: dict[str, Array]) -> Array:
        self.batches.append(tensors["x"].tolist())
        self.begun.release()
        assert self.gate.acquire(timeout=10)
        if -1 in self.batches[-1]:
            raise MemoryError("no room for a batch")
        return tensors["x"]


@pytest.fixture
def gated() -> Gated:
    return Gated()


@pytest.fixture
def batcher(gated: Gated) -> Iterator[Batcher]:
    made = Batcher(gated, max_batch=2, max_queue=3, observe=lambda size, seconds: None)
    yield made
    gated.gate.release(100)
    assert made.close(10)


class Request:
    """One that is submitted, and given up when told to."""

    def __init__(self, batcher: Batcher, value: int) -> None:
        self.block = batcher.reserved()
        self.submit = self.block.__enter__()
        self.value = value

    def submitted(self) -> "Request":
        self.image = self.submit({"x": np.array(self.value)})
        return self

    def leave(self) -> None:
        self.block.__exit__(None, None, None)

    def result(self) -> int:
        return int(self.image.result(10))


def submit(batcher: Batcher, value: int) -> Request:
    return Request(batcher, value).submitted()


def test_what_waits_shares_a_run(batcher: Batcher, gated: Gated) -> None:
    images = [submit(batcher, 0)]
    gated.begun.acquire(timeout=10)
    images += [submit(batcher, value) for value in (1, 2, 3)]
    gated.gate.release(3)
    assert [image.result() for image in images] == [0, 1, 2, 3]
    assert gated.batches == [[0], [1, 2], [3]]


def test_places_are_bounded_and_those_of_requests_in_the_making_count(batcher: Batcher, gated: Gated) -> None:
    running = submit(batcher, 0)
    gated.begun.acquire(timeout=10)
    waiting = submit(batcher, 1)
    with batcher.reserved(), batcher.reserved():
        assert batcher.depth == 3
        with pytest.raises(FullError) as raised, batcher.reserved():
            raise AssertionError("there was no place")
        assert raised.value.retry_after >= 1
    assert batcher.depth == 1
    waiting.leave()
    running.leave()
    assert batcher.depth == 0


def test_who_leaves_frees_a_place_at_once_and_is_not_computed(batcher: Batcher, gated: Gated) -> None:
    running = submit(batcher, 0)
    gated.begun.acquire(timeout=10)
    images = [submit(batcher, value) for value in (1, 2, 3)]
    images[1].leave()
    assert batcher.depth == 2
    images.append(submit(batcher, 4))
    gated.gate.release(3)
    assert images[3].result() == 4
    assert (running.result(), gated.batches) == (0, [[0], [1, 4], [3]])


def test_a_row_that_was_given_up_leaves_no_hole_in_a_batch(batcher: Batcher, gated: Gated) -> None:
    running = submit(batcher, 0)
    gated.begun.acquire(timeout=10)
    images = [submit(batcher, value) for value in (1, 2)]
    images[0].leave()
    gated.gate.release(2)
    assert (running.result(), images[1].result(), gated.batches) == (0, 2, [[0], [2]])


def test_requests_of_another_shape_run_by_themselves(batcher: Batcher, gated: Gated) -> None:
    running = submit(batcher, 0)
    gated.begun.acquire(timeout=10)
    single = submit(batcher, 1)
    with batcher.reserved() as several:
        image = several({"x": np.array([2, 3])})
        gated.gate.release(3)
        assert image.result(10).tolist() == [2, 3]
    assert (running.result(), single.result(), gated.batches) == (0, 1, [[0], [1], [[2, 3]]])


def test_what_cannot_be_stacked_fails_alone(batcher: Batcher, gated: Gated) -> None:
    running = submit(batcher, 0)
    gated.begun.acquire(timeout=10)
    fine = submit(batcher, 1)
    with pytest.raises(ValueError), batcher.reserved() as submit_words:
        submit_words({"x": np.array("no number")})
    assert batcher.depth == 1
    gated.gate.release(2)
    assert (running.result(), fine.result(), gated.batches) == (0, 1, [[0], [1]])


def test_many_threads_that_submit_and_leave(gated: Gated) -> None:
    """Everybody who stays gets what is theirs, nobody else is computed twice, and every place is free at the end."""
    made = Batcher(lambda tensors: tensors["x"] * 2, 4, 1000, lambda size, seconds: None)

    def client(seed: int) -> bool:
        random = np.random.default_rng(seed)
        for number in range(200):
            with made.reserved() as submit:
                value = np.full((random.integers(1, 3), 1000), seed * 1000 + number)
                image = submit({"x": value})
                if random.random() < 0.7 and not np.array_equal(image.result(10), value * 2):
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(client, range(8)))
    assert made.close(10) and made.depth == 0


def test_who_leaves_before_the_request_is_ready_is_not_computed(batcher: Batcher, gated: Gated) -> None:
    early = Request(batcher, 1)
    early.leave()
    assert batcher.depth == 0
    assert early.submitted().image.cancelled()
    assert batcher.depth == 0
    running = submit(batcher, 2)
    gated.begun.acquire(timeout=10)
    running.leave()
    gated.gate.release(1)
    assert running.result() == 2
    assert gated.batches == [[2]]


def test_a_run_that_fails_fails_its_own_requests_only(batcher: Batcher, gated: Gated) -> None:
    failing = submit(batcher, -1)
    gated.begun.acquire(timeout=10)
    after = submit(batcher, 5)
    gated.gate.release(2)
    with pytest.raises(MemoryError):
        failing.result()
    assert after.result() == 5


def test_closed_it_finishes_what_waits(batcher: Batcher, gated: Gated) -> None:
    images = [submit(batcher, value) for value in (0, 1)]
    assert not batcher.close(0.01)
    gated.gate.release(2)
    assert batcher.close(10)
    assert [image.result() for image in images] == [0, 1]
