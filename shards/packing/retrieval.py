"""Exemplars by retrieval, for still pictures without a style key: the nearest by the cosine of image features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from likeness.array import Array
from likeness.command import BadInput

SIDE = 64
_ROWS = 512
"""Pictures whose similarities to all others are computed at a time."""


@dataclass(frozen=True)
class Features:
    """What describes a picture."""

    model: Path | None = None
    """An ONNX model, whose output does; None for colours and edges (see `colours_and_edges`)."""


def describe(image: Array, features: Features) -> Array:
    """A picture, uint8 (H, W, 3) RGB, as a vector of length 1: float32 (D,)."""
    vector = colours_and_edges(image) if features.model is None else _model(features.model)(image)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise BadInput(f"{features.model or 'the picture'} gives features of length {norm}; use another model")
    unit: Array = (vector / norm).astype(np.float32)
    return unit


def colours_and_edges(image: Array) -> Array:
    """Square roots of histograms, float32 (752,): which colours a picture has and where, and how its edges run.

    CIELAB colours (4 lightnesses × 8 × 8) of the whole picture and lightness, hue and edge directions on a grid of
    4 × 4. It knows nothing of what is shown; a network's features find nearer exemplars.
    """
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.int64)
    light, green, blue = lab[..., 0], lab[..., 1], lab[..., 2]
    colours = np.bincount(((light // 64) * 64 + (green // 32) * 8 + blue // 32).ravel(), minlength=256).astype(float)
    grey = small.astype(np.float32).mean(axis=2)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    direction = (np.arctan2(down, across) % np.pi / np.pi * 8).astype(np.int64) % 8
    hue = (np.arctan2(blue - 128, green - 128) % (2 * np.pi) / (2 * np.pi) * 15).astype(np.int64) % 15
    cell = SIDE // 4
    parts = [np.sqrt(colours / colours.sum()) * 4]
    for top in range(0, SIDE, cell):
        for left in range(0, SIDE, cell):
            window = np.s_[top : top + cell, left : left + cell]
            edges = np.bincount(direction[window].ravel(), weights=strength[window].ravel(), minlength=8)
            lights = np.bincount(light[window].ravel() // 32, minlength=8).astype(float)
            hues = np.bincount(hue[window].ravel(), minlength=15).astype(float)
            parts += [np.sqrt(histogram / max(histogram.sum(), 1e-6)) for histogram in (edges, lights, hues)]
    return np.concatenate(parts).astype(np.float32)


@cache
def _model(path: Path) -> Callable[[Array], Array]:
    # ONNX Runtime is loaded by those who have a model.
    from shards.operators.parsing import PictureModel

    model = PictureModel(path)
    return lambda image: model.run(image).astype(np.float32).ravel()


@dataclass(frozen=True)
class Neighbours:
    """For each of N pictures its nearest others."""

    positions: Array
    """int64 (N, k), the nearest first; -1 where none is left."""
    cosines: Array
    """float32 (N, k), of the same."""
    medians: Array
    """float32 (N,), the median cosine to all pictures."""


def neighbours(vectors: Array, count: int, allowed: Callable[[int, Array], Array] | None = None) -> Neighbours:
    """The `count` nearest of every row of `vectors`, float32 (N, D) of length 1, itself left out.

    allowed(row, candidates): which candidates may be a row's neighbours, as booleans; by default all.
    """
    total = len(vectors)
    count = min(count, total - 1)
    positions = np.zeros((total, count), np.int64)
    cosines = np.zeros((total, count), np.float32)
    medians = np.zeros(total, np.float32)
    # More than are wanted, since `allowed` refuses near-duplicates; where it refuses nearly all of these, every picture
    # is ranked below. The one is the picture itself.
    wide = min(total, count * 4 + 1)
    for first in tqdm(range(0, total, _ROWS), desc="retrieving", unit="block", disable=total < 4 * _ROWS):
        block = vectors[first : first + _ROWS] @ vectors.T
        rows = np.arange(len(block))
        medians[first : first + len(block)] = np.median(block, axis=1)
        # After the medians: a picture must not be its own neighbour.
        block[rows, first + rows] = -np.inf
        nearest = np.argpartition(-block, wide - 1, axis=1)[:, :wide]
        for row, candidates in enumerate(nearest):
            # Equal cosines in the order of positions, so that the outcome does not depend on the partition.
            ranked = candidates[np.lexsort((candidates, -block[row, candidates]))]
            ranked = ranked[ranked != first + row]
            if allowed is not None:
                ranked = ranked[allowed(first + row, ranked)]
            if len(ranked) < count:
                everyone = np.lexsort((np.arange(total), -block[row]))
                everyone = everyone[everyone != first + row]
                ranked = everyone if allowed is None else everyone[allowed(first + row, everyone)]
            if len(ranked) < count:
                # Too few are left: they are repeated, and so drawn more often, to keep one shape for all.
                ranked = np.resize(ranked, count) if len(ranked) else np.full(count, -1)
            positions[first + row] = ranked[:count]
            cosines[first + row] = block[row, ranked[:count]]
    return Neighbours(positions, cosines, medians)


def stacked(vectors: Sequence[Array]) -> Array:
    """Vectors of one length as a matrix. Raises BadInput when their lengths differ."""
    if len({len(vector) for vector in vectors}) > 1:
        raise BadInput("the model gives pictures features of different lengths; use one with a fixed output")
    return np.stack(vectors)
