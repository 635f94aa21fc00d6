"""Files of people: what they hold is read exactly, and what is broken is refused with its name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.array import Array
from likeness.command import BadInput
from shards.input_files import decode_photo, read_label
from shards.labels import standard_schema
from shards.media.pictures import read_bytes
from shards.records import LabelSchema

HEIGHT, WIDTH = 32, 48
CLASSES = standard_schema("classes", HEIGHT, WIDTH)
SKETCH = standard_schema("sketch", HEIGHT, WIDTH)
POSE = standard_schema("pose", HEIGHT, WIDTH)


def read_photo(path: Path, schema: LabelSchema) -> Array:
    return decode_photo(read_bytes(path), str(path), schema)


def noise(*shape: int, below: int = 256) -> Array:
    return np.random.default_rng(0).integers(0, below, shape, dtype=np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palettes_indices_are_the_ids(bits: int, tmp_path: Path) -> None:
    ids = noise(HEIGHT, WIDTH, below=min(2**bits, 19))
    image = Image.fromarray(ids)
    image.putpalette(noise(256, 3).tobytes())
    image.save(tmp_path / "ids.png", bits=bits)
    assert Image.open(tmp_path / "ids.png").mode == "P"
    np.testing.assert_array_equal(read_label(tmp_path / "ids.png", CLASSES), ids)


def test_a_grey_pictures_values_are_the_ids(tmp_path: Path) -> None:
    ids = np.where(noise(HEIGHT, WIDTH, below=2) == 1, 255, 18).astype(np.uint8)
    Image.fromarray(ids).save(tmp_path / "ids.png")
    np.testing.assert_array_equal(read_label(tmp_path / "ids.png", CLASSES), ids)


def test_a_colour_picture_and_an_unknown_id_are_no_label(tmp_path: Path) -> None:
    Image.fromarray(noise(HEIGHT, WIDTH, 3)).save(tmp_path / "colour.png")
    Image.fromarray(np.full((HEIGHT, WIDTH), 77, np.uint8)).save(tmp_path / "unknown.png")
    with pytest.raises(BadInput, match=r"colour\.png .*colour picture"):
        read_label(tmp_path / "colour.png", CLASSES)
    with pytest.raises(BadInput, match=r"unknown\.png: label id 77"):
        read_label(tmp_path / "unknown.png", CLASSES)


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_a_photo_that_was_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    Image.fromarray(noise(HEIGHT, WIDTH, 3)).save(tmp_path / name, quality=95)
    assert read_photo(tmp_path / name, SKETCH).shape == (HEIGHT, WIDTH, 3)
    content = (tmp_path / name).read_bytes()
    for size in (0, 20, len(content) * 2 // 3, len(content) - 8):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(BadInput, match=f"{name} is no readable picture"):
            read_photo(tmp_path / name, SKETCH)


def test_a_flipped_bit_in_a_png_is_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(HEIGHT, WIDTH)).save(tmp_path / "ids.png")
    content = bytearray((tmp_path / "ids.png").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "ids.png").write_bytes(content)
    with pytest.raises(BadInput, match="checksum"):
        read_label(tmp_path / "ids.png", CLASSES)


def test_a_photo_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    Image.fromarray(noise(40, 50, 3)).save(tmp_path / "photo.png")
    with pytest.raises(BadInput, match="is 50×40 pixels, but the model takes 48×32"):
        read_photo(tmp_path / "photo.png", SKETCH)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("sketch", [[1, 2]] * 5, "68 lists of 2 numbers"),
        ("sketch", {"points": [[1, 2]] * 68}, "68 lists of 2 numbers"),
        ("sketch", [["a", "b"]] * 68, "68 lists of 2 numbers"),
        ("sketch", [[1, 2]] * 67 + [[1e9, 2]], r"landmarks\[67\]"),
        ("sketch", [[1, 2]] * 67 + [[1, float("nan")]], r"landmarks\[67\]"),
        ("pose", [[100, 200, 1]] * 18, r"keypoints\[0\] .*fractions"),
    ],
)
def test_points_that_do_not_fit_are_refused(kind: str, content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "points.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=message):
        read_label(tmp_path / "points.json", SKETCH if kind == "sketch" else POSE)


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    """Whatever its pixels would take in memory: the file need not even hold them."""
    side = (60_000).to_bytes(2, "big")
    Image.fromarray(noise(HEIGHT, WIDTH, 3)).save(tmp_path / "small.jpg")
    small = (tmp_path / "small.jpg").read_bytes()
    frame = small.index(b"\xff\xc0") + 5
    for name, content in (
        ("photo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (b"\0\0" + side) * 2 + b"\x08\x02\0\0\0"),
        ("photo.jpg", small[:frame] + side * 2 + small[frame + 4 :]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=f"{name} is 60000×60000 pixels, but the model takes 48×32"):
            read_photo(tmp_path / name, SKETCH)
    with pytest.raises(BadInput, match="is 60000×60000 pixels"):
        read_label(tmp_path / "photo.png", CLASSES)


def test_a_photo_on_its_side_is_turned(tmp_path: Path) -> None:
    photo = noise(WIDTH, HEIGHT, 3)
    mark = Image.Exif()
    mark[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "photo.png", exif=mark)
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png", SKETCH), np.rot90(photo, -1))


@pytest.mark.parametrize("kind", ["picture", "edges"])
@pytest.mark.parametrize("name", ["label.jpg", "label.png"])
def test_a_label_picture_on_its_side_is_turned(kind: str, name: str, tmp_path: Path) -> None:
    mark = Image.Exif()
    mark[0x0112] = 6
    stored, schema = noise(WIDTH, HEIGHT, 3), standard_schema(kind, HEIGHT, WIDTH)
    Image.fromarray(stored).save(tmp_path / name, exif=mark, quality=95)
    picture = read_photo(tmp_path / name, schema)
    Image.fromarray(picture).save(tmp_path / "upright.png")
    label = read_label(tmp_path / name, schema)
    assert label.shape == (schema.channels, HEIGHT, WIDTH)
    np.testing.assert_array_equal(label, read_label(tmp_path / "upright.png", schema))
    Image.fromarray(stored).save(tmp_path / name)
    with pytest.raises(BadInput, match=f"{name} is 32×48 pixels, but the model takes 48×32"):
        read_label(tmp_path / name, schema)


def test_ids_on_their_side_are_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(WIDTH, HEIGHT, below=2)).save(tmp_path / "ids.png")
    with pytest.raises(BadInput, match=r"ids\.png is 32×48 pixels, but the model takes 48×32"):
        read_label(tmp_path / "ids.png", CLASSES)


@pytest.mark.parametrize("content", [b"\xff\xfe" * 100_000, b"[" * 100_000, b"[[1" + b"0" * 400 + b", 1]]"])
def test_what_is_wrong_with_a_file_of_points_is_said_in_a_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "points.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"points\.json is no JSON file") as raised:
        read_label(tmp_path / "points.json", SKETCH)
    assert len(str(raised.value)) < 500
