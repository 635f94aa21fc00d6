"""The order of the stream: exactly once, equal batches, and one number that says where it stands."""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.command import BadInput
from shards.reading.order import START, Order, Place, Remainder, Step, batches_left, epoch_order, steps

sizes_of_shards = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def epoch(
    sizes: Sequence[int], ranks: int, batch: int, place: Place = START, remainder: Remainder = "pad", seed: int = 0
) -> list[list[Step]]:
    """Per rank, its batches from a place to the end of the epoch."""
    orders = [Order(batch, rank, ranks, seed, 7, remainder) for rank in range(ranks)]
    return [list(steps(sizes, order, place, epochs=1)) for order in orders]


def fresh(by_rank: list[list[Step]]) -> Counter[int]:
    """How often each sample is read, padding left out."""
    return Counter(n for row in by_rank for step in row for n in step.numbers[: len(step.numbers) - step.padding])


@settings(max_examples=300)
@given(sizes_of_shards, st.integers(1, 9), st.integers(1, 7), st.integers(0, 5), st.integers(0, 3))
def test_every_sample_exactly_once_and_equal_batches(
    sizes: list[int], ranks: int, batch: int, seed: int, number: int
) -> None:
    by_rank = epoch(sizes, ranks, batch, Place(number), seed=seed)
    assert fresh(by_rank) == Counter(range(sum(sizes)))
    assert {len(row) for row in by_rank} == {-(-sum(sizes) // (batch * ranks))}
    assert {len(step.numbers) for row in by_rank for step in row} == {batch}
    padded = sum(step.padding for row in by_rank for step in row)
    assert padded == len(by_rank[0]) * batch * ranks - sum(sizes), "the padding is counted"


@settings(max_examples=200)
@given(sizes_of_shards, st.integers(1, 6), st.integers(1, 5), st.integers(0, 5))
def test_dropping_leaves_out_less_than_one_batch_of_all_ranks(
    sizes: list[int], ranks: int, batch: int, seed: int
) -> None:
    total = sum(sizes)
    if total < ranks * batch:
        with pytest.raises(BadInput, match=f"{total} samples are less than one batch of {batch} on each of {ranks}"):
            epoch(sizes, ranks, batch, remainder="drop")
        return
    by_rank = epoch(sizes, ranks, batch, remainder="drop", seed=seed)
    found = fresh(by_rank)
    assert set(found.values()) == {1}
    assert total - len(found) == total % (ranks * batch)
    assert {len(row) for row in by_rank} == {total // (ranks * batch)}


@settings(max_examples=300)
@given(sizes_of_shards, st.data())
def test_stopping_and_going_on_elsewhere_loses_nothing(sizes: list[int], data: st.DataObject) -> None:
    """Any number of stops, each time on another number of ranks with another batch."""
    place, found = Place(), Counter[int]()
    for _ in range(data.draw(st.integers(1, 4))):
        ranks, batch = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
        left = batches_left(sum(sizes), place.position, ranks * batch, "pad")
        taken = data.draw(st.integers(0, left))
        by_rank = [row[:taken] for row in epoch(sizes, ranks, batch, place)]
        found += fresh(by_rank)
        if taken:
            place = Place(0, by_rank[0][-1].position)
    found += fresh(epoch(sizes, 3, 2, place))
    assert found == Counter(range(sum(sizes)))


@settings(max_examples=100)
@given(sizes_of_shards, st.integers(1, 5), st.integers(1, 4), st.integers(0, 40))
def test_the_rest_is_the_same_sequence(sizes: list[int], ranks: int, batch: int, stop: int) -> None:
    for rank in range(ranks):
        order = Order(batch, rank, ranks, seed=3, shuffle=7)
        straight = list(itertools.islice(steps(sizes, order), stop + 9))
        place = Place(straight[stop - 1].epoch, straight[stop - 1].position) if stop else Place()
        again = itertools.islice(steps(sizes, order, place), 9)
        assert list(again) == straight[stop:]


@settings(max_examples=100)
@given(sizes_of_shards, st.integers(1, 3))
def test_the_global_batches_do_not_depend_on_the_ranks(sizes: list[int], batch: int) -> None:
    """Four ranks of `batch` see in each step what one rank of 4 × `batch` sees."""
    alone = epoch(sizes, 1, 4 * batch)[0]
    together = epoch(sizes, 4, batch)
    for step, *parts in zip(alone, *together, strict=True):
        assert step.numbers == tuple(itertools.chain.from_iterable(part.numbers for part in parts))


def test_epochs_and_seeds_give_other_orders() -> None:
    sizes = [50] * 8
    orders = [tuple(epoch_order(sizes, seed, number, 100)) for seed in range(3) for number in range(3)]
    assert len(set(orders)) == 9
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(400))}


def test_samples_within_a_shard_come_in_another_order_each_epoch() -> None:
    """One shard leaves nothing but the samples to shuffle: 400 of them stand where they stood about once by chance."""
    first, second = (epoch_order([400], 0, epoch, 1000) for epoch in (0, 1))
    assert (first == second).sum() < 20


def test_a_block_of_the_order_touches_few_shards() -> None:
    """What keeps the number of open shards, and of downloads under way, small."""
    order = epoch_order([100] * 50, 0, 0, 200)
    spans = [len(set(order[at : at + 200] // 100)) for at in range(0, 5000, 200)]
    assert max(spans) <= 6
    assert np.mean(np.abs(np.diff(order))) > 30, "and it is shuffled all the same"


def test_resampled_epochs_draw_whole_shards_evenly() -> None:
    sizes = [10, 30, 20]
    counts = np.zeros(60)
    for number in range(3000):
        order = epoch_order(sizes, 1, number, 5, resampled=True)
        assert len(order) == 60
        np.add.at(counts, order, 1)
    assert np.abs(counts / counts.mean() - 1).max() < 0.25
