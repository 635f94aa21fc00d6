"""Kinds of label maps: what holds for all of them, and what `picture` and `edges` are."""

import json
from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import expand, load, picture
from shards.labels.kinds import CLASSES, EDGES, KINDS, PICTURE, POSE, SKETCH, Kind, kind_of
from shards.records import Frame, LabelKind, LabelSchema

HEIGHT, WIDTH = 32, 48
FRAME = Frame(
    "a.mp4",
    3,
    0.0,
    "a",
    landmarks=tuple((int(7 * k % 512), int(11 * k % 512)) for k in range(68)),
    keypoints=tuple((0.1 + 0.04 * k, 0.9 - 0.03 * k, 1.0) for k in range(18)),
)
SCHEMAS = {
    **{name: kind.standard(HEIGHT, WIDTH) for name, kind in KINDS.items()},
    "pose with DensePose": POSE.standard(HEIGHT, WIDTH, with_densepose=True),
}


def label_picture(schema: LabelSchema, seed: int = 0) -> Array | None:
    """What a sample might record for a schema."""
    rng, size = np.random.default_rng(seed), (HEIGHT, WIDTH)
    colours = kind_of(schema).png(schema)
    if colours is None:
        return None
    if schema.ids:
        return rng.choice(schema.ids, size).astype(np.uint8)
    if colours == "grey":
        return rng.integers(0, 256, size, np.uint8)
    return rng.integers(0, 25, (*size, 3), np.uint8)


def test_the_names_in_files_are_those_of_the_objects() -> None:
    assert tuple(KINDS) == get_args(LabelKind)
    for name, kind in KINDS.items():
        schema = kind.standard(HEIGHT, WIDTH)
        assert schema.kind == kind.name == name and kind_of(schema) is kind
        assert LabelSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@pytest.mark.parametrize("name", SCHEMAS)
def test_from_recorded_to_channels(name: str) -> None:
    schema = SCHEMAS[name]
    kind, recorded = kind_of(schema), label_picture(schema)
    loaded = load(schema, FRAME, recorded)
    assert loaded.shape == kind.loaded_shape(schema) and loaded.dtype == np.uint8
    expanded = expand(schema, loaded)
    assert expanded.shape == (schema.channels, HEIGHT, WIDTH) and expanded.dtype == np.float32
    assert expanded.min() >= 0 and 0 < expanded.max() <= 1
    shown = picture(schema, loaded)
    assert shown.shape == (HEIGHT, WIDTH, 3) and shown.dtype == np.uint8
    if recorded is not None:
        np.testing.assert_array_equal(kind.mirrored(kind.mirrored(recorded)), recorded)
        assert (kind.mirrored(recorded) != recorded).any()
    layers = kind.layers(schema)
    assert layers is None or all(0 <= channel < schema.channels for layer in layers for channel in layer)
    assert kind.one_file(schema) == (name != "pose with DensePose")


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_record_that_lacks_something(name: str) -> None:
    schema = SCHEMAS[name]
    with pytest.raises(BadInput, match=r"a\.mp4 frame 3 has no (landmarks|keypoints|label picture)"):
        load(schema, FRAME.unlabelled)


def test_pictures_are_what_they_are() -> None:
    schema = SCHEMAS["picture"]
    recorded = label_picture(schema)
    assert recorded is not None
    loaded = load(schema, FRAME, recorded)
    np.testing.assert_array_equal(loaded, recorded.transpose(2, 0, 1))
    np.testing.assert_array_equal(expand(schema, loaded) * 255, recorded.transpose(2, 0, 1))
    np.testing.assert_array_equal(picture(schema, loaded), recorded)
    np.testing.assert_array_equal(PICTURE.mirrored(recorded), recorded[:, ::-1])


def test_edges_are_grey() -> None:
    schema = SCHEMAS["edges"]
    recorded = label_picture(schema)
    assert recorded is not None
    loaded = load(schema, FRAME, recorded)
    np.testing.assert_array_equal(loaded, recorded[None])
    np.testing.assert_array_equal(picture(schema, loaded), recorded[..., None].repeat(3, 2))


@pytest.mark.parametrize("kind", [PICTURE, EDGES])
def test_somebodys_file(kind: Kind) -> None:
    schema = kind.standard(HEIGHT, WIDTH)
    recorded = label_picture(schema)
    assert recorded is not None
    pixels = recorded if recorded.ndim == 2 else recorded[..., ::-1]
    content = cv2.imencode(".png", pixels)[1].tobytes()
    np.testing.assert_array_equal(kind.decode(schema, content, "x.png"), load(schema, FRAME, recorded))
    smooth = cv2.GaussianBlur(pixels, (0, 0), 4)
    photo = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    ours = kind.decode(schema, photo, "x.jpg").astype(int)
    theirs = smooth[None] if smooth.ndim == 2 else smooth[..., ::-1].transpose(2, 0, 1)
    assert np.abs(ours - theirs).mean() < 2
    with pytest.raises(BadInput, match=rf"x\.png: a label map of kind '{kind.name}' is a .* of 48×32 pixels here"):
        kind.decode(schema, cv2.imencode(".png", pixels[:16])[1].tobytes(), "x.png")
    with pytest.raises(BadInput, match=r"x\.png is no readable picture"):
        kind.decode(schema, b"nothing", "x.png")


def test_edges_in_any_colours_are_read_as_grey() -> None:
    schema = EDGES.standard(HEIGHT, WIDTH)
    grey = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    content = cv2.imencode(".png", grey[..., None].repeat(3, 2))[1].tobytes()
    np.testing.assert_array_equal(EDGES.decode(schema, content, "x.png")[0], grey)


def test_schemas_that_are_none() -> None:
    with pytest.raises(BadInput, match="label maps of kind 'smell' are not known here, only sketch, pose, classes,"):
        kind_of(replace(SCHEMAS["sketch"], kind="smell"))  # type: ignore[arg-type]
    with pytest.raises(
        BadInput, match="label schema of kind 'classes': 20 channels, but 20 names, 20 colours and 0 ids"
    ):
        replace(SCHEMAS["classes"], ids=())
    with pytest.raises(BadInput, match="label schema of kind 'classes': 20 channels, but 0 ids"):
        kind_of(replace(SCHEMAS["classes"], ids=(), void=None))


def test_what_worlds_and_training_ask() -> None:
    assert [kind.member for kind in (SKETCH, POSE, CLASSES)] == ["landmarks", "keypoints", "label"]
    assert [kind.ids for kind in KINDS.values()] == [False, False, True, False, False]
    assert [kind for kind in KINDS.values() if not kind.mirrors] == [POSE], "drawn limbs have sides"


@pytest.mark.parametrize(
    ("kind", "points", "told"),
    [
        ("sketch", np.linspace(0.1, 0.9, 68), "landmarks lie between 0.1 and 0.9; x and y are in a 512×512 frame"),
        ("sketch", np.linspace(-1, 1, 68), "landmarks lie between -1 and 1; x and y are in a 512×512 frame"),
        ("sketch", np.linspace(500, 900, 68), "landmarks lie between 500 and 900; x and y are in a 512×512 frame"),
        ("pose", np.linspace(-0.9, 0.3, 18), "keypoints lie between -0.9 and 0.3; x and y are in fractions"),
        ("pose", np.linspace(1, 1.9, 18), "keypoints lie between 1 and 1.9; x and y are in fractions"),
    ],
)
def test_points_in_another_unit_are_refused(kind: str, points: Array, told: str) -> None:
    of = KINDS[kind].points
    assert of is not None
    given = np.stack([points, points, np.ones_like(points)][: of.numbers], axis=1)
    with pytest.raises(BadInput, match=rf"points\.json: its {told}"):
        of.parse(json.dumps(given.tolist()).encode(), "points.json")


def test_points_of_which_some_lie_outside_are_taken() -> None:
    for of, points in ((SKETCH.points, np.linspace(-200, 600, 68)), (POSE.points, np.linspace(-0.2, 1.2, 18))):
        assert of is not None
        given = np.stack([points, points, np.ones_like(points)][: of.numbers], axis=1)
        np.testing.assert_allclose(of.parse(json.dumps(given.tolist()).encode(), "points.json"), given)
    nobody = np.zeros((18, 3))
    assert POSE.points is not None
    np.testing.assert_array_equal(POSE.points.parse(json.dumps(nobody.tolist()).encode(), "a.json"), nobody)
