"""What a rank reads, batch by batch: the real reader run over one epoch, with nothing decoded but the keys."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from shards.reading.order import Order, Place
from shards.reading.stream import Reading, Stream, open_shards


@dataclass(frozen=True)
class Traced:
    """A batch of one rank."""

    keys: tuple[str, ...]
    """The samples' keys."""
    padding: int
    """How many of them, at the end, repeat others of the epoch."""


def keys_of_epoch(order: Order, workers: int, epoch: int, start: int) -> Reading:
    """A reading of keys alone, to the end of an epoch. start: batches of this rank that are passed over."""
    place = Place(epoch, start * order.batch * order.ranks)
    return Reading((), (), **asdict(order), workers=workers, start=place, epochs=1, max_bad=0.0)


def trace(location: str | Path, reading: Reading) -> Iterator[Traced]:
    """The batches of a rank to the end of the epoch. Raises BadInput as the reader does."""
    with open_shards(location) as (manifest, store):
        for loaded in Stream(manifest, store, reading):
            yield Traced(loaded.keys, loaded.padding)
