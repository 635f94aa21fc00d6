"""Faces and bodies found in photos, and the labels that are drawn from their points."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from likeness.array import Array
from shards.labels.densepose import densepose_of
from shards.media.boxes import Box, around, cut, fitted, nearest
from shards.operators.face_crops import Detector, Face, crop_face, landmarks_of
from shards.operators.face_landmarks import FaceLandmarks
from shards.operators.labelling import Found, Labelled, Labelling
from shards.operators.smoothing import SURE
from shards.sources.dataset import Item

INSTALLED_PREDICTOR = Path("/usr/share/dlib/shape_predictor_68_face_landmarks.dat")
"""Where Debian's package libdlib-data has the paper's predictor."""
MEDIAPIPE = Path("mediapipe")
"""What `--predictor` says for MediaPipe, wherever dlib is."""
ROOM = 1.3
"""Sides of a body's picture in units of its keypoints' box: hands, feet and hair lie outside the box."""
MOST_FILLED = 0.15
"""Of a picture: where a box around all places that a body goes to would show more beyond the photo, the box moves."""


@cache
def landmark_detector(predictor: Path | None) -> Detector:
    """dlib with a predictor; None for the installed one where it and dlib are there, and MediaPipe where not.

    Raises BadInput when what was named is not there.
    """
    chosen = predictor or installed_predictor() or MEDIAPIPE
    if chosen == MEDIAPIPE:
        return FaceLandmarks()
    from shards.operators.dlib_landmarks import DlibLandmarks

    return DlibLandmarks(chosen)


def landmarks_by(predictor: Path | None) -> str:
    """What finds the landmarks, by name: the predictor's file, or `mediapipe`."""
    return (predictor or installed_predictor() or MEDIAPIPE).name


def installed_predictor() -> Path | None:
    """The predictor of the operating system, None where there is none or dlib cannot be imported."""
    if not INSTALLED_PREDICTOR.is_file():
        return None
    try:
        import dlib  # noqa: F401
    except ImportError:
        return None
    return INSTALLED_PREDICTOR


def find_face(image: Array, item: Item, number: int, labelling: Labelling) -> Array | str:
    """The landmarks of a face, (68, 2) in pixels, or why there are none."""
    detector = landmark_detector(labelling.predictor)
    # The paper does not look twice.
    found = detector.detect(image) if labelling.demands.inside else landmarks_of(image, detector)
    return "no face" if found is None else found


def label_face(image: Array, item: Item, number: int, labelling: Labelling, found: Found | None) -> Labelled | str:
    """The face of these landmarks, cut out as the schema says."""
    assert found is not None
    schema = labelling.schema
    size = schema.height, schema.width
    detector = landmark_detector(labelling.predictor)
    face = crop_face(image, found.points, size, schema.preparation, labelling.demands, detector)
    if not isinstance(face, Face):
        return face
    landmarks = tuple((int(x), int(y)) for x, y in face.landmarks)
    return Labelled(face.crop, landmarks=landmarks, outside=face.outside)


@cache
def body_detector() -> Any:
    """MediaPipe's body model. Raises BadInput when it is not installed."""
    from shards.operators.body_pose import BodyPose

    return BodyPose()


def find_body(image: Array, item: Item, number: int, labelling: Labelling) -> Array | str:
    """(18, 3), x and y in pixels and a confidence, from OpenPose's files where they are given, detected otherwise."""
    height, width = image.shape[:2]
    if labelling.openpose is not None:
        from shards.operators.openpose import keypoints_of

        # As it is on the disk: the name in the dataset may be spelled otherwise than OpenPose's files.
        points = keypoints_of(labelling.openpose, item.path.stem, number, height, width)
    else:
        points = body_detector().detect(image)
    if points is None:
        return "no body"
    return np.asarray(points * (width, height, 1))


def body_boxes(bodies: Sequence[Array], shape: tuple[int, int], labelling: Labelling) -> list[Box]:
    """What is shown of each frame of a video, or of a photo, by the body's keypoints in it, (18, 3) in pixels.

    shape: height and width of the frames. With the fit `crop` the frames are cut around the body: all of them alike
    where it stays in one place, and else by a box of one size that goes along with it. A box reaches beyond the photo
    only where the body needs it.
    """
    schema = labelling.schema
    aspect, fit = schema.width / schema.height, schema.preparation.fit
    height, width = shape
    whole = [fitted(height, width, aspect, fit)] * len(bodies)
    seen = [body[body[:, 2] >= SURE, :2].clip(0, (width, height)) for body in bodies]
    if fit != "crop" or any(len(points) < 2 for points in seen):
        return whole
    together = _with_room(around(np.concatenate(seen), aspect, 1.0), aspect, shape)
    if together.outside(height, width) <= MOST_FILLED:
        return [together] * len(bodies)
    tight = [around(points, aspect, 1.0) for points in seen]
    # A single frame may be mistaken.
    rows = float(np.quantile([box.height for box in tight], 0.9))
    size = max(1, round(rows)), max(1, round(rows * aspect))
    # Keypoints are smoothed already; another body is another place at once.
    boxes = (Box(box.top + (box.height - size[0]) // 2, box.left + (box.width - size[1]) // 2, *size) for box in tight)
    return [_with_room(box, aspect, shape) for box in boxes]


def _with_room(tight: Box, aspect: float, shape: tuple[int, int]) -> Box:
    """A box around a body's box, in the photo if it has the room."""
    height, width = shape
    rows = round(min(tight.height * ROOM, fitted(height, width, aspect, "pad").height))
    columns = max(1, round(rows * aspect))
    top = _moved(tight.top + (tight.height - rows) // 2, rows, height)
    left = _moved(tight.left + (tight.width - columns) // 2, columns, width)
    return Box(top, left, rows, columns)


def _moved(first: int, length: int, whole: int) -> int:
    """The first row of as many, moved until they lie in the photo, or the photo in the middle of them."""
    if length >= whole:
        return (whole - length) // 2
    return min(max(first, 0), whole - length)


def label_body(image: Array, item: Item, number: int, labelling: Labelling, found: Found | None) -> Labelled | str:
    """The part of a photo that its body is in, with its keypoints, and DensePose's picture where they are given."""
    assert found is not None and found.box is not None
    box, schema = found.box, labelling.schema
    height, width = image.shape[:2]
    places = box.points(found.points[:, :2])
    confidences = found.points[:, 2]
    keypoints = tuple((float(x), float(y), float(c)) for (x, y), c in zip(places, confidences, strict=True))
    parts = None
    if labelling.densepose is not None:
        picture = densepose_of(labelling.densepose, item.path.stem, number)
        parts = nearest(cut(nearest(picture, height, width), box), schema.height, schema.width)
    return Labelled(cut(image, box), keypoints=keypoints, label_picture=parts, outside=box.outside(height, width))
