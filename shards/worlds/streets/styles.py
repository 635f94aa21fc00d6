"""What the label map of a street does not know: weather, time of day, and the colours of things."""

from dataclasses import dataclass

import numpy as np

from shards.worlds.drawing import Colour, hsv

WEATHERS = ("clear", "partly cloudy", "overcast", "rainy", "snowy", "foggy")
GROUPS: tuple[str, ...] = ("night", *(f"{weather}-{time}" for weather in WEATHERS for time in ("daytime", "dawn/dusk")))
"""The 13 groups of specification 5.3."""


@dataclass(frozen=True)
class Style:
    """What the label map does not know."""

    group: str
    """One of GROUPS, the style key; all else varies continuously between the videos of a group."""
    building_left: Colour
    """Fronts on the left side of the road."""
    building_right: Colour
    """Fronts on its right side."""
    car_ahead: Colour
    """Cars and cycles that drive or park on our side."""
    car_oncoming: Colour
    """Cars on the other side."""
    clothes: Colour
    """Everybody's clothes."""
    foliage: Colour
    """Trees; the grass has half of it."""
    pavement: Colour
    """The sidewalk."""
    sun: float
    """Where the sun or moon stands: 0 is the picture's left border, 1 the right one."""
    haze: float
    """-1..1 around the group's own: how much nearer the distance fades."""
    brightness: float
    """-1..1 around the group's own light."""
    warmth: float
    """-1..1 around the group's own light: from blue to red."""


FACTORS: tuple[str, ...] = tuple(Style.__dataclass_fields__)


def sample_style(rng: np.random.Generator) -> Style:
    """One of the 13 groups, and colours within it."""
    group = GROUPS[rng.integers(len(GROUPS))]

    def colour(hues: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
        return hsv(rng.uniform(*hues), rng.uniform(*saturation), rng.uniform(*value))

    jitter = [round(float(v), 4) for v in rng.uniform(-1, 1, 3)]
    return Style(
        group=group,
        building_left=colour((-0.03, 0.14), (0.15, 0.6), (0.45, 0.9)),
        building_right=colour((-0.05, 0.6), (0.08, 0.45), (0.45, 0.9)),
        car_ahead=colour((0, 1), (0.1, 0.9), (0.3, 0.95)),
        car_oncoming=colour((0, 1), (0.0, 0.9), (0.3, 0.95)),
        clothes=colour((0, 1), (0.3, 0.9), (0.3, 0.9)),
        foliage=colour((0.13, 0.38), (0.4, 0.75), (0.35, 0.62)),
        pavement=colour((0.02, 0.65), (0.02, 0.16), (0.5, 0.75)),
        sun=round(float(rng.uniform(0.08, 0.92)), 4),
        haze=jitter[0],
        brightness=jitter[1],
        warmth=jitter[2],
    )
