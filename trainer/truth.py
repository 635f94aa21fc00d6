"""Pictures against the truth that a world can draw: does the exemplar matter, does the label map?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shards import worlds
from shards.command import BadInput
from shards.records import Frame, LabelSchema, Pair
from shards.worlds import sidecar

Array = np.ndarray[Any, Any]


class Truth:
    """Draws what a picture should be: the label of one frame in the style of another."""

    def __init__(self, videos: Path, schema: LabelSchema) -> None:
        self.videos, self.schema = videos, schema
        self._sidecars: dict[str, dict[str, Any]] = {}

    def _sidecar(self, source: str) -> dict[str, Any]:
        if source not in self._sidecars:
            found = sidecar.sidecar_of(self.videos / source)
            if found is None:
                raise BadInput(f"{self.videos / source} has no sidecar; only the worlds' videos have a known truth")
            self._sidecars[source] = found
        return self._sidecars[source]

    def draw(self, label: Frame, style: Frame) -> Array:
        """uint8 (H, W, 3): drawn at the video's size and reduced as packing reduces photos."""
        geometry = self._sidecar(label.source)
        state = sidecar.states_of(geometry)[label.number]
        look = sidecar.style_of(self._sidecar(style.source))
        picture = worlds.render(geometry["world"], state, look, geometry["size"])
        return cv2.resize(picture, (self.schema.width, self.schema.height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Scores:
    """Shares of pairs, in percent; 50 is chance.

    exemplar_percent: the picture is nearer to the truth than to the same label in another held-out
        exemplar's style. label_percent: painted from another pair's label, it is nearer to that label's truth
        than to the own label's, both in the exemplar's style. distance: mean |picture - truth| in 1/255.
    """

    exemplar_percent: float
    label_percent: float
    distance: float
    pairs: int


def score(
    truth: Truth, pairs: Sequence[Pair], pictures: Sequence[Array], swapped: Sequence[Array], roll: int, seed: int = 0
) -> Scores:
    """Scores pictures (uint8 (H, W, 3), one per pair) and those painted from the label `roll` pairs on."""
    rng = np.random.default_rng(seed)
    exemplar_hits, label_hits, distances = 0, 0, []
    for index, pair in enumerate(pairs):
        others = [other.exemplar for other in pairs if other.exemplar.style != pair.exemplar.style]
        if not others:
            raise BadInput("all held-out exemplars share one style; pack more videos into the test split")
        other_style = others[int(rng.integers(len(others)))]
        own = truth.draw(pair.target, pair.exemplar)
        distances.append(_distance(pictures[index], own))
        exemplar_hits += distances[-1] < _distance(pictures[index], truth.draw(pair.target, other_style))
        other_label = truth.draw(pairs[(index + roll) % len(pairs)].target, pair.exemplar)
        label_hits += _distance(swapped[index], other_label) < _distance(swapped[index], own)
    share = 100 / len(pairs)
    return Scores(exemplar_hits * share, label_hits * share, float(np.mean(distances)), len(pairs))


def _distance(first: Array, second: Array) -> float:
    """Mean absolute pixel difference in 1/255."""
    return float(np.abs(first.astype(np.float32) - second).mean())
