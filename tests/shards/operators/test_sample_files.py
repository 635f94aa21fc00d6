"""Photos of any size become what a model reads: cut as its own photos were, with label maps that are found in them."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.labels import standard_schema
from shards.media.pictures import encode_picture
from shards.operators.edges import canny
from shards.operators.labelling import Labelling
from shards.operators.sample_files import Preparing, load_files
from shards.preparation import Preparation
from shards.records import Frame, LabelSchema

EXAMPLE = ("label", "exemplar_label", "exemplar")


def preparing(schema: LabelSchema, inputs: tuple[str, ...] = EXAMPLE) -> Preparing:
    return Preparing(Labelling("auto", schema), inputs, 8)


def given(**files: bytes) -> dict[str, list[tuple[bytes, str]]]:
    return {name: [(content, f"the {name}")] for name, content in files.items()}


def astronaut() -> Array:
    photo: Array = pytest.importorskip("skimage.data").astronaut()
    return photo


@pytest.fixture(scope="module")
def faces() -> Preparing:
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    return preparing(replace(standard_schema("sketch", 64, 64), preparation=Preparation("aligned")))


def as_png(picture: Array) -> bytes:
    return encode_picture(np.ascontiguousarray(picture))


def test_a_portrait_is_all_that_is_needed(faces: Preparing) -> None:
    """Both as the exemplar and as what the label map is drawn from, of any size and proportions."""
    photo = as_png(astronaut())
    wide = as_png(cv2.resize(astronaut()[:300], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    loaded = load_files(given(label=wide, exemplar=photo), faces)
    assert {*loaded} == {*EXAMPLE} and loaded["exemplar"].shape == (64, 64, 3)
    # Both are the same face, so that aligned labels are alike; the larger one's is the more exact.
    apart = np.abs(loaded["label"].astype(int) - loaded["exemplar_label"]).mean()
    assert apart < 0.25 * np.abs(loaded["label"].astype(int) - loaded["label"][:, :, ::-1]).mean()
    # Eyes lie in the upper half, level: what `aligned` means.
    assert faces.needed(EXAMPLE) == ("label", "exemplar")


def test_a_photo_without_a_face_is_refused_where_its_label_map_is_read(faces: Preparing) -> None:
    blank = as_png(np.full((90, 120, 3), 128, np.uint8))
    landmarks = json.dumps([[200 + 2 * number, 300 - number] for number in range(68)]).encode()
    with pytest.raises(BadInput, match="the exemplar cannot be used: no face; choose another photo"):
        load_files(given(label=landmarks, exemplar=blank), faces)
    alone = Preparing(faces.labelling, ("label", "exemplar"), 8)
    loaded = load_files(given(label=landmarks, exemplar=blank), alone)
    assert loaded["exemplar"].shape == (64, 64, 3) and (loaded["exemplar"] == 128).all()


def test_landmarks_of_a_photo_of_another_size_say_nothing(faces: Preparing) -> None:
    landmarks = json.dumps([[200 + 2 * number, 300 - number] for number in range(68)]).encode()
    photo = as_png(astronaut())
    with pytest.raises(BadInput, match=r"the exemplar is 512×512 pixels.*as 64×64, or leave the label map out"):
        load_files(given(label=landmarks, exemplar=photo, exemplar_label=landmarks), faces)
    small = as_png(astronaut()[:64, :64])
    loaded = load_files(given(label=landmarks, exemplar=small, exemplar_label=landmarks), faces)
    np.testing.assert_array_equal(loaded["exemplar"], astronaut()[:64, :64])


def test_class_maps_are_cut_as_their_photos() -> None:
    """A photo and its map of 90×120, a model of 32×64: the middle in the right proportions, ids never mixed."""
    schema = standard_schema("classes", 32, 64)
    ids = np.zeros((90, 120), np.uint8)
    ids[:, 60:] = 3
    photo = np.repeat((ids * 80)[..., None], 3, axis=2)
    loaded = load_files(given(label=as_png(ids), exemplar=as_png(photo), exemplar_label=as_png(ids)), preparing(schema))
    assert {*np.unique(loaded["label"])} == {0, 3}
    np.testing.assert_array_equal(loaded["label"], loaded["exemplar_label"])
    np.testing.assert_array_equal(loaded["label"][:, :32], 0)
    np.testing.assert_array_equal(loaded["exemplar"][:, 33:], 240)
    other = as_png(ids[:60])
    with pytest.raises(BadInput, match="the exemplar is 120×90 pixels, and its label map the exemplar_label of 120×60"):
        load_files(given(label=as_png(ids), exemplar=as_png(photo), exemplar_label=other), preparing(schema))
    numbered = Preparing(Labelling("auto", schema), ("label", "instances"), 8)
    both = load_files(given(label=as_png(ids), instances=as_png(ids.astype(np.uint16) * 500)), numbered)
    np.testing.assert_array_equal(both["instances"], both["label"].astype(int) * 500)


def test_class_maps_are_needed_where_nothing_finds_them() -> None:
    schema = standard_schema("classes", 32, 64)
    assert preparing(schema).needed(EXAMPLE) == EXAMPLE
    assert preparing(standard_schema("edges", 32, 64)).needed(EXAMPLE) == ("label", "exemplar")
    assert preparing(standard_schema("picture", 32, 64)).needed(EXAMPLE) == EXAMPLE


def test_edges_are_found_in_photos_and_taken_as_they_are_from_drawings() -> None:
    schema = standard_schema("edges", 64, 64)
    photo = astronaut()[:64, :64]
    loaded = load_files(given(label=as_png(photo), exemplar=as_png(photo)), preparing(schema))
    expected = labels.load(schema, Frame("", 0, 0.0, ""), canny(photo))
    np.testing.assert_array_equal(loaded["label"], expected)
    np.testing.assert_array_equal(loaded["exemplar_label"], expected)
    drawn = np.zeros((64, 64), np.uint8)
    drawn[20] = 255
    loaded = load_files(given(label=as_png(drawn), exemplar=as_png(photo)), preparing(schema))
    np.testing.assert_array_equal(loaded["label"][0], drawn)


def test_too_many_pixels_are_refused_by_their_header() -> None:
    content = bytearray(as_png(np.zeros((8, 8, 3), np.uint8)))
    content[16:24] = (30000).to_bytes(4, "big") * 2
    with pytest.raises(BadInput, match="the exemplar is 30000×30000 pixels, more than 100,000,000"):
        load_files(given(exemplar=bytes(content)), preparing(standard_schema("edges", 32, 32), ("exemplar",)))
