"""Real samples for the gates: from shards, or drawn by the world that fits an untrained model's labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from deploy import looks
from deploy.metadata import FEATURES
from export.centres import centres_of
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.reading.stream import first_samples, open_shards
from shards.records import Frame, LabelSchema
from shards.worlds import WORLDS
from trainer.batches import label_channels, photo_channels, reading_for
from trainer.checkpoints.synthesis import Synthesis

COUNT = 64
"""Pictures that a graph is judged by."""
CALIBRATION = 16
"""Further ones, that int8 is calibrated on."""
LEAST = 3


@dataclass(frozen=True)
class Samples:
    """Samples as files and shards hold them.

    loaded: by the model's input, uint8: photos (N, H, W, 3) RGB, label maps (N, C_L, H, W), or ids (N, H, W) for the
    kind `classes`; instances, features and style codes as the graph takes them. where: where they come from, in words.
    """

    loaded: Mapping[str, Array]
    where: str

    def __len__(self) -> int:
        return len(next(iter(self.loaded.values())))

    def __getitem__(self, numbers: slice) -> "Samples":
        return Samples({name: value[numbers] for name, value in self.loaded.items()}, self.where)

    def expanded(self, schema: LabelSchema) -> tuple[Tensor, ...]:
        """What the network in PyTorch takes, made by the trainer's own code."""

        def tensor(name: str, value: Tensor) -> Tensor:
            if name in ("instances", "features", "style"):
                return value
            return photo_channels(value) if name == "exemplar" else label_channels(value, schema)

        return tuple(tensor(name, torch.from_numpy(value)) for name, value in self.loaded.items())


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
        photos = ("exemplar",) if "exemplar" in synthesis.inputs else ()
        loaded = first_samples(manifest, store, count, reading_for(synthesis.inputs, photos, 1))
        read = {
            "label": loaded.labels.get("target"),
            "exemplar_label": loaded.labels.get("exemplar"),
            "exemplar": loaded.photos.get("exemplar"),
            "instances": loaded.instances,
        }
        return _samples(synthesis, read, store.where)


def _samples(synthesis: Synthesis, read: Mapping[str, Tensor | None], where: str) -> Samples:
    """Of what was read, what the model reads; style codes and features are drawn, as `deploy` draws them."""
    loaded = {name: tensor.numpy() for name in synthesis.inputs if (tensor := read.get(name)) is not None}
    numbers = range(len(loaded["label"]))
    if "style" in synthesis.inputs:
        loaded["style"] = np.stack([looks.style(0, str(number)) for number in numbers])
    if "features" in synthesis.inputs:
        each = [{name: value[number] for name, value in loaded.items()} for number in numbers]
        loaded["features"] = np.stack([_features(synthesis, sample, number) for number, sample in enumerate(each)])
    return Samples({name: loaded[name] for name in synthesis.inputs}, where)


def _features(synthesis: Synthesis, sample: Mapping[str, Array], number: int) -> Array:
    """From the model's centres; where its label maps have no classes, and so no centres, anything for each instance."""
    centres = centres_of(synthesis)
    if centres is not None:
        return looks.features(centres, sample, 0, str(number))
    found, places = np.unique(sample["instances"], return_inverse=True)
    vectors = np.random.default_rng(number).uniform(-1, 1, (len(found), FEATURES)).astype(np.float32)
    return vectors[places.reshape(sample["instances"].shape)].transpose(2, 0, 1)


def drawn(synthesis: Synthesis, count: int) -> Samples:
    """Frames of the world whose label kind is the model's: every frame's label with the next video's photo."""
    schema = synthesis.schema
    name, world = next((name, world) for name, world in WORLDS.items() if schema.kind == world.KIND)
    counted = "instances" in synthesis.inputs
    if counted and not hasattr(world, "instance_ids"):
        raise BadInput(f"the {name} world has no instance maps, which the model reads; name shards with --samples")
    size = (schema.width, schema.height)
    photos, maps, instances = [], [], []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        style, state = world.sample_style(rng), world.sample_states(rng, 1, 8.0)[0]
        # A world has a shape of its own; where the model's is another one, its picture is stretched.
        photos.append(cv2.resize(world.render(state, style, schema.width), size))
        maps.append(_label(schema, world, state))
        if counted:
            numbers = world.instance_ids(state, schema.width)
            instances.append(cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST).astype(np.int32))
    stacked = torch.from_numpy(np.stack(maps))
    read = {
        "label": stacked,
        "exemplar_label": stacked.roll(1, 0),
        "exemplar": torch.from_numpy(np.stack(photos)).roll(1, 0),
        "instances": torch.from_numpy(np.stack(instances)) if counted else None,
    }
    return _samples(synthesis, read, f"drawings of the {name} world")


def _label(schema: LabelSchema, world: Any, state: Any) -> Array:
    """The loaded label map of a world's state."""
    if schema.kind == "classes":
        size = (schema.width, schema.height)
        ids = cv2.resize(world.class_ids(state, schema.width), size, interpolation=cv2.INTER_NEAREST)
        return labels.load(schema, Frame("world", 0, 0.0, "world"), ids)
    points: dict[str, Any] = {
        name: tuple(map(tuple, value)) for name, value in world.annotate(state, schema.width).items()
    }
    return labels.load(schema, Frame("world", 0, 0.0, "world", **points))
