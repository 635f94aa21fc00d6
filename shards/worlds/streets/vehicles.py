"""Cars, trucks, buses and trams, seen from behind or before and from the side that faces the camera."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from likeness.array import Array
from shards.worlds.drawing import ellipse
from shards.worlds.streets.brushes import Brush
from shards.worlds.streets.camera import View, quad
from shards.worlds.streets.street import BUS, CAR, FOCAL, NEAR, TRAIN, TRUCK, Thing

CLEAR = 0.28
"""Metres between the road and a body."""
_CLASS = {"car": CAR, "truck": TRUCK, "bus": BUS, "train": TRAIN}
_HALF_WIDTH = {"car": 0.9, "truck": 1.15, "bus": 1.25, "train": 1.3}


@dataclass(frozen=True)
class _Vehicle:
    """A vehicle with its measures in metres, and what it is drawn with."""

    name: str
    """car, truck, bus or train."""
    oncoming: bool
    """Whether its front is seen, not its back."""
    x: float
    """Its middle, right of the camera."""
    z: float
    """Its near end."""
    length: float
    """From the near end to the far one."""
    height: float
    """Of the roof."""
    view: View
    """The camera."""
    brush: Brush
    """What it is drawn with."""

    @property
    def half(self) -> float:
        """Half of its width."""
        return _HALF_WIDTH[self.name]

    @property
    def end(self) -> float:
        """Its far end."""
        return self.z + self.length

    @property
    def side(self) -> float:
        """x of the side that faces the camera."""
        return self.x + self.half if self.x < 0 else self.x - self.half

    @property
    def waist(self) -> float:
        """Up to where the side is upright: the cabin of a car lies above it."""
        return 0.85 if self.name == "car" else self.height

    @property
    def paint(self) -> str:
        """The paint of its body."""
        return ("oncoming" if self.oncoming else "ahead") if self.name == "car" else self.name

    def board(self) -> Callable[[Any], Array]:
        """Metres on its near end to the picture."""
        return self.view.flat(self.x, self.z)

    def put(self, points: Array, paint: str | None = None, shade: float = 1.0) -> None:
        """A part of the vehicle, in its own paint unless another one is given."""
        self.brush.put(points, _CLASS[self.name], paint or self.paint, self.z, shade)

    def deck(self, points: Array, paint: str, shade: float = 1.0) -> None:
        """Decoration within the vehicle."""
        self.brush.deck(points[None], paint, self.z, shade)


def vehicle(thing: Thing, view: View, brush: Brush) -> None:
    """Draws a vehicle of four wheels or more; nothing when it is too near."""
    kind, x, z, length, height, _ = thing
    if z < NEAR + 0.3:
        return
    it = _Vehicle(kind[:-1], kind.endswith("-"), x, z, length, height, view, brush)
    _shadow(it)
    _flank(it)
    if it.name == "car":
        _cabin(it)
        _car_end(it)
        _lamps(it, 0.62)
    else:
        _box_end(it)
        _box_flank(it)
        _lamps(it, 0.7)


def _shadow(it: _Vehicle) -> None:
    x, z, half = it.x, it.z, it.half
    across = [x - half - 0.2, x + half + 0.2, x + half + 0.1, x - half - 0.1]
    it.deck(it.view.at(across, 0.0, [z - 0.3, z - 0.3, it.end, it.end]), "tyre", 0.5)


def _flank(it: _Vehicle) -> None:
    """The wheels of the near end, then the side with its wheels."""
    board, half = it.board(), it.half
    for s in (-1, 1):
        wheel = [[s * (half - 0.05), 0], [s * (half - 0.3), 0], [s * (half - 0.3), 0.6], [s * (half - 0.05), 0.6]]
        it.put(board(np.array(wheel)), "tyre")
    it.put(quad(it.view, (it.side, it.side), (CLEAR, it.waist), (it.z, it.end)), shade=0.78)
    for place in (0.2, 0.8):
        around = 0.36 * ellipse([0, 0], (1, 1), points=14)
        middle = it.z + it.length * place
        it.put(it.view.at(it.side, np.maximum(around[:, 1] + 0.34, 0.0), middle + around[:, 0]), "tyre")


def _cabin(it: _Vehicle) -> None:
    """A car's side windows."""
    side, waist, height, z, end = it.side, it.waist, it.height, it.z, it.end
    roof = side - 0.18 * np.sign(side - it.x)
    front, back = z + it.length * 0.12, end - it.length * 0.28
    across = [side, side, roof, roof]
    it.put(it.view.at(across, [waist, waist, height, height], [z + 0.1, end - 0.7, back, front + 0.3]), shade=0.7)
    up = [waist + 0.05, waist + 0.05, height - 0.1, height - 0.1]
    it.deck(it.view.at(across, up, [z + 0.5, end - 1.0, back - 0.1, front + 0.5]), "glass")


def _car_end(it: _Vehicle) -> None:
    """A car's near end, with its window, bumper and number plate."""
    board, half, waist, height = it.board(), it.half, it.waist, it.height
    sunk = half - 0.18
    low = [[-half, CLEAR], [half, CLEAR], [half, waist - 0.08]]
    it.put(board([*low, [half - 0.08, waist], [-half + 0.08, waist], [-half, waist - 0.08]]))
    top = [[-half + 0.06, waist], [half - 0.06, waist], [sunk - 0.06, height], [-sunk + 0.06, height]]
    it.put(board(top), shade=0.92)
    pane = [[-half + 0.18, waist + 0.04], [half - 0.18, waist + 0.04]]
    it.deck(board([*pane, [sunk - 0.14, height - 0.1], [-sunk + 0.14, height - 0.1]]), "glass")
    it.deck(board([[-half, CLEAR], [half, CLEAR], [half, CLEAR + 0.14], [-half, CLEAR + 0.14]]), "dark", 1.2)
    it.deck(board([[-0.25, 0.46], [0.25, 0.46], [0.25, 0.58], [-0.25, 0.58]]), "white", 0.9)


def _box_end(it: _Vehicle) -> None:
    """The near end of a truck, bus or tram: doors of a truck from behind, else a window."""
    board, half, height = it.board(), it.half, it.height
    it.put(board([[-half, CLEAR], [half, CLEAR], [half, height], [-half, height]]))
    if it.name == "truck" and not it.oncoming:
        it.deck(board([[-0.03, 0.7], [0.03, 0.7], [0.03, height - 0.2], [-0.03, height - 0.2]]), "dark", 1.6)
        it.deck(board([[-half, CLEAR], [half, CLEAR], [half, 0.55], [-half, 0.55]]), "dark")
        return
    low, top = 1.35, height - 0.4
    it.deck(board([[-half + 0.12, low], [half - 0.12, low], [half - 0.18, top], [-half + 0.18, top]]), "glass")
    it.deck(board([[-half, CLEAR], [half, CLEAR], [half, 0.5], [-half, 0.5]]), "dark")


def _box_flank(it: _Vehicle) -> None:
    """What is on the side of a truck, bus or tram."""
    sides, z, end, height = (it.side, it.side), it.z, it.end, it.height
    if it.name == "truck":
        it.deck(quad(it.view, sides, (CLEAR, height * 0.8), (end - 2.0, end)), "cab", 0.8)
        return
    it.deck(quad(it.view, sides, (1.4, height - 0.45), (z + 0.4, end - 0.4)), "glass")
    it.deck(quad(it.view, sides, (0.95, 1.12), (z, end)), "cream", 0.9)


def _lamps(it: _Vehicle, height: float) -> None:
    """Two head or tail lamps, `height` metres above the road, and their glow."""
    board, paint = it.board(), "head" if it.oncoming else "tail"
    for s in (-1, 1):
        place = [s * (it.half - 0.22), height]
        it.deck(board(ellipse(place, (0.17, 0.1), points=12)), paint)
        it.brush.glow(board([place])[0], (0.5 if it.oncoming else 0.3) * FOCAL / it.z + 0.003, paint, it.z)
