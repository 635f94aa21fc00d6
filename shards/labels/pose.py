"""Body poses: 18 keypoints drawn as a coloured skeleton with one distance map per limb (specification 5.5).

Where DensePose pictures are given, their three channels come first, as in the paper; keypoints alone cannot give them.
"""

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.sketch import brush, curves, distances
from shards.records import LabelSchema

KEYPOINTS = 18
WITH_DENSEPOSE = 23
"""Channels of a schema whose labels hold DensePose pictures, too."""
LEAST_CONFIDENCE = 0.01
DISTANCE_DIVISOR = 2.0
DRAWN_SIDE = 256

LIMBS: tuple[tuple[int, int], ...] = (
    (0, 1), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13),
    (14, 16), (15, 17), (14, 0), (15, 0), (1, 2), (1, 5), (1, 8), (1, 11),
)  # fmt: skip
_ENDS = np.asarray(LIMBS)
_DISC = np.asarray([(down, right) for down in range(-4, 4) for right in range(-4, 4) if down**2 + right**2 < 16]).T
"""Offsets of rows and of columns."""
LIMB_NAMES: tuple[str, ...] = (
    "neck", "right upper arm", "right forearm", "left upper arm", "left forearm", "right thigh", "right shin",
    "left thigh", "left shin", "right eye to ear", "left eye to ear", "right eye to nose", "left eye to nose",
    "right shoulder", "left shoulder", "right side", "left side",
)  # fmt: skip
COLOURS: tuple[tuple[int, int, int], ...] = (
    (153, 0, 153), (153, 0, 102), (102, 0, 153), (51, 0, 153), (153, 0, 51), (153, 0, 0), (153, 51, 0),
    (153, 102, 0), (153, 153, 0), (102, 153, 0), (51, 153, 0), (0, 153, 0), (0, 153, 51), (0, 153, 102),
    (0, 153, 153), (0, 102, 153), (0, 51, 153),
)  # fmt: skip


def schema(height: int, width: int, densepose: bool = False) -> LabelSchema:
    """20 channels: the drawn skeleton in red, green and blue, then one distance map for each of the 17 limbs.

    densepose: 23 channels, DensePose's V, U and part before the others.
    """
    names = ["DensePose V", "DensePose U", "DensePose part"] if densepose else []
    names += [f"skeleton {name}" for name in ("red", "green", "blue")]
    names += [f"distance to {name}" for name in LIMB_NAMES]
    pure = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    return LabelSchema(
        kind="pose",
        channels=len(names),
        height=height,
        width=width,
        names=tuple(names),
        colours=(*(pure if densepose else ()), *pure, *COLOURS),
    )


def draw(keypoints: Array, height: int, width: int) -> Array:
    """Draws the label of a body: uint8 (20, height, width); [:3] the skeleton in RGB, [3:] the distance maps.

    keypoints: (18, 3) of x and y, as fractions of width and height, and confidence. A keypoint
    counts when its confidence exceeds 0.01 and its x is not 0; a limb is drawn when both its ends count, and a
    missing limb gives a constant distance of 255.
    Pictures whose shorter side is below 256 are drawn at a whole multiple of at least 256 and reduced, and
    distances are measured in pixels of a shorter side of 256, so that a channel means the same at any size.
    Raises BadInput for another number of keypoints.
    """
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.shape != (KEYPOINTS, 3):
        raise BadInput(f"a pose is drawn from 18 (x, y, confidence) keypoints; these are of shape {keypoints.shape}")
    enlarged = -(-DRAWN_SIDE // min(height, width))
    rows, columns = height * enlarged, width * enlarged
    counts = (keypoints[:, 2] > LEAST_CONFIDENCE) & (keypoints[:, 0] != 0) & np.isfinite(keypoints).all(axis=1)
    at = np.where(counts[:, None], keypoints[:, :2], 0) * (columns, rows)
    at = np.clip(at, -columns - rows, 2 * (columns + rows)).astype(np.int64)
    divisor = DISTANCE_DIVISOR * min(rows, columns) / DRAWN_SIDE

    label = np.full((3 + len(LIMBS), height, width), 255, np.uint8)
    skeleton = np.zeros((rows, columns, 3), np.uint8)
    seen = np.flatnonzero(counts[_ENDS].all(axis=1))
    piece, all_x, all_y = curves(at[_ENDS[seen][:, [0, 1, 1]]])
    edges = np.searchsorted(piece, np.arange(len(seen) + 1))
    for number, first, last in zip(seen, edges[:-1], edges[1:], strict=True):
        x, y = all_x[first:last], all_y[first:last]
        if not len(x):
            continue
        _paint(skeleton, x, y, COLOURS[number])
        ground = np.full((1, rows, columns), 255, np.uint8)
        brush(ground, 0, x, y, reach=1, value=0)
        label[3 + number] = _reduced(distances(ground[0], divisor), height, width)
    label[:3] = _reduced(skeleton, height, width).transpose(2, 0, 1)
    return label


def _paint(skeleton: Array, x: Array, y: Array, colour: tuple[int, int, int]) -> None:
    """One limb: a stroke of 4×4 brushes and a disc at each end; averaged with what is there already."""
    rows, columns, _ = skeleton.shape
    stroke = np.zeros((1, rows, columns), bool)
    brush(stroke, 0, x, y, reach=2, value=True)
    ends_y, ends_x = y[[0, -1], None] + _DISC[0], x[[0, -1], None] + _DISC[1]
    stroke[0, np.clip(ends_y, 0, rows - 1), np.clip(ends_x, 0, columns - 1)] = True
    pixels, inside = skeleton.reshape(-1, 3), np.flatnonzero(stroke)
    there = pixels[inside].astype(np.uint16)
    mixed = (there + np.asarray(colour, np.uint16)) // 2
    pixels[inside] = np.where(there.any(axis=1, keepdims=True), mixed, colour).astype(np.uint8)


def _reduced(plane: Array, height: int, width: int) -> Array:
    if plane.shape[:2] == (height, width):
        return plane
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)


def picture(schema: LabelSchema, loaded: Array) -> Array:
    """The skeleton for people, brightened on a dark ground, or on DensePose's parts: uint8 (H, W, 3)."""
    first = schema.channels - len(LIMBS) - 3
    skeleton = loaded[first : first + 3].transpose(1, 2, 0).astype(np.float32) * np.float32(255 / 153)
    if first:
        parts = loaded[:3].transpose(1, 2, 0).astype(np.float32) * np.float32(0.45)
        skeleton = np.where(skeleton.any(axis=2, keepdims=True), skeleton, parts)
    lit: Array = np.maximum(skeleton, np.array((24, 26, 34), np.float32)).clip(0, 255).round().astype(np.uint8)
    return lit
