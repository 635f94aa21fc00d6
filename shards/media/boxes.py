"""Parts of pictures: which part of a photo a picture shows, and what is beyond the photo's borders."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from likeness.array import Array
from shards.preparation import Fit

Beyond = Literal["repeated", "reflected"]
"""What a cut shows beyond the photo: its outermost pixels again and again, or the photo mirrored at its border."""


@dataclass(frozen=True)
class Box:
    """A part of a photo, in its pixels; it may reach beyond the photo."""

    top: int
    """Its first row."""
    left: int
    """Its first column."""
    height: int
    """Its rows, at least 1."""
    width: int
    """Its columns, at least 1."""

    def outside(self, height: int, width: int) -> float:
        """The share of the box that lies beyond a photo of this height and width, in [0, 1]."""
        rows = max(0, min(self.top + self.height, height) - max(self.top, 0))
        columns = max(0, min(self.left + self.width, width) - max(self.left, 0))
        return 1 - rows * columns / (self.height * self.width)

    def points(self, points: Array) -> Array:
        """Where points (..., 2), x and y in the photo's pixels, lie in the box: fractions of its width and height."""
        return (points - (self.left, self.top)) / (self.width, self.height)


def cut(image: Array, box: Box, beyond: Beyond = "repeated") -> Array:
    """The part of a picture, (H, W) or (H, W, C), that a box says: (box.height, box.width) or with C channels.

    Raises ValueError where the box does not touch the picture.
    """
    height, width = image.shape[:2]
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, height), min(box.left + box.width, width)
    if bottom <= top or right <= left:
        raise ValueError(f"{box} lies outside a picture of {width}×{height} pixels")
    part = image[top:bottom, left:right]
    lacking = top - box.top, box.top + box.height - bottom, left - box.left, box.left + box.width - right
    if not any(lacking):
        return part
    if beyond == "repeated":
        return cv2.copyMakeBorder(part, *lacking, cv2.BORDER_REPLICATE)
    # Of the whole picture, since the part alone may be too narrow to be mirrored.
    rows = _reflected(np.arange(box.top, box.top + box.height), height)
    columns = _reflected(np.arange(box.left, box.left + box.width), width)
    mirrored: Array = image[rows[:, None], columns]
    return mirrored


def _reflected(positions: Array, length: int) -> Array:
    """Positions on a line, mirrored at its ends as often as needed: -1 is 0, length is length - 1."""
    turns: Array = positions % (2 * length)
    return np.where(turns < length, turns, 2 * length - 1 - turns)


def fitted(height: int, width: int, aspect: float, fit: Fit) -> Box:
    """The box of a photo of this height and width that is shown at an aspect (width over height).

    `crop`: the largest part in the middle of that aspect; `pad`: the smallest box of it around the photo; `squeeze`:
    the photo.
    """
    if fit == "squeeze":
        return Box(0, 0, height, width)
    choose = min if fit == "crop" else max
    rows = max(1, round(choose(height, width / aspect)))
    columns = max(1, round(choose(width, height * aspect)))
    return Box((height - rows) // 2, (width - columns) // 2, rows, columns)


def around(points: Array, aspect: float, least: float) -> Box:
    """The smallest box of an aspect (width over height) around points (N, 2), x and y in pixels.

    least: its height is at least that many pixels, and its width that times the aspect.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    across, along = (high - low).tolist()
    height = max(along, across / aspect, least)
    rows, columns = max(1, round(height)), max(1, round(height * aspect))
    x, y = ((low + high) / 2).tolist()
    return Box(round(y - rows / 2), round(x - columns / 2), rows, columns)


def resized(image: Array, height: int, width: int) -> Array:
    """A photo at another size: area reduction when neither side grows, cubic enlargement otherwise."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def nearest(ids: Array, height: int, width: int) -> Array:
    """A map of numbers that must not be mixed, (H, W) or (H, W, C), at another size."""
    return cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
