"""Shards as a stream of training batches: every sample once per epoch, and exact from any place on."""

import ctypes
import hashlib
import logging
import math
import mmap
import weakref
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.kinds import kind_of
from shards.reading import samples
from shards.reading.cache import Cache
from shards.reading.order import TRAINING_MAX_BAD, Order, Place, Remainder, Step, steps
from shards.reading.samples import Members, OpenShard
from shards.reading.store import Store
from shards.reading.workers import made_by_workers, size_of
from shards.records import LabelSchema, Manifest

log = logging.getLogger(__name__)

OPEN_SHARDS = 16
"""Shards that a worker keeps open; the shuffled blocks of an epoch touch few at a time."""


@dataclass(frozen=True)
class Loaded:
    """A batch as loader workers make it, compact and on the CPU."""

    keys: tuple[str, ...]
    """The samples' keys."""
    photos: dict[str, Tensor]
    """Per side, uint8 (N, H, W, 3) RGB."""
    labels: dict[str, Tensor]
    """Per side (`target`, `exemplar`), loaded label maps, uint8 (N, C, H, W), or (N, H, W) ids for `classes`."""
    same_style: Tensor
    """Whether target and exemplar share a style, float32 (N,)."""
    noise: Tensor
    """Standard normal draws, float32 (N, Reading.noise)."""
    place: Place = field(default_factory=Place)
    """How far the stream is once this batch is consumed."""
    padding: int = 0
    """How many samples, at the end of the batch, repeat others of the epoch."""
    bad: tuple[tuple[str, str], ...] = ()
    """Shard and key, and the reason, of each sample that could not be read; another one of the batch stands there."""
    instances: Tensor | None = None
    """The targets' instance maps, int32 (N, H, W); None unless they were asked for."""

    def __reduce__(self) -> Any:
        """Pickled with its tensors as arrays, whose memory protocol 5 of pickle hands over apart."""
        return _of_arrays, (_converted(vars(self), Tensor, Tensor.numpy),)


def _of_arrays(members: dict[str, Any]) -> Loaded:
    return Loaded(**_converted(members, np.ndarray, torch.from_numpy))


def _converted(members: dict[str, Any], kind: type, convert: Callable[[Any], Any]) -> dict[str, Any]:
    """A batch's members with each of a kind, also in dicts of sides, as another one."""
    return {
        name: _converted(value, kind, convert)
        if isinstance(value, dict)
        else (convert(value) if isinstance(value, kind) else value)
        for name, value in members.items()
    }


@dataclass(frozen=True)
class Reading:
    """What to read and in which order."""

    photos: tuple[str, ...]
    """The sides whose photos are decoded."""
    labels: tuple[str, ...]
    """The sides whose label maps are decoded or drawn."""
    batch: int
    """Samples per batch and rank."""
    seed: int = 0
    """The run's seed: of the order, of mirroring and of noise."""
    rank: int = 0
    """The rank that reads, counted from 0."""
    ranks: int = 1
    """How many ranks read together."""
    workers: int = 0
    """Loader workers of the rank; 0 reads in this process."""
    shuffle: int = 1000
    """Samples that are shuffled together, see `shards.reading.order.epoch_order`."""
    flip: bool = False
    """Whether half of the samples are mirrored, by one decision for all pictures of a sample."""
    start: Place = field(default_factory=Place)
    """Where the stream begins."""
    epochs: int | None = None
    """How many epochs to read; None reads for ever."""
    remainder: Remainder = "pad"
    """What becomes of an epoch's last samples that fill no batch on every rank, see `shards.reading.order.Order`."""
    resampled: bool = False
    """Whether shards are drawn with replacement."""
    max_bad: float = TRAINING_MAX_BAD
    """The share of all samples that may be unreadable."""
    noise: int = 0
    """Standard normal draws that come with each sample."""
    instances: bool = False
    """Whether the targets' instance maps are decoded."""

    @property
    def order(self) -> Order:
        """Which samples this rank reads."""
        return Order(self.batch, self.rank, self.ranks, self.seed, self.shuffle, self.remainder, self.resampled)


@contextmanager
def open_shards(
    location: str | Path, schema: LabelSchema | None = None, cache: Cache | None = None
) -> Iterator[tuple[Manifest, Store]]:
    """Reads the manifest of a folder or URL; shards are checked against it when they are first read.

    cache: where shards of a URL are kept; without it, a few of them in a temporary folder while this is entered.

    Raises BadInput when there is no manifest, or naming the field in which the label schema differs from `schema`.
    """
    with Store(location, cache).with_temporary_cache() as store:
        manifest = store.manifest()
        if schema is not None and (difference := schema.difference(manifest.schema)):
            raise BadInput(f"{store.where} has another label schema than this model: {difference}")
        yield manifest, store


class Stream:
    """The batches of one rank, in order. Iterating over it starts the loader workers.

    Raises BadInput when an epoch has no batch or the shards lack the instance maps asked for, and while iterating when
    more than `max_bad` of all samples turn out to be unreadable on this rank, of which each is logged once, or when
    loader workers cannot work (see `made_by_workers`).
    """

    def __init__(
        self, manifest: Manifest, store: Store, reading: Reading, go_on: Callable[[], bool] | None = None
    ) -> None:
        """go_on: asked while a batch of the loader workers is waited for; False ends the stream."""
        self.manifest, self.store, self.reading, self.go_on = manifest, store, reading, go_on
        self.bad: dict[str, str] = {}
        if reading.instances:
            check_instances(manifest, store)
        if absent := [side for side in reading.photos if side not in manifest.sides]:
            raise BadInput(
                f"{store.where} shows one style, so that its samples have no {absent[0]}.jpg, which this method reads; "
                "pack more styles, or train a method that compares none"
            )
        # Refuses here, before workers start, what they would refuse.
        next(_steps(manifest, replace(reading, start=Place(), epochs=None)))

    def __iter__(self) -> Iterator[Loaded]:
        reading = self.reading
        make = _Worker(self.manifest, self.store, reading).batches
        slot_bytes = batch_bytes(self.manifest.schema, reading) if reading.workers else 0
        for loaded in made_by_workers(make, reading.workers, slot_bytes, _Memory().take, self.go_on):
            self._count(loaded)
            yield loaded

    def _count(self, loaded: Loaded) -> None:
        for where, reason in loaded.bad:
            if where not in self.bad:
                self.bad[where] = reason
                log.warning("skipped %s: %s", where, reason)
        allowed = self.reading.max_bad * self.manifest.samples
        if len(self.bad) > allowed:
            where, reason = next(reversed(self.bad.items()))
            raise BadInput(
                f"{len(self.bad)} of {self.manifest.samples} samples cannot be read, more than the {allowed:g} that "
                f"max_bad {self.reading.max_bad:g} allows; the last one, {where}: {reason}"
            )


def batch_bytes(schema: LabelSchema, reading: Reading) -> int:
    """Bytes of memory that a batch takes on its way from a loader worker."""
    return size_of(_Batch(schema, reading, reading.batch, _Memory()).loaded(Place(), 0, ()))


def check_instances(manifest: Manifest, store: Store) -> None:
    """Raises BadInput when shards have no instance maps."""
    if not manifest.instances:
        raise BadInput(
            f"{store.where} has no instance maps; draw the streets world again and pack it, or pack a dataset that has "
            "them (cityscapes with its gtFine_instanceIds, pictures with a folder instances)"
        )


def _steps(manifest: Manifest, reading: Reading) -> Iterator[Step]:
    return steps([shard.samples for shard in manifest.shards], reading.order, reading.start, reading.epochs)


class _Worker:
    """What one loader worker does."""

    def __init__(self, manifest: Manifest, store: Store, reading: Reading) -> None:
        self.manifest, self.store, self.reading = manifest, store, reading
        # One flag per shard that all workers share, so that a shard is checked by one of them.
        self.checked = np.frombuffer(mmap.mmap(-1, max(1, len(manifest.shards))), np.uint8)
        self._open: OrderedDict[int, OpenShard | BadInput] = OrderedDict()
        self._memory = _Memory()

    @cached_property
    def _starts(self) -> list[int]:
        return list(accumulate((shard.samples for shard in self.manifest.shards), initial=0))

    def batches(self, turn: int, workers: int) -> Iterator[Loaded]:
        """Every `workers`-th batch, from number `turn` on.

        Workers are asked in turn, so that dealing the batches out in turn keeps the order, with any number of them.
        Each goes through all steps, which costs nearly nothing, and reads its own.
        """
        for number, step in enumerate(_steps(self.manifest, self.reading)):
            if number % workers == turn:
                yield self.batch(step.numbers, step)

    def batch(self, numbers: Sequence[int], step: Step) -> Loaded:
        """Reads and decodes samples; one that cannot be read is replaced by a copy of another one of the batch."""
        batch = _Batch(self.manifest.schema, self.reading, len(numbers), self._memory)
        bad: list[tuple[str, str]] = []
        good: list[int] = []
        for row, number in enumerate(numbers):
            try:
                batch.fill(row, self._members(number), step.epoch)
                good.append(row)
            except BadInput as error:
                bad.append((self._name(number), str(error)))
        if len(bad) > self.reading.max_bad * self.manifest.samples:
            # More than may be: the batch is not used, and needs no stand-ins.
            good = good or [0]
        elif not good:
            good = [self._stand_in(batch, numbers[0], step.epoch)]
        for row in set(range(len(numbers))) - set(good):
            batch.copy(good[row % len(good)], row)
        return batch.loaded(Place(step.epoch, step.position), step.padding, tuple(bad))

    def _stand_in(self, batch: "_Batch", number: int, epoch: int) -> int:
        """Fills row 0 with the next sample that can be read."""
        for further in range(1, self.manifest.samples):
            try:
                batch.fill(0, self._members((number + further) % self.manifest.samples), epoch)
                return 0
            except BadInput:
                continue
        raise BadInput(f"none of the {self.manifest.samples} samples can be read; run `python -m shards verify`")

    def _members(self, number: int) -> Members:
        shard, within = self._locate(number)
        opened = self._open.get(shard)
        if opened is None:
            opened = self._opened(shard)
            self._open[shard] = opened
            # The least recently used one is closed; a file that many samples still come from is at the other end.
            if len(self._open) > OPEN_SHARDS:
                _, oldest = self._open.popitem(last=False)
                if isinstance(oldest, OpenShard):
                    oldest.close()
        self._open.move_to_end(shard)
        if isinstance(opened, BadInput):
            raise opened
        return opened.members(within, self._extensions)

    def _opened(self, number: int) -> OpenShard | BadInput:
        """The open shard, or why it cannot be read; then it is not tried again for each of its samples."""
        shard = self.manifest.shards[number]
        try:
            opened = OpenShard(self.store.open(shard, known=bool(self.checked[number])))
            self.checked[number] = 1
            if len(opened) != shard.samples:
                opened.close()
                return BadInput(f"{shard.name} holds {len(opened)} samples, but the manifest says {shard.samples}")
            return opened
        except BadInput as error:
            return error

    @cached_property
    def _extensions(self) -> frozenset[str]:
        """The members that the reading needs; a photo is a JPEG or a PNG."""
        wanted = {"json"} | {f"{side}.{kind}" for side in self.reading.photos for kind in samples.PICTURE_FORMATS}
        if self.reading.instances:
            wanted.add(samples.INSTANCES)
        return frozenset(wanted | {f"{side}.label.png" for side in self.reading.labels})

    def _locate(self, number: int) -> tuple[int, int]:
        shard = bisect_right(self._starts, number) - 1
        return shard, number - self._starts[shard]

    def _name(self, number: int) -> str:
        shard, within = self._locate(number)
        opened = self._open.get(shard)
        key = opened.entries[within].key if isinstance(opened, OpenShard) else f"number {within}"
        return f"{self.manifest.shards[shard].name} sample {key}"


class _Memory:
    """Memory for the photos of batches, used again once nobody holds the batch that lies in it.

    Memory that goes back to the system after every batch has to be mapped and cleared anew for the next one, which
    costs a fifth of the time that decoding takes.
    """

    KEPT = 4

    def __init__(self) -> None:
        self._pieces: list[tuple[bytearray, weakref.ref[ctypes.Array[ctypes.c_ubyte]]]] = []

    def take(self, shape: tuple[int, ...]) -> Array:
        """A uint8 array with undefined content."""
        size = math.prod(shape)
        free = (piece for piece, lent in self._pieces if len(piece) == size and lent() is None)
        piece = next(free, None)
        if piece is None:
            piece = bytearray(size)
            self._pieces = self._pieces[1 - self.KEPT :]
        # Each time it is lent, the piece gets a new holder, which the array and all its parts keep alive, and nobody
        # else: once it is gone, nothing refers to the piece.
        holder = (ctypes.c_ubyte * size).from_buffer(piece)
        self._pieces = [entry for entry in self._pieces if entry[0] is not piece]
        self._pieces.append((piece, weakref.ref(holder)))
        array: Array = np.frombuffer(memoryview(holder), np.uint8).reshape(shape)
        return array


def mirrored(seed: int, epoch: int, key: str) -> bool:
    """Whether a sample is mirrored in an epoch: half of them are, by a hash of all three."""
    return bool(hashlib.blake2b(f"{seed} {epoch} {key}".encode(), digest_size=1).digest()[0] & 1)


def noise_of(seed: int, epoch: int, key: str, count: int) -> Array:
    """Standard normal draws of a sample in an epoch, float32 (count,): a function of these, wherever it is read."""
    digest = hashlib.blake2b(f"noise {seed} {epoch} {key}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest)))
    return generator.standard_normal(count, np.float32)


class _Batch:
    """A batch being filled: pictures are decoded straight into its arrays."""

    def __init__(self, schema: LabelSchema, reading: Reading, size: int, memory: "_Memory") -> None:
        self.schema, self.reading, self.size = schema, reading, size
        picture = (size, schema.height, schema.width)
        # One piece of memory for the photos of all sides.
        self.photos = dict(zip(reading.photos, memory.take((len(reading.photos), *picture, 3)), strict=True))
        self.unturned = np.empty((schema.height, schema.width, 3), np.uint8)
        label = (size, *kind_of(schema).loaded_shape(schema))
        self.labels = {side: np.zeros(label, np.uint8) for side in reading.labels}
        self.instances = np.zeros(picture, np.int32) if reading.instances else None
        self.keys = [""] * size
        self.same_style = np.zeros(size, np.float32)
        self.noise = np.zeros((size, reading.noise), np.float32)

    def fill(self, row: int, members: Members, epoch: int) -> None:
        """Decodes a sample into a row. Raises BadInput naming shard, key and member when it cannot be read."""
        reading = self.reading
        record = samples.decode_record(members)
        key = members[samples.KEY].decode()
        flip = reading.flip and mirrored(reading.seed, epoch, key)
        for side, photos in self.photos.items():
            # Decoded straight into the batch; one that is to be mirrored aside, and then mirrored into the batch.
            photo = samples.decode_photo(members, side, self.schema, self.unturned if flip else photos[row])
            if flip:
                cv2.flip(photo, 1, photos[row])
        for side, label_maps in self.labels.items():
            label_maps[row] = samples.decode_record_label(members, side, self.schema, record, flip)
        if self.instances is not None:
            numbers = samples.decode_instances(members, self.schema)
            self.instances[row] = cv2.flip(numbers, 1) if flip else numbers
        self.keys[row] = key
        self.same_style[row] = record["s"]
        if reading.noise:
            self.noise[row] = noise_of(reading.seed, epoch, key, reading.noise)

    def copy(self, source: int, row: int) -> None:
        """Makes a row a copy of another one."""
        arrays: list[Array] = [*self.photos.values(), *self.labels.values(), self.same_style, self.noise]
        if self.instances is not None:
            arrays.append(self.instances)
        for array in arrays:
            array[row] = array[source]
        self.keys[row] = self.keys[source]

    def loaded(self, place: Place, padding: int, bad: tuple[tuple[str, str], ...]) -> Loaded:
        return Loaded(
            keys=tuple(self.keys),
            photos={side: torch.from_numpy(array) for side, array in self.photos.items()},
            labels={side: torch.from_numpy(array) for side, array in self.labels.items()},
            same_style=torch.from_numpy(self.same_style),
            noise=torch.from_numpy(self.noise),
            place=place,
            padding=padding,
            bad=bad,
            instances=None if self.instances is None else torch.from_numpy(self.instances),
        )


def first_samples(manifest: Manifest, store: Store, count: int, reading: Reading) -> Loaded:
    """The first `count` samples in the order of the shards, as they are: the fixed rows of a sample grid.

    Raises BadInput when one of them cannot be read, or the shards lack the instance maps asked for.
    """
    if reading.instances:
        check_instances(manifest, store)
    numbers = range(min(count, manifest.samples))
    worker = _Worker(manifest, store, replace(reading, flip=False, max_bad=0.0))
    loaded = worker.batch(numbers, Step(0, len(numbers), tuple(numbers), 0))
    store.release()
    if loaded.bad:
        raise BadInput(f"{loaded.bad[0][0]}: {loaded.bad[0][1]}")
    return loaded
