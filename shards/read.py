"""Shards as an endless stream of training batches whose order is a pure function of the seed."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from shards import labels, samples
from shards.command import BadInput
from shards.flip import flip_frame
from shards.records import LabelSchema, Manifest, load_manifest
from shards.samples import Members


@dataclass(frozen=True)
class Loaded:
    """A batch as loader workers make it, compact and on the CPU.

    photos: per side, uint8 (N, H, W, 3) RGB. labels: per side (`target`, `exemplar`), loaded label maps,
    uint8 (N, C, H, W), or (N, H, W) ids for `classes`. same_style: float32 (N,).
    """

    keys: tuple[str, ...]
    photos: dict[str, Tensor]
    labels: dict[str, Tensor]
    same_style: Tensor


@dataclass(frozen=True)
class Reading:
    """What to read and in which order.

    photos, labels: the sides to decode; nothing else is. start: batches that this rank has consumed
    before; reading continues behind them. flip: mirror half of the samples, one decision for all pictures of a sample.
    """

    photos: tuple[str, ...]
    labels: tuple[str, ...]
    batch: int
    seed: int = 0
    rank: int = 0
    ranks: int = 1
    workers: int = 0
    shuffle: int = 512
    flip: bool = False
    start: int = 0


def open_shards(path: Path, schema: LabelSchema | None = None) -> tuple[Manifest, Path]:
    """Reads the manifest and refuses shards that are not what it says, by size and SHA-256.

    Raises BadInput naming the file, or the field in which the label schema differs from `schema`.
    """
    manifest, folder = load_manifest(path)
    if schema is not None and (difference := schema.difference(manifest.schema)):
        raise BadInput(f"{folder}/manifest.json has another label schema than this model: {difference}")
    samples.check_shards(folder, manifest)
    return manifest, folder


def loader(manifest: Manifest, folder: Path, reading: Reading) -> DataLoader[Loaded]:
    """An endless loader of `Loaded` batches for one rank; every epoch is shuffled anew.

    In each epoch the samples are split without overlap over all ranks × workers. Raises BadInput when
    there are fewer samples than ranks × workers.
    """
    streams = reading.ranks * max(1, reading.workers)
    if manifest.samples < streams:
        raise BadInput(
            f"{folder} holds {manifest.samples} samples for {reading.ranks} ranks × {reading.workers} workers; "
            "pack more pairs or set data.workers lower"
        )
    return DataLoader(
        _Stream(manifest, folder, reading),
        batch_size=None,
        num_workers=reading.workers,
        prefetch_factor=4 if reading.workers else None,
        # A generator of its own: starting workers must not advance the one that a resumed run continues.
        generator=torch.Generator(),
    )


class _Stream(IterableDataset[Loaded]):
    """The part of the stream that one loader worker reads."""

    def __init__(self, manifest: Manifest, folder: Path, reading: Reading) -> None:
        self.manifest, self.folder, self.reading = manifest, folder, reading

    def __iter__(self) -> Iterator[Loaded]:
        info = get_worker_info()
        reading, workers = self.reading, max(1, self.reading.workers)
        # Batch b of a rank comes from logical worker b % workers. The loader begins with its worker 0, which
        # therefore takes the role of the logical worker whose turn it is.
        worker = ((info.id if info else 0) + reading.start) % workers
        consumed = (reading.start - worker + workers - 1) // workers
        stream = reading.rank * workers + worker
        ordered = _samples(self.manifest, self.folder, reading, stream, skip=consumed * reading.batch)
        while True:
            yield _collate(
                [_decode(members, epoch, self.manifest.schema, reading) for epoch, members in _take(ordered, reading)]
            )


def _take(ordered: Iterator[tuple[int, Members]], reading: Reading) -> list[tuple[int, Members]]:
    return [next(ordered) for _ in range(reading.batch)]


def _samples(
    manifest: Manifest, folder: Path, reading: Reading, stream: int, skip: int
) -> Iterator[tuple[int, Members]]:
    """(epoch, members) for ever. `skip` samples are passed over without being decoded, whole epochs unread."""
    streams = reading.ranks * max(1, reading.workers)
    first, last = (manifest.samples * edge // streams for edge in (stream, stream + 1))
    epoch, left = divmod(skip, last - first)
    while True:
        in_order = _range(manifest, folder, shard_order(len(manifest.shards), reading.seed, epoch), first, last)
        rng = np.random.default_rng((reading.seed, epoch, stream))
        for position, members in enumerate(_shuffled(in_order, reading.shuffle, rng)):
            if position >= left:
                yield epoch, members
        epoch, left = epoch + 1, 0


def shard_order(shards: int, seed: int, epoch: int) -> list[int]:
    """The permutation of shard numbers that an epoch reads."""
    return [int(number) for number in np.random.default_rng((seed, epoch)).permutation(shards)]


def _range(manifest: Manifest, folder: Path, order: Sequence[int], first: int, last: int) -> Iterator[Members]:
    """Samples first … last - 1 of the shards in the given order, opening only shards that hold some."""
    begin = 0
    for number in order:
        shard = manifest.shards[number]
        wanted = range(max(first - begin, 0), min(last - begin, shard.samples))
        if wanted:
            for position, members in enumerate(samples.iter_shard(folder / shard.name)):
                if position >= wanted.stop:
                    break
                if position >= wanted.start:
                    yield members
        begin += shard.samples


def _shuffled(items: Iterator[Members], size: int, rng: np.random.Generator) -> Iterator[Members]:
    """Each item once, in an order drawn from a buffer of `size` items."""
    buffer: list[Members] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        place = int(rng.integers(size))
        yield buffer[place]
        buffer[place] = item
    for place in rng.permutation(len(buffer)):
        yield buffer[place]


def _decode(members: Members, epoch: int, schema: LabelSchema, reading: Reading) -> samples.Sample:
    sample = samples.decode(members, schema, reading.photos, ())
    key = zlib.crc32(sample.pair.key.encode())
    flip = reading.flip and np.random.default_rng((reading.seed, epoch, key)).random() < 0.5
    frames = {side: getattr(sample.pair, side) for side in reading.labels}
    ids = {side: samples.decode_ids(members, side, schema) for side in reading.labels}
    if flip:
        frames = {side: flip_frame(frame) for side, frame in frames.items()}
        ids = {side: None if picture is None else picture[:, ::-1] for side, picture in ids.items()}
    return replace(
        sample,
        photos={side: photo[:, ::-1] if flip else photo for side, photo in sample.photos.items()},
        labels={side: labels.load(schema, frames[side], ids[side]) for side in reading.labels},
    )


def _collate(batch: Sequence[samples.Sample]) -> Loaded:
    def stack(arrays: list[np.ndarray[Any, Any]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    return Loaded(
        keys=tuple(sample.pair.key for sample in batch),
        photos={side: stack([sample.photos[side] for sample in batch]) for side in batch[0].photos},
        labels={side: stack([sample.labels[side] for sample in batch]) for side in batch[0].labels},
        same_style=torch.tensor([float(sample.pair.same_style) for sample in batch]),
    )


def first_samples(manifest: Manifest, folder: Path, count: int, reading: Reading) -> Loaded:
    """The first `count` samples in the order of the shards, as they are: the fixed rows of a sample grid."""
    plain = replace(reading, flip=False)
    in_order = _range(manifest, folder, range(len(manifest.shards)), 0, min(count, manifest.samples))
    return _collate([_decode(members, 0, manifest.schema, plain) for members in in_order])
