"""Other views of drawn pictures, with their labels: as bright, soft or noisy as a generator might paint them."""

import math

import cv2
import numpy as np

from likeness.array import Array
from shards.labels import classes, flip
from trainer.metrics.reader.recipe import POINTS, Recipe

SWAPPED = {"faces": flip.LANDMARKS, "dance": flip.KEYPOINTS}
"""Which point each point becomes when a picture is mirrored."""


def augmented(picture: Array, label: Array, recipe: Recipe, rng: np.random.Generator) -> tuple[Array, Array]:
    """Another view of a picture, uint8 (h, w, 3), with its label: mirrored, turned, and changed in its values.

    label: as in `Drawn`. Points that leave the view are NaN; pixels that come from outside are void.
    """
    points = recipe.world in POINTS
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
        label = (label * [-1, 1] + [1, 0])[list(SWAPPED[recipe.world])] if points else label[:, ::-1]
    if rng.random() < 0.8:
        picture, label = _turned(picture, label, points, rng)
    return _repainted(picture, rng), label


def _turned(picture: Array, label: Array, points: bool, rng: np.random.Generator) -> tuple[Array, Array]:
    """Turned by up to 0.12 radians, scaled and shifted."""
    height, width = picture.shape[:2]
    angle, scale = rng.uniform(-0.12, 0.12), rng.uniform(0.85, 1.18)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([width, height]) / 2
    shift = middle - turn @ middle + rng.uniform(-0.08, 0.08, 2) * [width, height]
    # OpenCV counts from the centre of the first pixel, fractions from its corner: 0.5 more.
    matrix = np.c_[turn, turn @ [0.5, 0.5] + shift - 0.5]
    picture = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    if points:
        label = (label * [width, height] @ turn.T + shift) / [width, height]
        label[((label < 0) | (label > 1)).any(1)] = np.nan
    else:
        label = cv2.warpAffine(
            np.ascontiguousarray(label), matrix, (width, height), flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT, borderValue=float(classes.VOID),
        )  # fmt: skip
    return picture, label


def _repainted(picture: Array, rng: np.random.Generator) -> Array:
    """Blurred, with another contrast and colour, noisy, or compressed: each in some of the pictures only."""
    values: Array = picture.astype(np.float32)
    if rng.random() < 0.4:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.3, 1.6)))
    if rng.random() < 0.6:
        middle_grey = values.mean()
        values = (values - middle_grey) * rng.uniform(0.7, 1.3) + middle_grey + rng.uniform(-30, 30)
        values *= rng.uniform(0.88, 1.12, 3).astype(np.float32)
    if rng.random() < 0.4:
        values += rng.standard_normal(values.shape, np.float32) * np.float32(rng.uniform(2, 22))
    picture = values.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        picture = np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR))
    return picture
