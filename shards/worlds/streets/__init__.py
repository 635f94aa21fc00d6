"""The streets world: a drive along a road.

The label (a Cityscapes train id for each pixel) fixes all geometry. Weather, time of day and the colours of things
are style; the style groups are the 13 of specification 5.3.
"""

from typing import Any

from likeness.array import Array
from shards.labels.kinds import CLASSES
from shards.worlds.streets.brushes import IdBrush, InstanceBrush
from shards.worlds.streets.drives import sample_states
from shards.worlds.streets.scene import paint_street
from shards.worlds.streets.street import CAR, POLE, ROAD, SIGN, SKY, VOID, State, height_of
from shards.worlds.streets.styles import FACTORS, GROUPS, WEATHERS, Style, sample_style
from shards.worlds.streets.weather import ColourBrush

__all__ = [
    "CAR", "FACTORS", "GROUPS", "KIND", "POLE", "ROAD", "SIGN", "SKY", "VOID", "WEATHERS", "State", "Style", "annotate",
    "class_ids", "height_of", "instance_ids", "render", "sample_states", "sample_style", "style_key",
]  # fmt: skip

KIND = CLASSES


def style_key(style: Style, video: str) -> str:
    """The group of weather and time, which many videos share (specification 5.3)."""
    return style.group


def annotate(state: State, size: int) -> dict[str, Any]:
    """Nothing: the label is the picture that `class_ids` gives."""
    return {}


def class_ids(state: State, size: int) -> Array:
    """Cityscapes train ids 0..18, 255 for the own bonnet: uint8 (size * 9 // 16, size). Not anti-aliased."""
    brush = IdBrush(size, height_of(size))
    paint_street(state, brush)
    return brush.finish()


def instance_ids(state: State, size: int) -> Array:
    """Which thing each pixel shows: uint16 (size * 9 // 16, size), as fine as `class_ids`.

    Stuff and void have their class id. A part of a thing of a class in COUNTED has class · 1000 + the thing's place in
    `state.things`, so that a rider and the cycle below are two instances, as in Cityscapes.
    """
    brush = InstanceBrush(size, height_of(size))
    paint_street(state, brush)
    return brush.finish()


def render(state: State, style: Style, size: int) -> Array:
    """The picture of a state in a style: uint8 (size * 9 // 16, size, 3), RGB.

    The same arguments give the same picture.
    """
    brush = ColourBrush(size, height_of(size), style, state)
    paint_street(state, brush)
    return brush.finish()
