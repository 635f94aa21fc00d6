"""Compact batches of the reader to the tensors that networks read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from shards.inputs import needs_of
from shards.reading.order import Place
from shards.reading.stream import Loaded, Reading
from shards.records import LabelSchema
from trainer.method import Batch, Method


def reading_of(method: Method, batch: int) -> Reading:
    """What a method trains on: its photos, the label maps and instance maps among its inputs, and its noise."""
    return replace(reading_for(method.inputs, method.reads, batch), noise=method.noise)


def reading_for(inputs: Sequence[str], photos: tuple[str, ...], batch: int) -> Reading:
    """These photos, and the label maps and instance maps that are among the inputs of `synthesize`."""
    needs = needs_of(inputs)
    return Reading(photos, needs.labels, batch, instances=needs.instances)


def photo_channels(photos: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1]: (v/255 - 0.5)/0.5."""
    return photos.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def label_channels(labels: Tensor, schema: LabelSchema) -> Tensor:
    """Loaded label maps to float32 (N, C_L, H, W) in [0, 1]; ids are one-hot encoded here, on the device.

    The reader has checked on the CPU that no id lies outside the schema.
    """
    if not schema.ids:
        return labels.float().div(255)
    channels = _channel_of(tuple(schema.ids), labels.device)[labels.long()]
    # Written out, because torch's one_hot looks at the largest id and makes the host wait for it.
    encoded = torch.zeros(*labels.shape, schema.channels, device=labels.device)
    return encoded.scatter_(3, channels.unsqueeze(3), 1.0).permute(0, 3, 1, 2).contiguous()


@lru_cache
def _channel_of(ids: tuple[int, ...], device: torch.device) -> Tensor:
    """The channel of each id: int64 (256,), on a device."""
    channels = torch.zeros(256, dtype=torch.long)
    channels[list(ids)] = torch.arange(len(ids))
    return channels.to(device)


def to_device(loaded: Loaded, schema: LabelSchema, device: torch.device) -> Batch:
    """Moves a batch and expands it there; members that were not read become empty tensors."""
    empty = torch.empty(0, device=device)

    def photo(side: str) -> Tensor:
        return photo_channels(loaded.photos[side].to(device, non_blocking=True)) if side in loaded.photos else empty

    def label(side: str) -> Tensor:
        if side not in loaded.labels:
            return empty
        return label_channels(loaded.labels[side].to(device, non_blocking=True), schema)

    return Batch(
        label=label("target"),
        target=photo("target"),
        exemplar_label=label("exemplar"),
        exemplar=photo("exemplar"),
        consistent=photo("consistent"),
        inconsistent=photo("inconsistent"),
        same_style=loaded.same_style.to(device, non_blocking=True),
        instances=empty if loaded.instances is None else loaded.instances.to(device, non_blocking=True),
        noise=loaded.noise.to(device, non_blocking=True),
    )


def first_batches(stream: Iterable[Loaded], count: int, schema: LabelSchema, device: torch.device) -> Iterator[Batch]:
    """The first samples of a stream, 1 or more, or all where there are fewer; the last batch may be smaller."""
    for loaded in stream:
        samples = min(count, len(loaded.keys) - loaded.padding)
        yield to_device(loaded, schema, device).first(samples)
        count -= samples
        if not count:
            return


@dataclass(frozen=True)
class Ready:
    """A batch on the device."""

    batch: Batch
    """What networks read."""
    keys: tuple[str, ...]
    """Of its samples."""
    place: Place
    """Where the stream is once it is consumed."""


def ahead(stream: Iterable[Loaded], schema: LabelSchema, device: torch.device) -> Iterator[Ready]:
    """The stream's batches on the device; on a GPU the next one is copied there while this one is trained on."""
    if device.type != "cuda":
        for loaded in stream:
            yield Ready(to_device(loaded, schema, device), loaded.keys, loaded.place)
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: Ready | None = None
    for loaded in stream:
        with torch.cuda.stream(copying):
            following = Ready(to_device(pinned(loaded), schema, device), loaded.keys, loaded.place)
        if waiting is not None:
            yield waiting
        torch.cuda.current_stream(device).wait_stream(copying)
        for tensor in vars(following.batch).values():
            # The allocator must not hand this memory out again while the training stream still reads it.
            tensor.record_stream(torch.cuda.current_stream(device))
        waiting = following
    if waiting is not None:
        yield waiting


def pinned(loaded: Loaded) -> Loaded:
    """The batch in page-locked memory, from where it can be copied to the GPU without the host waiting."""
    return replace(
        loaded,
        photos={side: tensor.pin_memory() for side, tensor in loaded.photos.items()},
        labels={side: tensor.pin_memory() for side, tensor in loaded.labels.items()},
        same_style=loaded.same_style.pin_memory(),
        noise=loaded.noise.pin_memory(),
        instances=None if loaded.instances is None else loaded.instances.pin_memory(),
    )
