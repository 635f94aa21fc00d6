"""What the label map of a street knows: its classes, the camera, and where everything stands."""

from dataclasses import dataclass

VOID = 255
(ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS,
 TRAIN, MOTORCYCLE, BICYCLE) = range(19)  # fmt: skip
COUNTED = frozenset({PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE})
"""The classes whose things Cityscapes tells apart; all others are stuff, poles, lights and signs included."""

FOCAL = 0.82
"""The camera's focal length, in fractions of the picture's width."""
CAMERA_HEIGHT = 1.5
"""Metres above the road."""
NEAR, FAR = 1.6, 130.0
"""What is nearer than NEAR metres is drawn as if it were there; the road ends at FAR."""
VISIBLE = 80.0
"""Things farther away, in metres, are left out of a state."""
HEIGHT = 9 / 16
"""The picture's height, in fractions of its width."""

Thing = tuple[str, float, float, float, float, float]
"""Kind, x and z of its nearest point in metres from the camera, length along the road, height, phase of its motion."""

SIZES: dict[str, tuple[float, float]] = {
    "car": (4.2, 1.5), "truck": (7.0, 3.0), "bus": (10.5, 3.1), "train": (24.0, 3.5), "bicycle": (1.6, 1.05),
    "motorcycle": (1.9, 1.15), "rider": (1.7, 1.75), "biker": (2.0, 1.6),
}  # fmt: skip
"""Length and height of vehicles, in metres."""


@dataclass(frozen=True)
class State:
    """What the label map knows: the street in the camera's frame, in metres."""

    horizon: float
    """The horizon's height in the picture, in fractions of its width from the top."""
    bend: float
    """Curvature of the road, 1/m."""
    heading: float
    """Where the camera looks, in radians; above 0 to the right."""
    offset: float
    """The camera's place right of the road's middle."""
    half_road: float
    """Half of the road's width."""
    sidewalk: float
    """The width of the pavement on either side."""
    things: tuple[Thing, ...]
    """What stands and moves there."""


def height_of(size: int) -> int:
    """The picture's height for a width of `size`: 144 for 256."""
    return size * 9 // 16
