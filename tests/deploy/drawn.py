"""What is drawn where nobody gives it, by the seed and the name that it should depend on."""

from collections.abc import Mapping

from likeness.array import Array
from shards.inputs import FEATURES_MAP, STYLE, STYLE_LENGTH, Drawing
from shards.labels.instance_features import FeatureCentres


def style(seed: int, name: str, number: int = 1) -> Array:
    """A style code."""
    return STYLE.draw(Drawing(None, STYLE_LENGTH, "the model"), {}, seed, name, number)


def features(centres: FeatureCentres, loaded: Mapping[str, Array], seed: int, name: str) -> Array:
    """Features of a sample's instances."""
    return FEATURES_MAP.draw(Drawing(centres, STYLE_LENGTH, "the model"), loaded, seed, name)
