"""Real samples for the gates: from shards, or drawn by the world that fits an untrained model's labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from export.centres import centres_of
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.inputs import (
    FEATURES_MAP,
    INPUTS,
    INSTANCES,
    Drawing,
    Expansion,
    Input,
    Loaded,
    Read,
    inputs_of,
    needs_of,
)
from shards.labels.kinds import kind_of
from shards.reading.stream import first_samples, open_shards
from shards.records import Frame, LabelSchema
from shards.worlds import WORLDS, world_of
from shards.worlds.world import MappedWorld, World
from trainer.batches import label_channels, photo_channels, reading_for
from trainer.checkpoints.synthesis import Synthesis

COUNT = 64
"""Pictures that a graph is judged by."""
CALIBRATION = 16
"""Further ones, that int8 is calibrated on."""
LEAST = 3


@dataclass(frozen=True)
class Samples:
    """Samples as files and shards hold them."""

    loaded: Mapping[str, Array]
    """By the model's input, uint8: photos (N, H, W, 3) RGB, label maps (N, C_L, H, W), or ids (N, H, W) for the kind
    `classes`; instances, features and style codes as the graph takes them."""
    where: str
    """Where they come from, in words."""

    def __len__(self) -> int:
        return len(next(iter(self.loaded.values())))

    def __getitem__(self, numbers: slice) -> "Samples":
        return Samples({name: value[numbers] for name, value in self.loaded.items()}, self.where)

    def expanded(self, schema: LabelSchema) -> tuple[Tensor, ...]:
        """What the network in PyTorch takes, made by the trainer's own code."""

        expansion = Expansion(
            photo=photo_channels,
            label=partial(label_channels, schema=schema),
            numbers=lambda numbers: numbers,
            values=lambda values: values,
        )
        return tuple(INPUTS[name].expand(torch.from_numpy(value), expansion) for name, value in self.loaded.items())


def real_samples(synthesis: Synthesis, shards: str | None, count: int = COUNT) -> Samples:
    """Up to `count` samples.

    shards: a folder, manifest or URL; None means the shards that the checkpoint's config names as held out, or, for
    an untrained model, a world's drawings. Raises BadInput when there are fewer than 3 or their label schema is
    another.
    """
    named = shards or synthesis.test_shards
    if named is None:
        if synthesis.sha256 != "untrained":
            raise BadInput("the checkpoint's config names no data.test shards to compare on; give some with --samples")
        return drawn(synthesis, count)
    with open_shards(named, synthesis.schema) as (manifest, store):
        if manifest.samples < LEAST:
            raise BadInput(
                f"{store.where} holds {manifest.samples} samples, but the gates need at least {LEAST}; "
                "name other shards with --samples"
            )
        reading = reading_for(synthesis.inputs, needs_of(synthesis.inputs).photos, 1)
        return _samples(synthesis, first_samples(manifest, store, count, reading), store.where)


def _samples(synthesis: Synthesis, read: Read, where: str) -> Samples:
    """Of what was read, what the model reads; style codes and features are drawn, as `deploy` draws them."""
    inputs = inputs_of(synthesis.inputs)
    loaded = {each.name: tensor.numpy() for each in inputs if (tensor := each.of(read)) is not None}
    count = len(next(iter(loaded.values())))
    samples: list[Loaded] = [{name: value[number] for name, value in loaded.items()} for number in range(count)]
    source = Drawing(centres_of(synthesis), synthesis.style_length, "the model")
    for each in inputs:
        if each.name not in loaded:
            loaded[each.name] = np.stack(
                [
                    _drawn(each, source, sample, number, synthesis.feature_channels)
                    for number, sample in enumerate(samples)
                ]
            )
    return Samples({name: loaded[name] for name in synthesis.inputs}, where)


def _drawn(each: Input, source: Drawing, sample: Loaded, number: int, feature_channels: int) -> Array:
    """As `deploy` draws it; features of a model whose labels have no classes, and so no centres, are anything at all
    for each instance."""
    if each is not FEATURES_MAP or source.centres is not None:
        return each.draw(source, sample, 0, str(number))
    instances = sample[INSTANCES.name]
    found, places = np.unique(instances, return_inverse=True)
    vectors = np.random.default_rng(number).uniform(-1, 1, (len(found), feature_channels)).astype(np.float32)
    return vectors[places.reshape(instances.shape)].transpose(2, 0, 1)


@dataclass(frozen=True)
class _Drawings:
    """What was drawn of a world, as if it had been read; all in loaded form."""

    labels: Mapping[str, Tensor]
    """Label maps by the side that they belong to."""
    photos: Mapping[str, Tensor]
    """Photos by side."""
    instances: Tensor | None
    """The targets' instance maps."""


def drawn(synthesis: Synthesis, count: int) -> Samples:
    """Frames of the world whose label kind is the model's: every frame's label with the next video's photo."""
    schema = synthesis.schema
    name = world_of(kind_of(schema))
    if name is None:
        raise BadInput(f"no world has label maps of kind {schema.kind!r} to compare on; name shards with --samples")
    world = WORLDS[name]
    counted = needs_of(synthesis.inputs).instances
    if counted and not isinstance(world, MappedWorld):
        raise BadInput(f"the {name} world has no instance maps, which the model reads; name shards with --samples")
    size = (schema.width, schema.height)
    photos, maps, instances = [], [], []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        style, state = world.sample_style(rng), world.sample_states(rng, 1, 8.0)[0]
        # A world has a shape of its own; where the model's is another one, its picture is stretched.
        photos.append(cv2.resize(world.render(state, style, schema.width), size))
        maps.append(_label(schema, world, state))
        if counted and isinstance(world, MappedWorld):
            # Nearest: a mean of two numbers is a third thing's.
            numbers = world.instance_ids(state, schema.width)
            instances.append(cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST).astype(np.int32))
    stacked = torch.from_numpy(np.stack(maps))
    read = _Drawings(
        labels={"target": stacked, "exemplar": stacked.roll(1, 0)},
        photos={"exemplar": torch.from_numpy(np.stack(photos)).roll(1, 0)},
        instances=torch.from_numpy(np.stack(instances)) if counted else None,
    )
    return _samples(synthesis, read, f"drawings of the {name} world")


def _label(schema: LabelSchema, world: World, state: Any) -> Array:
    """The loaded label map of a world's state."""
    if isinstance(world, MappedWorld):
        size = (schema.width, schema.height)
        ids = cv2.resize(world.class_ids(state, schema.width), size, interpolation=cv2.INTER_NEAREST)
        return labels.load(schema, Frame("world", 0, 0.0, "world"), ids)
    points: dict[str, Any] = {
        name: tuple(map(tuple, value)) for name, value in world.annotate(state, schema.width).items()
    }
    return labels.load(schema, Frame("world", 0, 0.0, "world", **points))
