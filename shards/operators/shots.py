"""Cuts in videos: a video is one style only from one cut to the next."""

import cv2
import numpy as np

from likeness.array import Array

SIDE = 96
"""Of the copies that are compared, in pixels."""
BINS = (12, 6, 6)
"""Of hue, saturation and value."""
LEAST_CHANGE = 0.55
"""The share of pixels that change their colour at a cut, at least."""
TIMES_USUAL = 3.0
"""How much more than usually in the shot they are, so that a moving camera is no cut."""
SAME_PLACE = 0.35
"""Shots whose colours differ by a smaller share, in the mean, show the same place again: one style."""


class Places:
    """Numbers the places of a video, from its frames in order: a shot that shows an earlier one's has its number."""

    def __init__(self) -> None:
        self._last: Array | None = None
        self._changes: list[float] = []
        self._means: list[Array] = []
        self._counts: list[int] = []
        self._current = 0

    def place_of(self, image: Array) -> int:
        """The place that the next frame, uint8 (H, W, 3) RGB, shows: 0, or a number above."""
        colours = colours_of(image)
        if self._last is not None:
            change = difference(colours, self._last)
            usual = float(np.median(self._changes)) if self._changes else 0.0
            if change > max(LEAST_CHANGE, TIMES_USUAL * usual):
                self._changes = []
                self._current = self._place(colours)
            else:
                self._changes.append(change)
        if self._current == len(self._means):
            self._means.append(np.zeros_like(colours))
            self._counts.append(0)
        self._means[self._current] += colours
        self._counts[self._current] += 1
        self._last = colours
        return self._current

    def _place(self, colours: Array) -> int:
        """The earlier shot of the same place, or a new one."""
        far = [difference(colours, mean / count) for mean, count in zip(self._means, self._counts, strict=True)]
        nearest = int(np.argmin(far))
        return nearest if far[nearest] < SAME_PLACE else len(far)


def colours_of(image: Array) -> Array:
    """How often colours are, in quarters of a picture, uint8 (H, W, 3) RGB: float32, with sum 1."""
    small = cv2.cvtColor(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2HSV)
    half = SIDE // 2
    counts = [
        cv2.calcHist(
            [small[top : top + half, left : left + half]], [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256]
        )
        for top in (0, half)
        for left in (0, half)
    ]
    colours: Array = np.stack(counts).astype(np.float32).ravel() / SIDE**2
    return colours


def difference(one: Array, other: Array) -> float:
    """The share of pixels whose colours differ, 0 to 1."""
    return float(np.abs(one - other).sum() / 2)
