"""Body poses: 18 keypoints drawn as a coloured skeleton with one distance map per limb (specification 5.5).

Where DensePose pictures are given, their three channels come first, as in the paper; keypoints alone cannot give them.
"""

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.distance_maps import distances
from shards.labels.sketch import brush
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
_BRUSH = tuple((down, right) for down in range(-2, 2) for right in range(-2, 2))
_DISC = tuple((down, right) for down in range(-4, 4) for right in range(-4, 4) if down**2 + right**2 < 16)
"""Offsets of rows and of columns, in the order in which they are painted."""
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
    at = np.clip(at, -columns - rows, 2 * (columns + rows))
    divisor = DISTANCE_DIVISOR * min(rows, columns) / DRAWN_SIDE

    label = np.full((3 + len(LIMBS), height, width), 255, np.uint8)
    skeleton = np.zeros(rows * columns, np.int32)
    for number in np.flatnonzero(counts[_ENDS].all(axis=1)):
        x, y = line(*at[_ENDS[number]])
        if not len(x):
            continue
        _paint(skeleton, rows, columns, x, y, COLOURS[number])
        ground = np.full((1, rows, columns), 255, np.uint8)
        brush(ground, 0, x, y, reach=1, value=0)
        label[3 + number] = _reduced(distances(ground[0], divisor), height, width)
    drawn = np.stack([skeleton >> shift & 255 for shift in _SHIFTS], axis=-1).astype(np.uint8)
    label[:3] = _reduced(drawn.reshape(rows, columns, 3), height, width).transpose(2, 0, 1)
    return label


def line(start: Array, end: Array) -> tuple[Array, Array]:
    """Samples the straight line between two points (x, y), fractions and all: whole x and y, int64.

    It is a function of the axis on which the points are further apart, sampled as many times as whole units lie
    between them, from the smaller to the larger end, both included; coordinates are truncated.
    """
    swapped = abs(end[0] - start[0]) < abs(end[1] - start[1])
    (a0, b0), (a1, b1) = sorted((point[::-1] if swapped else point).tolist() for point in (start, end))
    along = np.linspace(a0, a1, int(a1 - a0))
    across = b0 + (along - a0) * ((b1 - b0) / (a1 - a0)) if len(along) else along
    along, across = along.astype(np.int64), across.astype(np.int64)
    return (across, along) if swapped else (along, across)


_SHIFTS = (0, 10, 20)
_MASK = sum(255 << shift for shift in _SHIFTS)
"""Red, green and blue in one number, with room between them: three sums or halves at a time."""


def _paint(skeleton: Array, rows: int, columns: int, x: Array, y: Array, colour: tuple[int, int, int]) -> None:
    """One limb on `skeleton`, (rows * columns,) of packed colours: a stroke of 4×4 brushes and a disc at each end.

    Offset by offset all pixels of the line so shifted get the colour if all of them are black, and else each the mean
    of it and what is there, rounded down. A stroke so meets itself: its rim, black until the last offsets, has half the
    colour (specification 5.5).
    """
    packed = sum(value << shift for value, shift in zip(colour, _SHIFTS, strict=True))
    across = [np.clip(x + right, 0, columns - 1) for right in range(-2, 2)]
    down = [np.clip(y + offset, 0, rows - 1) * columns for offset in range(-2, 2)]
    for row, column in _BRUSH:
        pixels = down[row + 2] + across[column + 2]
        there = skeleton[pixels]
        skeleton[pixels] = (there + packed >> 1) & _MASK if there.any() else packed
    ends = [(int(x[end]), int(y[end])) for end in (0, -1)]
    for row, column in _DISC:
        places = [
            min(max(end_x + column, 0), columns - 1) + min(max(end_y + row, 0), rows - 1) * columns
            for end_x, end_y in ends
        ]
        before = [int(skeleton[place]) for place in places]
        for place, there in zip(places, before, strict=True):
            skeleton[place] = (there + packed >> 1) & _MASK if any(before) else packed


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
