"""68 face landmarks by dlib, with the predictor file that the user has."""

from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

POINTS = 68
UPSAMPLINGS = 1


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
        points = self._predict(np.zeros((64, 64, 3), np.uint8), dlib.rectangle(8, 8, 56, 56)).num_parts
        if points != POINTS:
            raise BadInput(f"{predictor} predicts {points} points, not {POINTS}; use the 68-point predictor")

    def detect(self, image: Array) -> Array | None:
        """As `Detector.detect` in face_landmarks: (68, 2) pixel coordinates of the first face, or None."""
        faces = self._faces(image, UPSAMPLINGS)
        if not faces:
            return None
        shape = self._predict(image, faces[0])
        return np.array([(shape.part(number).x, shape.part(number).y) for number in range(POINTS)], np.float64)
