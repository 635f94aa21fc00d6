"""Faces cut out of photographs: the paper's crop, the aligned one, and the whole photo."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.array import Array
from likeness.command import BadInput
from shards.media.boxes import Box
from shards.operators.face_crops import ANY_FACE, PAPER, Demands, Face, crop_box, crop_face, landmarks_of, symmetry
from shards.operators.face_landmarks import MESH_OF_68
from shards.preparation import PREPARATION, Preparation
from tests.shards.labels.test_labels import a_face

SIZE = (256, 256)
ALIGNED, WHOLE = Preparation("aligned"), Preparation("whole")


class Pointing:
    """A detector that finds given faces, one picture after the other."""

    def __init__(self, *answers: Array | None) -> None:
        self.answers = list(answers)

    def detect(self, image: Array) -> Array | None:
        return self.answers.pop(0)


def noise(height: int = 600, width: int = 800) -> Array:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_mesh_indices() -> None:
    assert len(MESH_OF_68) == len(set(MESH_OF_68)) == 68 and max(MESH_OF_68) < 468


class TestThePapers:
    def test_box(self) -> None:
        """h = 100, w = 80: rows from top - 70 to bottom + 30, columns 40 to each side."""
        face = np.array([(200, 300)] * 66 + [(280, 400), (240, 350)])
        assert crop_box(face) == Box(230, 160, 200, 160)

    def test_symmetry(self) -> None:
        face = a_face()
        assert symmetry(face) > 0.98
        face[8, 0] = face[15, 0]
        assert symmetry(face) == 0

    def test_the_limit_of_side_faces(self) -> None:
        """0.7, by the distances from the chin to the jaw's points 1 and 15."""
        face = a_face() * 0.5 + (200, 200)
        for right, left, outcome in ((69, 100, "side face"), (100, 69, "side face"), (71, 100, "no face in the crop")):
            face[[1, 8, 15], 0] = 300 - right, 300, 300 + left
            assert crop_face(noise(), face, SIZE, PREPARATION, PAPER, Pointing(None)) == outcome

    def test_every_outcome(self) -> None:
        photo, face = noise(), a_face() * 0.5 + (200, 200)
        side = face.copy()
        side[8, 0] = side[1, 0] + 5

        def outcome(found: Array, again: Array | None = None) -> Face | str:
            return crop_face(photo, found, SIZE, PREPARATION, PAPER, Pointing(again))

        assert outcome(side) == "side face"
        assert outcome(face - np.array((200, 0))) == "crop leaves the picture"
        assert outcome(face + np.array((0, 200))) == "crop leaves the picture"
        assert outcome(a_face() * 0.2 + (200, 200)) == "face too small"
        assert outcome(face) == "no face in the crop"
        found = outcome(face, a_face() + 0.4)
        assert isinstance(found, Face) and found.outside == 0
        np.testing.assert_array_equal(found.landmarks, a_face())
        box = crop_box(face.round())
        part = photo[box.top : box.top + box.height, box.left : box.left + box.width]
        np.testing.assert_array_equal(found.crop, cv2.resize(part, (512, 512), interpolation=cv2.INTER_CUBIC))

    def test_where_nothing_is_demanded_everything_is_painted(self) -> None:
        """At the photo's border, too small, and not found again: landmarks move with the crop."""
        face = a_face() * 0.2 - (20, 0)
        found = crop_face(noise(), face, SIZE, PREPARATION, ANY_FACE, Pointing(None))
        assert isinstance(found, Face) and 0.05 < found.outside < 0.6
        box = crop_box(face.round())
        expected = (face.round() - (box.left, box.top)) * 512 / (box.width, box.height)
        np.testing.assert_allclose(found.landmarks, expected, atol=0.5)


def turned(points: Array, degrees: float, scale: float, to: tuple[float, float]) -> Array:
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray((points - points.mean(axis=0)) @ rotation.T * scale + to)


class TestAligned:
    @settings(max_examples=25, deadline=None)
    @given(st.floats(-180, 180), st.floats(0.1, 3), st.floats(-50, 900), st.floats(-50, 700))
    def test_landmarks_are_the_same_in_every_picture(self, degrees: float, scale: float, x: float, y: float) -> None:
        """However a face is turned, scaled and moved, its crop has the same landmarks, up to rounding."""
        straight = crop_face(noise(), a_face().astype(float), SIZE, ALIGNED, ANY_FACE, Pointing())
        other = crop_face(noise(), turned(a_face(), degrees, scale, (x, y)), SIZE, ALIGNED, ANY_FACE, Pointing())
        assert isinstance(straight, Face) and isinstance(other, Face)
        assert np.abs(straight.landmarks - other.landmarks).max() <= 1

    def test_the_square_of_the_paper_that_published_it(self) -> None:
        """Karras et al. 2018, appendix C, by hand: eyes 100 apart, mouth 100 below: 400 wide, 10 below the eyes."""
        face = np.zeros((68, 2))
        face[36:42], face[42:48], face[48], face[54] = (300, 250), (400, 250), (320, 350), (380, 350)
        found = crop_face(noise(), face, SIZE, ALIGNED, ANY_FACE, Pointing())
        assert isinstance(found, Face) and found.outside == 0
        np.testing.assert_allclose(found.landmarks[36], ((300 - 150) / 400 * 512, (250 - 60) / 400 * 512), atol=0.5)
        wider = crop_face(noise(), face, SIZE, Preparation("aligned", margin=2.0), ANY_FACE, Pointing())
        assert isinstance(wider, Face)
        # 800 wide about the same middle, and the photo 600 high.
        np.testing.assert_allclose(wider.landmarks[36], (256 - 32, 256 - 6.4), atol=0.5)
        assert wider.outside == pytest.approx(1 - 750 * 600 / 800**2, abs=0.02)

    @pytest.mark.parametrize("times", (0.5, 3.0, 9.0))
    def test_pixels_are_where_the_landmarks_say(self, times: float) -> None:
        """A disc is drawn on each eye: the crop has it there, whether the photo is small or large."""
        face = turned(a_face(), 20, times, (300 * times, 260 * times))
        photo = np.zeros((round(600 * times), round(600 * times), 3), np.uint8)
        places = [face[36:42].mean(axis=0), face[42:48].mean(axis=0)]
        for colour, (x, y) in zip(((255, 0, 0), (0, 255, 0)), places, strict=True):
            cv2.circle(photo, (round(x - 0.5), round(y - 0.5)), round(12 * times), colour, -1)
        found = crop_face(photo, face, SIZE, ALIGNED, ANY_FACE, Pointing())
        assert isinstance(found, Face) and found.crop.shape == (512, 512, 3)
        for channel, points in ((0, slice(36, 42)), (1, slice(42, 48))):
            rows, columns = np.nonzero(found.crop[..., channel] > 128)
            seen = columns.mean() + 0.5, rows.mean() + 0.5
            np.testing.assert_allclose(seen, found.landmarks[points].mean(axis=0), atol=1.5)

    def test_a_long_picture_shows_more_and_squeezes_nothing(self) -> None:
        face = turned(a_face(), 0, 0.6, (400, 300))
        photo = np.zeros((600, 800, 3), np.uint8)
        cv2.circle(photo, (400, 300), 40, (255, 255, 255), -1)
        found = crop_face(photo, face, (192, 96), ALIGNED, ANY_FACE, Pointing())
        assert isinstance(found, Face) and found.crop.shape[0] == 2 * found.crop.shape[1]
        rows, columns = np.nonzero(found.crop[..., 0] > 128)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)

    def test_what_is_demanded(self) -> None:
        face = turned(a_face(), 0, 0.1, (400, 300))
        assert crop_face(noise(), face, SIZE, ALIGNED, Demands(least_side=64), Pointing()) == "face too small"
        face[8, 0] = face[1, 0]
        assert crop_face(noise(), face, SIZE, ALIGNED, Demands(least_symmetry=0.5), Pointing()) == "side face"
        outside = crop_face(noise(), face - (390, 290), SIZE, ALIGNED, Demands(inside=True), Pointing())
        assert outside == "crop leaves the picture"


def test_whole_photos_keep_their_proportions() -> None:
    photo, face = noise(600, 800), turned(a_face(), 0, 0.4, (300, 300))
    found = crop_face(photo, face, SIZE, WHOLE, ANY_FACE, Pointing())
    assert isinstance(found, Face)
    np.testing.assert_array_equal(found.crop, photo[:, 100:700])
    np.testing.assert_allclose(found.landmarks, (face - (100, 0)) * 512 / 600, atol=0.5)
    padded = crop_face(photo, face, SIZE, replace(WHOLE, fit="pad"), ANY_FACE, Pointing())
    assert isinstance(padded, Face) and padded.outside == pytest.approx(0.25)
    np.testing.assert_array_equal(padded.crop[100:700], photo)
    assert (padded.crop[:100] == photo[0]).all()


def test_faces_are_looked_for_again_in_more_room_and_larger() -> None:
    face = a_face() * 0.5
    assert landmarks_of(noise(), Pointing(None, None, None)) is None
    within = landmarks_of(noise(600, 800), Pointing(None, face + np.array((400, 300))))
    assert within is not None
    np.testing.assert_allclose(within, face)
    larger = landmarks_of(noise(), Pointing(None, None, face * 2))
    assert larger is not None
    np.testing.assert_allclose(larger, face)


@pytest.mark.parametrize("margin", (0.1, 5.0, float("nan"), float("inf"), "1", True, None))
def test_margins_are_bounded(margin: object) -> None:
    with pytest.raises(BadInput, match=r"a margin of .* is not between 0\.5 and 4"):
        Preparation.from_json({"crop": "aligned", "margin": margin})


def test_a_preparation_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BadInput, match="there is no crop 'round'; choose one of paper, aligned, whole"):
        Preparation.from_json({"crop": "round"})
    for other in ({"colour": "red"}, [1], None):
        with pytest.raises(BadInput, match="not a preparation of photos"):
            Preparation.from_json(other)
    assert Preparation.from_json(ALIGNED.to_json()) == ALIGNED
