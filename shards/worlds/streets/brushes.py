"""Brushes that draw label maps of a street: class ids, and instance numbers."""

from typing import Protocol

import cv2
import numpy as np

from likeness.array import Array
from shards.labels.instances import PER_CLASS
from shards.worlds.streets.street import COUNTED, SKY


class Brush(Protocol):
    """What a street is drawn with. Points are in fractions of the width; z is the distance in metres."""

    def sky(self, horizon: float) -> None: ...

    def ground(self, points: Array, train_id: int, paint: str) -> None: ...

    def begin(self, number: int) -> None:
        """What comes next belongs to the thing of this place in the state."""

    def put(self, points: Array, train_id: int, paint: str, z: float, shade: float = 1.0) -> None:
        """A part of a thing of a class."""

    def deck(self, polygons: Array, paint: str, z: float, shade: float = 1.0) -> None:
        """Decoration (n, corners, 2) within a thing, which the label map does not show."""

    def glow(self, centre: Array, radius: float, paint: str, z: float) -> None: ...


class IdBrush:
    """Draws train ids, three times as fine as the picture, so that each pixel's centre is sampled."""

    def __init__(self, width: int, height: int) -> None:
        self.unit = width * 3
        self.ids: Array = np.full((height * 3, width * 3), SKY, np.uint8)

    def finish(self) -> Array:
        return np.ascontiguousarray(self.ids[1::3, 1::3])

    def sky(self, horizon: float) -> None:
        self.ids[:] = SKY

    def ground(self, points: Array, train_id: int, paint: str) -> None:
        self.put(points, train_id, paint, 0.0)

    def begin(self, number: int) -> None:
        pass

    def put(self, points: Array, train_id: int, paint: str, z: float, shade: float = 1.0) -> None:
        corners = np.rint((points * self.unit - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(self.ids, [corners], train_id, cv2.LINE_8, 4)

    def deck(self, polygons: Array, paint: str, z: float, shade: float = 1.0) -> None:
        pass

    def glow(self, centre: Array, radius: float, paint: str, z: float) -> None:
        pass


class InstanceBrush(IdBrush):
    """Draws instance numbers where the other one draws train ids."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        self.ids = self.ids.astype(np.uint16)
        self.number = 0

    def begin(self, number: int) -> None:
        self.number = number

    def put(self, points: Array, train_id: int, paint: str, z: float, shade: float = 1.0) -> None:
        value = train_id * PER_CLASS + self.number if train_id in COUNTED else train_id
        super().put(points, value, paint, z, shade)
