"""Instance maps: a number per pixel, the same all over one thing of a picture. They say nothing across pictures."""

from functools import cache

import numpy as np

from likeness.array import Array

PER_CLASS = 1000
"""Cityscapes' convention for instance maps: the n-th thing of a class has the number class · 1000 + n."""


def picture(numbers: Array) -> Array:
    """An instance map, uint16 (H, W), for people to look at: uint8 (H, W, 3), each number in its own random colour."""
    painted: Array = _colours()[numbers]
    return painted


@cache
def _colours() -> Array:
    # Drawn once for all numbers, so that a number has its colour in every picture; nearly black ones are left out.
    return np.random.default_rng(0).integers(40, 256, (1 << 16, 3), np.uint8)
