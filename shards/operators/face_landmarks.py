"""The label operator for photographs of faces: 68 landmarks, and the crop around them (specification 5.4)."""

from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

from likeness.array import Array
from shards.operators.mediapipe_graph import Graph

CROP = 512
LEAST_SYMMETRY = 0.7
LEAST_SIDE = 128
Rejection = Literal["no face", "side face", "crop leaves the picture", "face too small", "no face in the crop"]

MESH_OF_68: tuple[int, ...] = (
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,  # jaw 0-16
    46, 53, 52, 65, 55,  # right brow 17-21
    285, 295, 282, 283, 276,  # left brow 22-26
    168, 197, 5, 4,  # nose bridge 27-30
    98, 97, 2, 326, 327,  # nose base 31-35
    33, 160, 158, 133, 153, 144,  # right eye 36-41
    362, 385, 387, 263, 373, 380,  # left eye 42-47
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips 48-59
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips 60-67
)  # fmt: skip
"""For each of the 68 landmarks, the point of MediaPipe's 468-point face mesh that stands for it.

"Right" and "left" are the person's own, so that right features lie on the left of the picture.
"""


class Detector(Protocol):
    """Finds the landmarks of one face."""

    def detect(self, image: Array) -> Array | None:
        """(68, 2) float pixel coordinates (x, y) of the most certain face in an RGB uint8 (H, W, 3), or None."""
        ...


class FaceLandmarks:
    """MediaPipe's face mesh, reduced to the 68-point scheme. Each picture is judged for itself.

    Raises BadInput when MediaPipe is not installed.
    """

    def __init__(self) -> None:
        self._graph = Graph(
            "face_landmark/face_landmark_front_cpu.binarypb",
            "multi_face_landmarks",
            {"num_faces": 1, "with_attention": False, "use_prev_landmarks": False},
        )

    def detect(self, image: Array) -> Array | None:
        """As `Detector.detect`. Raises ValueError when the picture is not uint8 (H, W, 3)."""
        packet = self._graph.run(image)
        if packet is None:
            return None
        mesh = self._graph.getter.get_proto_list(packet)[0].landmark
        height, width = image.shape[:2]
        return np.array([(mesh[point].x * width, mesh[point].y * height) for point in MESH_OF_68])


@dataclass(frozen=True)
class Face:
    """A face cut out."""

    crop: Array
    """uint8 (512, 512, 3) RGB."""
    landmarks: Array
    """(68, 2) integers, x and y in the crop."""


def symmetry(landmarks: Array) -> float:
    """How frontal a face is: 1 when jaw point 8 lies midway between jaw points 1 and 15, 0 for a profile.

    r = |x8 - x1| / |x8 - x15|, or its inverse where that is smaller; 0 where a denominator would be 0.
    """
    right, chin, left = (float(x) for x in landmarks[[1, 8, 15], 0])
    sides = sorted((abs(chin - right), abs(chin - left)))
    return sides[0] / sides[1] if sides[0] else 0.0


def crop_box(landmarks: Array) -> tuple[int, int, int, int]:
    """Rows [top, bottom) and columns [left, right) of the crop: (top, bottom, left, right), in pixels.

    Twice the height h and the width of the landmarks' bounding box, moved up by 0.2 h.
    """
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    height, width = bottom - top, right - left
    shift = 0.2 * height
    return (
        round(float(top - height / 2 - shift)),
        round(float(bottom + height / 2 - shift)),
        round(float(left - width / 2)),
        round(float(right + width / 2)),
    )


def crop_face(image: Array, detector: Detector) -> Face | Rejection:
    """Cuts the face out of a photograph, or says why it cannot be used.

    image: uint8 (H, W, 3), RGB. The crop is resized to 512×512 whatever its aspect ratio, and the landmarks
    are detected again in it.
    """
    landmarks = detector.detect(image)
    if landmarks is None:
        return "no face"
    landmarks = landmarks.round()
    if symmetry(landmarks) < LEAST_SYMMETRY:
        return "side face"
    top, bottom, left, right = crop_box(landmarks)
    if top < 0 or left < 0 or bottom > image.shape[0] or right > image.shape[1]:
        return "crop leaves the picture"
    if min(bottom - top, right - left) < LEAST_SIDE:
        return "face too small"
    crop = image[top:bottom, left:right]
    shrinks = min(crop.shape[:2]) >= CROP
    crop = cv2.resize(crop, (CROP, CROP), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    again = detector.detect(crop)
    if again is None:
        return "no face in the crop"
    return Face(crop, again.round().astype(np.int64))
