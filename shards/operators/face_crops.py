"""Faces cut out of photographs: as the paper does it, turned and scaled alike, or not at all."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

from likeness.array import Array
from shards.media.boxes import Box, cut, fitted, resized
from shards.preparation import Preparation

FRAME = 512
"""Sides of the frame that landmarks are whole numbers of, laid over the picture."""
PAPER_SYMMETRY = 0.7
"""Least `symmetry` of a face that the paper uses."""
PAPER_SIDE = 128
"""Least side of a crop that the paper uses, in pixels."""
LEAST_SIDE = 64
"""The same for the other crops: less has no features to learn from."""
Rejection = Literal["no face", "side face", "crop leaves the picture", "face too small", "no face in the crop"]
"""Why a picture is not used, in words that summaries print."""


class Detector(Protocol):
    """Finds the landmarks of one face."""

    def detect(self, image: Array) -> Array | None:
        """(68, 2) float pixel coordinates (x, y) of the most certain face in an RGB uint8 (H, W, 3), or None."""
        ...


@dataclass(frozen=True)
class Demands:
    """Which faces are good enough to learn from. Where pictures are painted nothing is demanded."""

    least_symmetry: float = 0.0
    """See `symmetry`; 0 takes profiles, too."""
    least_side: int = 0
    """Pixels that the crop's shorter side has at least."""
    inside: bool = False
    """Whether the crop lies in the photo, so that nothing has to be filled."""


ANY_FACE = Demands()
"""Nothing is demanded."""
PAPER = Demands(PAPER_SYMMETRY, PAPER_SIDE, inside=True)
"""What the paper demands (specification 5.4)."""


@dataclass(frozen=True)
class Face:
    """A face cut out."""

    crop: Array
    """uint8 (H, W, 3) RGB."""
    landmarks: Array
    """(68, 2) integers, x and y in a 512×512 frame laid over the crop."""
    outside: float
    """Share of the crop that lies outside the photo, in [0, 1]; it shows the photo mirrored at its border."""


def symmetry(landmarks: Array) -> float:
    """How frontal a face is: 1 when jaw point 8 lies midway between jaw points 1 and 15, 0 for a profile.

    r = |x8 - x1| / |x8 - x15|, or its inverse where that is smaller; 0 where a denominator would be 0.
    """
    right, chin, left = (float(x) for x in landmarks[[1, 8, 15], 0])
    sides = sorted((abs(chin - right), abs(chin - left)))
    return sides[0] / sides[1] if sides[0] else 0.0


def crop_box(landmarks: Array) -> Box:
    """The paper's crop (specification 5.4), in pixels.

    Twice the height h and the width of the landmarks' bounding box, moved up by 0.2 h.
    """
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    height, width = bottom - top, right - left
    shift = 0.2 * height
    first_row, first_column = round(float(top - height / 2 - shift)), round(float(left - width / 2))
    last_row, last_column = round(float(bottom + height / 2 - shift)), round(float(right + width / 2))
    return Box(first_row, first_column, max(1, last_row - first_row), max(1, last_column - first_column))


def landmarks_of(image: Array, detector: Detector) -> Array | None:
    """(68, 2) float pixel coordinates of a face, or None where none is found, however it is looked for.

    Where the detector finds nothing, it looks again at the photo with half of its sides added around it, in which a
    face that fills the photo is found, and at twice the size, in which a small one is.
    image: uint8 (H, W, 3) RGB.
    """
    found = detector.detect(image)
    if found is not None:
        return found
    height, width = image.shape[:2]
    rows, columns = height // 2, width // 2
    found = detector.detect(cut(image, Box(-rows, -columns, height + 2 * rows, width + 2 * columns)))
    if found is not None:
        return np.asarray(found - (columns, rows))
    if max(height, width) > 2 * FRAME:
        return None
    found = detector.detect(cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC))
    return None if found is None else np.asarray(found / 2)


def crop_face(
    image: Array,
    landmarks: Array,
    size: tuple[int, int],
    preparation: Preparation,
    demands: Demands,
    detector: Detector,
) -> Face | Rejection:
    """Cuts the face out of a photograph, or says why it cannot be used.

    image: uint8 (H, W, 3), RGB. landmarks: (68, 2), in its pixels. size: height and width of the picture that the crop
    will become; where they are not equal, so are the sides of an aligned crop. detector: finds the landmarks of the
    paper's crop, which are detected again in it.
    """
    # The paper rounds before it measures.
    paper = preparation.crop == "paper"
    points = landmarks.round() if paper else landmarks
    if symmetry(points) < demands.least_symmetry:
        return "side face"
    cutting = _cutting(image, points, size, preparation)
    if demands.inside and cutting.outside > 0:
        return "crop leaves the picture"
    if cutting.side < demands.least_side:
        return "face too small"
    found = cutting.landmarks
    if paper:
        again = detector.detect(cutting.image)
        if again is None and demands.inside:
            return "no face in the crop"
        found = found if again is None else again
    return Face(cutting.image, found.round().astype(np.int64), cutting.outside)


@dataclass(frozen=True)
class _Cutting:
    """A part of a photo with the points in it."""

    image: Array
    """uint8 (H, W, 3) RGB."""
    landmarks: Array
    """(68, 2) float, in the frame."""
    outside: float
    """See `Face`."""
    side: float
    """Pixels of the photo along its shorter side."""


def _cutting(image: Array, points: Array, size: tuple[int, int], preparation: Preparation) -> _Cutting:
    height, width = image.shape[:2]
    if preparation.crop == "aligned":
        return _aligned(image, points, size, preparation.margin)
    whole = preparation.crop == "whole"
    box = fitted(height, width, size[1] / size[0], preparation.fit) if whole else crop_box(points)
    part = cut(image, box, "repeated" if whole else "reflected")
    side = min(box.height, box.width)
    if not whole:
        part = resized(part, FRAME, FRAME)
    return _Cutting(part, box.points(points) * FRAME, box.outside(height, width), side)


def square(landmarks: Array, margin: float) -> tuple[Array, Array]:
    """The square of an aligned crop: its middle (2,), and half of its upper side from left to right (2,), in pixels.

    Karras et al. 2018, appendix C: with e0, e1 the eyes and m0, m1 the corners of the mouth, x' = e1 - e0,
    y' = (e0 + e1)/2 - (m0 + m1)/2, the middle is (e0 + e1)/2 - 0.1 y', the side max(4 |x'|, 3.6 |y'|) times `margin`,
    and its direction that of x' - rotate90(y').
    """
    right, left = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    mouth = (landmarks[48] + landmarks[54]) / 2
    eyes = (right + left) / 2
    across, up = left - right, eyes - mouth
    along = across - (up[1], -up[0])
    length = float(np.hypot(*along))
    side = max(4.0 * float(np.hypot(*across)), 3.6 * float(np.hypot(*up)), 1.0) * margin
    direction = along / length if length > 0 else np.array([1.0, 0.0])
    return eyes - 0.1 * up, direction * side / 2


def _aligned(image: Array, points: Array, size: tuple[int, int], margin: float) -> _Cutting:
    """A crop whose eyes and mouth are where they are in every other: rows and columns of `size`, or a multiple."""
    middle, half = square(points, margin)
    side = 2 * float(np.hypot(*half))
    if (reduced := side / MOST_TIMES / max(FRAME, *size)) > 1:
        # What is drawn several times as large has to fit into memory.
        height, width = (max(1, round(length / reduced)) for length in image.shape[:2])
        points = points * (width / image.shape[1], height / image.shape[0])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        middle, half = square(points, margin)
    # The square lies in the crop, which is longer where the picture is.
    tall, wide = (length / min(size) for length in size)
    scale = max(1, math.ceil(FRAME / min(size)))
    rows, columns = size[0] * scale, size[1] * scale
    # Where the photo is larger than the crop, all of its pixels count: drawn several times as large, and averaged.
    times = min(MOST_TIMES, max(1, math.ceil(2 * float(np.hypot(*half)) * tall / rows)))
    across, down = half * wide, np.array([-half[1], half[0]]) * tall
    to_unit = np.linalg.inv(np.stack([2 * across, 2 * down], axis=1))
    offset = np.array([0.5, 0.5]) - to_unit @ middle
    drawn_size = np.array([columns * times, rows * times])
    matrix = np.empty((2, 3))
    matrix[:, :2] = to_unit * drawn_size[:, None]
    # OpenCV counts from the middle of a pixel, landmarks and fractions from its corner.
    matrix[:, 2] = offset * drawn_size + matrix[:, :2] @ (0.5, 0.5) - 0.5
    target = columns * times, rows * times
    drawn = cv2.warpAffine(image, matrix, target, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    if times > 1:
        drawn = cv2.resize(drawn, (columns, rows), interpolation=cv2.INTER_AREA)
    found = (points @ to_unit.T + offset) * FRAME
    return _Cutting(drawn, found, _outside(image.shape[:2], middle, across, down), side)


MOST_TIMES = 3
"""How many times larger than the picture a crop is drawn at most, before its pixels are averaged."""
GRID = 64
"""Places along each side at which is looked whether a turned crop is inside its photo."""


def _outside(shape: tuple[int, ...], middle: Array, across: Array, down: Array) -> float:
    places = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    x, y = (middle[axis] + places[None, :] * across[axis] + places[:, None] * down[axis] for axis in (0, 1))
    inside = (x >= 0) & (y >= 0) & (x <= shape[1]) & (y <= shape[0])
    return 1 - float(inside.mean())
