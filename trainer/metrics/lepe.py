"""Label endpoint error: do landmarks or keypoints of the painted picture lie where the photo's do? (specification 6.1)

The same detector looks at the painted picture and at the real photo whose label was painted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.kinds import POSE, SKETCH, Kind
from shards.media.boxes import resized
from shards.operators.body_pose import BodyPose
from shards.operators.dlib_landmarks import DlibLandmarks
from shards.operators.face_crops import Detector
from shards.operators.face_landmarks import FaceLandmarks
from trainer.metrics.metric import Judged, Metric, mean_of

SIDE = 256
"""Pixels of the picture that face landmarks are counted in."""
MOST_OF_POINT, MOST_OF_FACE = 1000.0, 10.0
"""Pixels: what one landmark, and the mean of a face, count at most. A face that is not found counts that much, too."""
LEAST_VISIBLE = 0.5
"""A keypoint of more confidence is seen. Below it the detector guesses where hidden limbs are, never alike."""
UNDETECTED_BODY = 0.1
"""What a picture counts whose person is not found, as a share of the picture's side."""


class BodyDetector(Protocol):
    """Finds the keypoints of one person."""

    def detect(self, image: Array) -> Array | None:
        """Float (18, 3) of the most certain body in an RGB uint8 (H, W, 3), or None.

        x and y are fractions of width and height; the third value is a confidence in [0, 1].
        """
        ...


def face_error(painted: Array | None, photo: Array | None) -> float:
    """Label endpoint error of one face, in [0, 0.0390625]; `min(10, mean_j min(1000, |p_j - q_j|)) / 256`.

    painted, photo: (68, 2) landmarks in pixels of a 256×256 picture, None where no face was found.
    """
    if painted is None or photo is None:
        return MOST_OF_FACE / SIDE
    distances = np.linalg.norm(np.asarray(painted, np.float64) - photo, axis=1)
    return float(min(MOST_OF_FACE, np.minimum(distances, MOST_OF_POINT).mean())) / SIDE


def body_error(painted: Array | None, photo: Array | None) -> float:
    """Label endpoint error of one body: the mean distance of the keypoints that both pictures show.

    painted, photo: (18, 3) keypoints as `BodyDetector.detect` gives them, None where nobody was found. Distances are
    fractions of the picture's sides. 0.1 where nobody was found in one of the two, or nothing is seen in both.
    """
    if painted is None or photo is None:
        return UNDETECTED_BODY
    both = (painted[:, 2] > LEAST_VISIBLE) & (photo[:, 2] > LEAST_VISIBLE)
    if not both.any():
        return UNDETECTED_BODY
    return float(np.linalg.norm(painted[both, :2] - photo[both, :2], axis=1).mean())


def lepe(kind: Kind, predictor: Path | None = None) -> Metric:
    """Label endpoint error of faces (labels of the kind SKETCH) or of bodies (POSE).

    predictor: for faces, dlib's 68-point predictor; None for MediaPipe, which is also what looks at bodies.

    Raises BadInput for labels without endpoints, and when the detector is not installed or is no predictor.
    """
    measures: dict[Kind, Callable[[], Metric]] = {
        SKETCH: lambda: of_faces(FaceLandmarks() if predictor is None else DlibLandmarks(predictor)),
        POSE: lambda: of_bodies(BodyPose()),
    }
    if kind not in measures:
        raise BadInput(f"labels of kind {kind.name!r} have no endpoints; LEPE is for faces (sketch) and bodies (pose)")
    return measures[kind]()


def of_faces(detector: Detector) -> Metric:
    """Label endpoint error of faces. Pictures of another size are looked at as 256×256."""

    def points(picture: Array) -> Array | None:
        return detector.detect(resized(picture, SIDE, SIDE))

    meaning = (
        "Label endpoint error: mean distance of 68 landmarks, detected in the painted picture and in the photo, as a "
        "share of the side; 0 is the photo itself, 0.0390625 (10 of 256 pixels) the most, and an undetected face."
    )
    return _metric(points, face_error, meaning)


def of_bodies(detector: BodyDetector) -> Metric:
    """Label endpoint error of bodies."""
    meaning = (
        "Label endpoint error: mean distance of the keypoints that are detected both in the painted picture and in the "
        "photo, as a share of the side; 0 is the photo itself, 0.1 an undetected person."
    )
    return _metric(detector.detect, body_error, meaning)


def _metric(
    points: Callable[[Array], Array | None], error: Callable[[Array | None, Array | None], float], meaning: str
) -> Metric:
    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        detections = [(points(one.picture), points(one.target)) for one in judged]
        return {
            "lepe": np.array([error(painted, photo) for painted, photo in detections]),
            "lepe/undetected": np.array([100.0 * (painted is None or photo is None) for painted, photo in detections]),
            "lepe/undetected_photo": np.array([100.0 * (photo is None) for _, photo in detections]),
        }

    return Metric(
        measure,
        {
            "lepe": mean_of("lepe", "less", meaning),
            "lepe_undetected": mean_of(
                "lepe/undetected",
                "less",
                "Share of pairs in whose painted picture or photo the detector finds nothing; LEPE counts a fixed "
                "error for them.",
                "%",
            ),
            "lepe_undetected_photo": mean_of(
                "lepe/undetected_photo",
                None,
                "Share of pairs in whose photo already the detector finds nothing, however they are painted.",
                "%",
            ),
        },
    )
