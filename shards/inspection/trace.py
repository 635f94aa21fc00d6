"""What a rank reads, batch by batch: the real reader run over one epoch, with nothing decoded but the keys."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shards.reading.order import Place
from shards.reading.stream import Reading, Stream, open_shards


@dataclass(frozen=True)
class Traced:
    """A batch of one rank: the sample keys, and how many of them, at the end, repeat others of the epoch."""

    keys: tuple[str, ...]
    padding: int


def reading_for_trace(
    batch: int, seed: int, rank: int, ranks: int, workers: int, epoch: int, start: int, **order: Any
) -> Reading:
    """A reading of keys alone.

    start: batches of this rank that are passed over. order: shuffle, remainder and resampled, as in Reading.
    """
    place = Place(epoch, start * batch * ranks)
    plain = Reading(photos=(), labels=(), batch=batch, seed=seed, rank=rank, ranks=ranks, workers=workers)
    return replace(plain, start=place, epochs=1, max_bad=0.0, **order)


def trace(location: str | Path, reading: Reading) -> Iterator[Traced]:
    """The batches of a rank to the end of the epoch. Raises BadInput as the reader does."""
    with open_shards(location) as (manifest, store):
        for loaded in Stream(manifest, store, reading):
            yield Traced(loaded.keys, loaded.padding)
