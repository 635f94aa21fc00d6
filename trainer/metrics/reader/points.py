"""Landmarks and keypoints as fractions of a picture, and how far apart two sets of them lie."""

from typing import Any

import numpy as np

from likeness.array import Array
from shards.labels.sketch import FRAME

PIXELS = 256
"""Errors are counted in pixels of a picture this high (specification 6.1)."""


def true_points(landmarks: Any, keypoints: Any) -> tuple[Array, Array]:
    """A frame's landmarks or keypoints as float64 (points, 2) fractions, and which of them are visible, bool."""
    if landmarks is not None:
        # A landmark is the cell (x, y) of a frame of FRAME × FRAME that is laid over the picture: its middle.
        return (np.asarray(landmarks, float) + 0.5) / FRAME, np.ones(len(landmarks), bool)
    triples = np.asarray(keypoints, float)
    return triples[:, :2], triples[:, 2] > 0


def distances(read: Array, true: Array, aspect: float = 1.0) -> Array:
    """Distances between points (..., 2) given as fractions, in pixels of a picture 256 high.

    aspect: the picture's width over its height.
    """
    return np.asarray(np.linalg.norm((read - true) * [PIXELS * aspect, PIXELS], axis=-1))
