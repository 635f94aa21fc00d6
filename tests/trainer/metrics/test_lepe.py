"""Label endpoint error: the specification's numbers, and a real face under a real detector (specification 6.1, 9.5)."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.kinds import CLASSES, POSE, SKETCH
from shards.records import Frame, Pair
from trainer.metrics.lepe import body_error, face_error, lepe
from trainer.metrics.metric import Judged

FRAME = Frame("a.mp4", 0, 0.0, "a")
PAIR = Pair("0", FRAME, FRAME, FRAME, FRAME, True)
FACE = np.random.default_rng(0).uniform(40, 216, (68, 2))


@pytest.mark.parametrize(
    ("shift", "error"),
    [((0, 0), 0.0), ((3, 4), 0.01953125), ((20, 0), 0.0390625), ((0, -6), 6 / 256), ((4000, 0), 0.0390625)],
)
def test_uniform_shifts_cost_what_the_specification_says(shift: tuple[int, int], error: float) -> None:
    assert face_error(FACE + shift, FACE) == pytest.approx(error, abs=1e-12)


def test_an_undetected_face_counts_ten_pixels() -> None:
    assert face_error(None, FACE) == face_error(FACE, None) == face_error(None, None) == 0.0390625


def test_one_stray_landmark() -> None:
    """One of 68 landmarks 170 px away is 2.5 px in the mean; one lost for good costs as much as a lost face."""
    stray = FACE.copy()
    stray[5] += (0, 170)
    assert face_error(stray, FACE) == pytest.approx(2.5 / 256)
    stray[5] += (0, 1e9)
    assert face_error(stray, FACE) == 0.0390625


@given(st.tuples(*[st.floats(-50, 50)] * 2), st.tuples(*[st.floats(-50, 50)] * 2))
def test_error_is_symmetric_and_bounded(first: tuple[float, float], second: tuple[float, float]) -> None:
    painted, photo = FACE + first, FACE + second
    error = face_error(painted, photo)
    assert error == face_error(photo, painted)
    assert 0 <= error <= 0.0390625


def body(seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(0.2, 0.8, (18, 2)), np.ones((18, 1))], axis=1)


def test_bodies_are_compared_where_both_are_seen() -> None:
    photo = body()
    painted = photo.copy()
    assert body_error(painted, photo) == 0
    painted[:, :2] += (0.03, 0.04)
    assert body_error(painted, photo) == pytest.approx(0.05)
    painted[4], photo[7] = 0, 0
    assert body_error(painted, photo) == pytest.approx(0.05), "an unseen keypoint counts nothing"
    painted[:, 2] = 0
    assert body_error(painted, photo) == body_error(None, photo) == body_error(photo, None) == 0.1
    # No cap: the paper's MUNIT has 0.0958, beyond 10/256.
    painted = photo + np.array([0.3, 0, 0])
    assert body_error(painted, photo) == pytest.approx(0.3)


def test_labels_without_endpoints_are_refused() -> None:
    with pytest.raises(BadInput, match="no endpoints"):
        lepe(CLASSES)


def shifted(picture: Array, right: int, down: int) -> Array:
    """The picture moved, its border repeated."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def astronaut() -> Array:
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    photo: Array = pytest.importorskip("skimage.data").astronaut()
    return photo[:320, 64:384]


def test_a_real_face_against_itself_and_moved(astronaut: Array) -> None:
    face = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    pictures = [face, shifted(face, 4, 0), shifted(face, -3, 4), np.full_like(face, 90)]
    metric = lepe(SKETCH)
    columns = metric.measure([Judged(PAIR, picture, face, face) for picture in pictures])
    assert columns["lepe"] == pytest.approx([0, 4 / 256, 5 / 256, 10 / 256], abs=0.5 / 256)
    assert columns["lepe"][0] == 0
    assert columns["lepe/undetected"].tolist() == [0, 0, 0, 100]
    assert metric.figures["lepe_undetected"].compute(columns) == 25
    assert metric.figures["lepe_undetected_photo"].compute(columns) == 0
    assert metric.figures["lepe"].compute(columns) == columns["lepe"].mean()


def test_pictures_of_another_size_are_counted_in_the_same_pixels(astronaut: Array) -> None:
    """5 of 320 pixels are 4 of 256."""
    moved = [Judged(PAIR, shifted(astronaut, 5, 0), astronaut, astronaut)]
    assert lepe(SKETCH).measure(moved)["lepe"] == pytest.approx([4 / 256], abs=0.5 / 256)


def test_a_picture_without_a_face_on_the_photo_side(astronaut: Array) -> None:
    face = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    columns = lepe(SKETCH).measure([Judged(PAIR, face, np.zeros_like(face), face)])
    assert columns["lepe"].tolist() == [10 / 256]
    assert columns["lepe/undetected_photo"].tolist() == [100]


def test_a_real_body_moved() -> None:
    """64 of 512 pixels are 1/8 of the side."""
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    photo: Array = pytest.importorskip("skimage.data").astronaut()
    empty = np.full_like(photo, 90)
    metric = lepe(POSE)
    columns = metric.measure([Judged(PAIR, painted, photo, photo) for painted in (photo, shifted(photo, 64, 0), empty)])
    assert columns["lepe"] == pytest.approx([0, 1 / 8, 0.1], abs=0.01)
    assert columns["lepe"][0] == 0
    assert columns["lepe/undetected"].tolist() == [0, 0, 100]
