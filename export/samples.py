"""Real samples for the gates: from shards, or drawn by the world that fits an untrained model's labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from deploy.metadata import STYLE_CHANNELS
from shards import labels
from shards.command import BadInput
from shards.read import Reading, first_samples, open_shards
from shards.records import Frame, LabelSchema
from shards.worlds import WORLDS
from trainer.batches import label_channels, labels_among, photo_channels
from trainer.checkpoint import Synthesis

Array = np.ndarray[Any, Any]

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
        loaded = first_samples(manifest, store, count, _reading(synthesis.inputs))
        return _samples(synthesis, loaded.photos, loaded.labels, store.where)


def _reading(inputs: Sequence[str]) -> Reading:
    return Reading(("exemplar",) if "exemplar" in inputs else (), labels_among(inputs), 1)


def _samples(synthesis: Synthesis, photos: Mapping[str, Tensor], maps: Mapping[str, Tensor], where: str) -> Samples:
    read = {"label": maps.get("target"), "exemplar_label": maps.get("exemplar"), "exemplar": photos.get("exemplar")}
    loaded = {name: tensor.numpy() for name in synthesis.inputs if (tensor := read.get(name)) is not None}
    if "style" in synthesis.inputs:
        shape = (len(maps["target"]), STYLE_CHANNELS)
        loaded["style"] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return Samples({name: loaded[name] for name in synthesis.inputs}, where)


def drawn(synthesis: Synthesis, count: int) -> Samples:
    """Frames of the world whose label kind is the model's: every frame's label with the next video's photo."""
    schema = synthesis.schema
    name, world = next((name, world) for name, world in WORLDS.items() if schema.kind == world.KIND)
    photos, maps = [], []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        style, state = world.sample_style(rng), world.sample_states(rng, 1, 8.0)[0]
        # A world has a shape of its own; where the model's is another one, its picture is stretched.
        photos.append(cv2.resize(world.render(state, style, schema.width), (schema.width, schema.height)))
        maps.append(_label(schema, world, state))
    stacked = torch.from_numpy(np.stack(maps))
    exemplars = torch.from_numpy(np.stack(photos)).roll(1, 0)
    return _samples(
        synthesis,
        {"exemplar": exemplars},
        {"target": stacked, "exemplar": stacked.roll(1, 0)},
        f"drawings of the {name} world",
    )


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
