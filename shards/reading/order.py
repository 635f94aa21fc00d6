"""In which order samples are read: a pure function of (seed, epoch, sizes of the shards), without torch.

The order belongs to the epoch, not to whoever reads it. A global batch is the next `batch × ranks` samples of it, and
each rank takes its slice. So every sample comes exactly once whatever the numbers of shards, ranks and workers are,
all ranks have the same number of batches, and the place in the stream is one number that means the same on any number
of ranks and workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

Remainder = Literal["pad", "drop"]

TRAINING_MAX_BAD = 0.001
"""The share of all samples that may be unreadable in training; in evaluation none may."""

_SHARDS, _SAMPLES = 0, 1
"""Separate random streams under one (seed, epoch)."""


@dataclass(frozen=True)
class Step:
    """One batch of one rank."""

    epoch: int
    """The epoch it belongs to, counted from 0."""
    position: int
    """Samples of the epoch that all ranks together have consumed after this batch."""
    numbers: tuple[int, ...]
    """The samples that this rank reads, counted over all shards in the manifest's order."""
    padding: int
    """How many of them, at the end, repeat samples of this epoch so that all ranks have full batches."""


@dataclass(frozen=True)
class Place:
    """A place in the stream, the same on any number of ranks and workers."""

    epoch: int = 0
    """The epoch under way, counted from 0."""
    position: int = 0
    """Samples of it that all ranks together have consumed."""


@dataclass(frozen=True)
class Order:
    """Which samples a rank reads, in which order and in batches of which size."""

    batch: int
    """Samples per batch and rank."""
    rank: int = 0
    """The rank that reads, counted from 0."""
    ranks: int = 1
    """How many ranks read together; each takes its slice of every global batch."""
    seed: int = 0
    """What shuffles shards and samples, together with the epoch."""
    shuffle: int = 1000
    """Samples that are shuffled together, see `epoch_order`."""
    remainder: Remainder = "pad"
    """What becomes of an epoch's last samples that fill no batch on every rank: repeats fill it, or they go."""
    resampled: bool = False
    """Whether shards are drawn with replacement."""


START = Place()
"""The beginning of the first epoch."""


def epoch_order(sizes: Sequence[int], seed: int, epoch: int, shuffle: int, resampled: bool = False) -> Array:
    """Sample numbers in the order of an epoch: int64 (sum of `sizes`,).

    Shards come in a random order; behind one another they are cut into blocks of `shuffle` samples, at places that
    differ between epochs, and each block is shuffled. So a reader needs few shards at a time, however many there are.
    resampled: shards are drawn with replacement, until the epoch is as long as the data.
    """
    rng = np.random.default_rng((seed, epoch, _SHARDS))
    sizes_ = np.asarray(sizes, np.int64)
    total = int(sizes_.sum())
    starts = np.cumsum(sizes_) - sizes_
    if resampled:
        drawn: list[int] = []
        left = total
        # An empty shard would bring the epoch no nearer to its end.
        filled = np.flatnonzero(sizes_)
        while left > 0:
            drawn.append(int(filled[rng.integers(len(filled))]))
            left -= int(sizes_[drawn[-1]])
        chosen = np.asarray(drawn, np.int64)
    else:
        chosen = rng.permutation(len(sizes_))
    lengths = sizes_[chosen]
    ends = np.cumsum(lengths)
    # 0, 1, 2 … anew for each shard in its turn, without a loop over shards.
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    # Cut, because the shard that was drawn last may reach beyond the epoch's end.
    order: Array = (np.repeat(starts[chosen], lengths) + within)[:total]
    # A stream of its own: how many numbers the shards took does not show in the samples' shuffling.
    rng = np.random.default_rng((seed, epoch, _SAMPLES))
    blocks = (np.arange(total) + int(rng.integers(shuffle))) // shuffle
    # Random numbers below 1 added to the block's number: sorting by that shuffles within blocks only.
    return order[np.argsort(blocks + rng.random(total), kind="stable")]


def batches_left(samples: int, position: int, global_batch: int, remainder: Remainder) -> int:
    """Batches of each rank from `position` to the end of the epoch."""
    left = max(0, samples - position)
    return left // global_batch if remainder == "drop" else -(-left // global_batch)


def steps(sizes: Sequence[int], order: Order, place: Place = START, epochs: int | None = None) -> Iterator[Step]:
    """The batches of a rank from a place on, for `epochs` epochs (the one begun included) or for ever.

    sizes: samples of each shard.
    Raises BadInput when an epoch would have no batch.
    """
    samples, batch, global_batch = sum(sizes), order.batch, order.batch * order.ranks
    if batches_left(samples, 0, global_batch, order.remainder) == 0:
        raise BadInput(
            f"{samples} samples are less than one batch of {batch} on each of {order.ranks} ranks; pack more pairs, "
            "take a smaller batch, or set the remainder to pad"
        )
    epoch, position = place.epoch, place.position
    last = None if epochs is None else epoch + epochs
    while last is None or epoch < last:
        if batches := batches_left(samples, position, global_batch, order.remainder):
            shuffled = epoch_order(sizes, order.seed, epoch, order.shuffle, order.resampled)
            for _ in range(batches):
                # Ranks take slices side by side of one global batch. So the position counts samples of all ranks, and a
                # run may go on from it with another number of them.
                first = position + order.rank * batch
                # Beyond the end, the epoch begins again: that is the padding.
                numbers = shuffled[np.arange(first, first + batch) % samples]
                padding = min(batch, max(0, first + batch - samples))
                position = min(samples, position + global_batch)
                yield Step(epoch, position, tuple(numbers.tolist()), padding)
        epoch, position = epoch + 1, 0
