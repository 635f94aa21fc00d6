"""The faces world: a talking head.

The label (68 landmarks) fixes all geometry: the outline of the face, its features, and through the head's place,
size and turn also where hair, ears, neck and shoulders are. Style is everything else.
"""

from typing import Any

import numpy as np

from likeness.array import Array
from shards.labels.kinds import SKETCH
from shards.worlds.drawing import Canvas
from shards.worlds.faces.backdrop import draw_backdrop
from shards.worlds.faces.clothes import draw_body
from shards.worlds.faces.features import draw_features, draw_glasses, draw_skull
from shards.worlds.faces.hair import draw_hair, draw_hair_behind
from shards.worlds.faces.landmarks import Head, landmarks
from shards.worlds.faces.motion import State, sample_states
from shards.worlds.faces.portrait import Portrait
from shards.worlds.faces.styles import FACTORS, Style, sample_style

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

KIND = SKETCH


def height_of(size: int) -> int:
    """The picture's height for a width of `size`: faces are square."""
    return size


def style_key(style: Style, video: str) -> str:
    """The video's name: no two videos share a style."""
    return video


def annotate(state: State, size: int) -> dict[str, Any]:
    """`landmarks`: 68 [x, y] integer pairs in a 512×512 frame laid over the picture, whatever its size.

    In the usual order: 0-16 jaw from the image left, 17-21 and 22-26 brows, 27-30 bridge and 31-35 base of the
    nose, 36-41 and 42-47 eyes, 48-59 outer and 60-67 inner mouth (specification 5.4).
    """
    points = np.floor(landmarks(Head(state)) * 512).clip(0, 511).astype(int)
    return {"landmarks": points.tolist()}


def render(state: State, style: Style, size: int) -> Array:
    """The picture of a state in a style: uint8 (size, size, 3), RGB. The same arguments give the same picture."""
    canvas = Canvas(size, size)
    head = Head(state)
    marks = landmarks(head)
    portrait = Portrait(canvas, head, marks, style)
    draw_backdrop(portrait)
    draw_hair_behind(portrait)
    draw_body(portrait)
    draw_skull(portrait)
    draw_features(portrait)
    draw_hair(portrait)
    draw_glasses(portrait)
    return canvas.finish()
