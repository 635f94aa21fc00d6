"""The dance world: one dancer on a stage.

The label (18 body keypoints) fixes all geometry of the dancer: limbs, clothes, hair and shadow hang on the keypoints
alone. Clothes, hair, skin, stage and light are style.
"""

from typing import Any

import numpy as np

from likeness.array import Array
from shards.labels.kinds import POSE
from shards.worlds.dance.body import draw_arms, draw_legs, draw_torso
from shards.worlds.dance.dancer import Dancer
from shards.worlds.dance.head import draw_hair_behind, draw_head
from shards.worlds.dance.motion import State, sample_states
from shards.worlds.dance.stage import draw_shadow, draw_stage
from shards.worlds.dance.styles import FACTORS, Style, sample_style
from shards.worlds.drawing import Canvas

__all__ = [
    "FACTORS",
    "KIND",
    "State",
    "Style",
    "annotate",
    "height_of",
    "render",
    "sample_states",
    "sample_style",
    "style_key",
]

KIND = POSE


def height_of(size: int) -> int:
    """The picture's height for a width of `size`: dances are square."""
    return size


def style_key(style: Style, video: str) -> str:
    """The video's name: no two videos share a style."""
    return video


def annotate(state: State, size: int) -> dict[str, Any]:
    """`keypoints`: 18 [x, y, confidence], x and y as fractions of the picture's sides (specification 5.5)."""
    return {"keypoints": [[x, y, 1.0] for x, y in state.keypoints]}


def render(state: State, style: Style, size: int) -> Array:
    """The picture of a state in a style: uint8 (size, size, 3), RGB. The same arguments give the same picture."""
    canvas = Canvas(size, size)
    dancer = Dancer(canvas, np.asarray(state.keypoints, float), style)
    draw_stage(dancer)
    draw_shadow(dancer)
    draw_hair_behind(dancer)
    draw_legs(dancer)
    draw_torso(dancer)
    draw_head(dancer)
    draw_arms(dancer)
    return canvas.finish()
