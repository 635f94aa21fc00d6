"""68 face landmarks by dlib, with the predictor file that the user has."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput

POINTS = 68
UPSAMPLINGS = 1
MOST_PIXELS = 1024
"""Of the longer side of what faces are looked for in; landmarks are found in the photo as it is. The detector sees
faces of 40 pixels after one up-sampling, and the paper uses none below 64, so that nothing is lost up to 1,600."""


class DlibLandmarks:
    """dlib's frontal face detector with one up-sampling, and a 68-point predictor (specification 5.4).

    predictor: a file such as shape_predictor_68_face_landmarks.dat.

    Raises BadInput when dlib is not installed, or the file is missing or no predictor of 68 points.
    """

    def __init__(self, predictor: Path) -> None:
        try:
            import dlib
        except ImportError as error:
            raise BadInput(
                f"a predictor needs dlib, which is not here ({error}); pip install 'likeness[dlib]', or leave out "
                "--predictor to use MediaPipe"
            ) from error
        if not predictor.is_file():
            raise BadInput(
                f"no predictor at {predictor}; download shape_predictor_68_face_landmarks.dat from dlib.net and unpack "
                "it, or leave out --predictor to use MediaPipe"
            )
        try:
            self._predict = dlib.shape_predictor(str(predictor))
        except RuntimeError as error:
            raise BadInput(f"{predictor} is no shape predictor of dlib: {error}") from error
        self._faces = dlib.get_frontal_face_detector()
        self._rectangle = dlib.rectangle
        points = self._predict(np.zeros((64, 64, 3), np.uint8), dlib.rectangle(8, 8, 56, 56)).num_parts
        if points != POINTS:
            raise BadInput(f"{predictor} predicts {points} points, not {POINTS}; use the 68-point predictor")

    def detect(self, image: Array) -> Array | None:
        """As `Detector.detect` in face_crops: (68, 2) pixel coordinates of the first face, or None."""
        scale = max(1.0, max(image.shape[:2]) / MOST_PIXELS)
        height, width = (max(1, round(side / scale)) for side in image.shape[:2])
        small = image if scale == 1 else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        faces = self._faces(np.ascontiguousarray(small), UPSAMPLINGS)
        if not faces:
            return None
        face = self._rectangle(*(round(side * scale) for side in _sides(faces[0])))
        shape = self._predict(np.ascontiguousarray(image), face)
        return np.array([(shape.part(number).x, shape.part(number).y) for number in range(POINTS)], np.float64)


def _sides(face: Any) -> tuple[int, int, int, int]:
    return face.left(), face.top(), face.right(), face.bottom()
