"""Real samples for the gates: from shards, or drawn by the world that fits an untrained model's labels."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from export.gates import LEAST_SAMPLES
from shards import labels
from shards.command import BadInput
from shards.read import Loaded, first_samples, open_shards
from shards.records import Frame, LabelSchema
from shards.worlds import WORLDS
from trainer import methods
from trainer.batches import reading_of, to_device
from trainer.checkpoint import Synthesis

Array = np.ndarray[Any, Any]
COUNT = 12


def real_samples(synthesis: Synthesis, shards: str | None) -> tuple[tuple[Tensor, ...], str]:
    """Up to 12 samples as the model's inputs, each (N, …), and where they come from in words.

    shards: a folder, manifest or URL; None means the shards that the checkpoint's config names as held out, or, for
    an untrained model, a world's drawings. Raises BadInput when there are fewer than 3 or their label schema is
    another.
    """
    named = shards or synthesis.test_shards
    if named is None:
        if synthesis.sha256 != "untrained":
            raise BadInput("the checkpoint's config names no data.test shards to compare on; give some with --samples")
        return _drawn(synthesis)
    with open_shards(named, synthesis.schema) as (manifest, store):
        if manifest.samples < LEAST_SAMPLES:
            raise BadInput(
                f"{store.where} holds {manifest.samples} samples, but the gates need at least {LEAST_SAMPLES}; "
                "name other shards with --samples"
            )
        loaded = first_samples(manifest, store, COUNT, reading_of(methods.find(synthesis.method), 1))
        return _inputs(synthesis, loaded), store.where


def _inputs(synthesis: Synthesis, loaded: Loaded) -> tuple[Tensor, ...]:
    batch = to_device(loaded, synthesis.schema, torch.device("cpu"))
    return tuple(getattr(batch, name) for name in synthesis.inputs)


def _drawn(synthesis: Synthesis) -> tuple[tuple[Tensor, ...], str]:
    """Frames of the world whose label kind is the model's: every frame's label with the next video's photo."""
    schema = synthesis.schema
    name, world = next((name, world) for name, world in WORLDS.items() if schema.kind == world.KIND)
    photos, maps = [], []
    for seed in range(COUNT):
        rng = np.random.default_rng(seed)
        style, state = world.sample_style(rng), world.sample_states(rng, 1, 8.0)[0]
        # A world has a shape of its own; where the model's is another one, its picture is stretched.
        photos.append(cv2.resize(world.render(state, style, schema.width), (schema.width, schema.height)))
        maps.append(_label(schema, world, state))
    stacked = torch.from_numpy(np.stack(maps))
    exemplars = torch.from_numpy(np.stack(photos))
    loaded = Loaded(
        keys=tuple(str(seed) for seed in range(COUNT)),
        photos={"exemplar": exemplars.roll(1, 0)},
        labels={"target": stacked, "exemplar": stacked.roll(1, 0)},
        same_style=torch.zeros(COUNT),
    )
    return _inputs(synthesis, loaded), f"drawings of the {name} world"


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
