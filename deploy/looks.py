"""The looks that nobody gave: a style code, or features of every instance, drawn by chance and the same every time."""

import hashlib
from collections.abc import Mapping

import numpy as np

from deploy.metadata import STYLE_CHANNELS
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput
from shards.labels.instance_features import FeatureCentres, paint

Loaded = dict[str, Array]

DRAWN = ("features", "style")
"""The inputs that may be left out."""


def drawn(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a model's inputs that are drawn where nobody gives them."""
    return tuple(name for name in inputs if name in DRAWN)


def completed(session: Session, loaded: Mapping[str, Array], seed: int, name: str, number: int = 1) -> Loaded:
    """One sample's inputs in loaded form, with those that may be left out, and were, drawn.

    What is drawn is a function of the seed and of `name`, what the picture is called. A style code is one of its
    `number`, too: each stands for another style. Features are one of its class's centres for each instance.
    Raises BadInput as `check` does.
    """
    full = dict(loaded)
    for each in drawn(session.inputs):
        if each not in full:
            check(session, (each,))
            full[each] = style(seed, name, number) if each == "style" else _features(session, full, seed, name)
    return full


def check(session: Session, missing: tuple[str, ...]) -> None:
    """Raises BadInput when the model has no centres that missing features could be drawn from."""
    if "features" in missing and session.metadata.feature_centres is None:
        raise BadInput(
            f"{session.path} reads features and has no centres to draw them from, as its label maps have no classes; "
            "give features"
        )


def style(seed: int, name: str, number: int = 1) -> Array:
    """A style code from MUNIT's prior: standard normal, float32 (8,)."""
    return _generator(f"style {seed} {number} {name}").standard_normal(STYLE_CHANNELS, np.float32)


def features(centres: FeatureCentres, loaded: Mapping[str, Array], seed: int, name: str) -> Array:
    """Features from a model's centres, float32 (3, H, W): for each region one of its class's, uniformly.

    loaded: the label map's ids (H, W), and the instance map where the regions are instances.
    """
    regions = loaded["instances"] if centres.regions == "instances" else loaded["label"]
    return paint(regions, loaded["label"], centres.arrays, _generator(f"features {seed} {name}"))


def _features(session: Session, loaded: Mapping[str, Array], seed: int, name: str) -> Array:
    centres = session.metadata.feature_centres
    assert centres is not None
    return features(centres, loaded, seed, name)


def _generator(of: str) -> np.random.Generator:
    digest = hashlib.blake2b(of.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest)))
