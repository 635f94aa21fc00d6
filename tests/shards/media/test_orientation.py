"""A photo's EXIF mark, and label maps that were drawn on the pixels as stored or as shown."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from likeness.command import BadInput
from shards.inputs import check_marks
from shards.labels import standard_schema
from shards.media.orientation import orientation, turned
from shards.media.pictures import encode_picture, read_picture
from shards.operators.labelling import Labelling
from shards.operators.photos import labelled_photos
from shards.records import LabelSchema
from shards.sources.dataset import Item
from shards.sources.pictures import find


def marked(pixels: np.ndarray, mark: int | None, form: str = "PNG") -> bytes:
    """A picture file, with Pillow's EXIF where there is a mark."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x010F] = "a camera"
    if mark is not None:
        exif[0x0112] = mark
    Image.fromarray(pixels).save(file, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mark", [None, *range(1, 9)])
def test_marks_are_those_that_the_decoder_obeys(tmp_path: Path, form: str, mark: int | None) -> None:
    pixels = np.kron(np.random.default_rng(1).integers(0, 256, (2, 3, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    content = marked(pixels, mark, form)
    file = tmp_path / "a"
    file.write_bytes(content)
    assert orientation(content) == (mark or 1)
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_array_equal(turned(stored[..., ::-1], orientation(content)), read_picture(file))


@pytest.mark.parametrize("end", [0, 1, 3, 12, 20, 30, 50])
def test_a_file_that_is_cut_off_has_no_mark(end: int) -> None:
    for form in ("JPEG", "PNG", "WEBP"):
        assert orientation(marked(np.zeros((16, 16, 3), np.uint8), 6, form)[:end]) == 1


def a_pair(folder: Path, mark: int, label: np.ndarray, width: int, own: int | None = None) -> Item:
    """A photo whose stored pixels are dark but for the upper left quarter, and a label map."""
    (folder / "images").mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    photo = np.zeros((32, width, 3), np.uint8)
    photo[:16, : width // 2] = 200
    (folder / "images" / "a.jpg").write_bytes(marked(photo, mark, "JPEG"))
    (folder / "labels" / "a.png").write_bytes(marked(label, own))
    return Item("a.jpg", folder / "images" / "a.jpg", "a.jpg", folder / "labels" / "a.png")


def stored_label(width: int) -> np.ndarray:
    """The ids that belong to its stored pixels."""
    ids = np.zeros((32, width), np.uint8)
    ids[:16, : width // 2] = 1
    return ids


def agreement(item: Item, schema: LabelSchema, drawn_on: str | None) -> float:
    """How many pixels have the label that their brightness says."""
    (photo,) = labelled_photos(item, Labelling("given", schema, labels_drawn_on=drawn_on))  # type: ignore[arg-type]
    assert photo.label_picture is not None
    return float(((photo.image[..., 0] > 100) == photo.label_picture).mean())


@pytest.mark.parametrize("mark", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["stored", "shown"])
@pytest.mark.parametrize("width", [32, 48])
def test_labels_lie_where_they_were_drawn(tmp_path: Path, mark: int, drawn_on: str, width: int) -> None:
    ids = stored_label(width)
    shown = turned(ids, mark)
    item = a_pair(tmp_path, mark, ids if drawn_on == "stored" else shown, width)
    schema = standard_schema("classes", *shown.shape)
    assert agreement(item, schema, drawn_on) > 0.99
    told = mark == 1 or (mark >= 5 and width != 32)
    if told:
        assert agreement(item, schema, None) > 0.99
    else:
        with pytest.raises(BadInput, match=r"a\.jpg has an EXIF mark .*a\.png .*--labels-drawn-on stored or --labels-"):
            agreement(item, schema, None)


def test_a_size_that_belongs_to_neither_names_the_mark(tmp_path: Path) -> None:
    item = a_pair(tmp_path, 6, stored_label(48), 48)
    with pytest.raises(BadInput, match=r"48×32 pixels, but its photo 32×48, as its EXIF mark has it turned by 90°"):
        agreement(item, standard_schema("classes", 48, 32), "shown")


def test_a_label_file_s_own_mark_is_obeyed(tmp_path: Path) -> None:
    item = a_pair(tmp_path, 3, stored_label(32), 32, own=3)
    assert agreement(item, standard_schema("classes", 32, 32), None) > 0.99


def test_instance_maps_and_label_pictures_are_turned_too(tmp_path: Path) -> None:
    item = a_pair(tmp_path, 6, stored_label(48), 48)
    numbers = tmp_path / "numbers.png"
    numbers.write_bytes(encode_picture(stored_label(48).astype(np.uint16) * 1000))
    schema = standard_schema("classes", 48, 32)
    labelling = Labelling("given", schema, instances=True)
    (photo,) = labelled_photos(Item("a.jpg", item.path, "a", item.label, instances=numbers), labelling)
    assert photo.instances is not None
    np.testing.assert_array_equal(photo.instances > 0, photo.label_picture)

    colours = np.repeat(stored_label(48)[..., None] * 200, 3, axis=2).astype(np.uint8)
    item = a_pair(tmp_path, 6, colours, 48)
    (photo,) = labelled_photos(item, Labelling("picture", standard_schema("picture", 48, 32)))
    assert photo.label_picture is not None
    assert ((photo.label_picture > 100) == (photo.image > 100)).mean() > 0.99


def test_pictures_are_packed_in_the_shape_in_which_they_are_shown(tmp_path: Path) -> None:
    a_pair(tmp_path, 6, stored_label(48), 48)
    assert find(tmp_path).aspect == pytest.approx(32 / 48)
    a_pair(tmp_path, 6, turned(stored_label(48), 6), 48)
    assert find(tmp_path).aspect == pytest.approx(32 / 48)
    a_pair(tmp_path, 3, stored_label(48), 48)
    assert find(tmp_path).aspect == pytest.approx(48 / 32)


@pytest.mark.parametrize(("kind", "width"), [("classes", 32), ("sketch", 32), ("sketch", 48), ("picture", 32)])
def test_an_exemplar_s_mark_leaves_open_how_its_label_map_lies(kind: str, width: int) -> None:
    """Of the files that somebody gives for a model: the target's label map has no photo that it could lie on."""
    schema = standard_schema(kind, 32, width)  # type: ignore[arg-type]
    photo = marked(np.zeros((width, 32, 3), np.uint8), 6, "JPEG")
    files = {"label": (b"", "label.png"), "exemplar": (photo, "e.jpg")}
    check_marks(files, schema)
    upright = {**files, "exemplar": (marked(np.zeros((32, width, 3), np.uint8), 1), "e.png")}
    check_marks({**upright, "exemplar_label": (b"", "f.png")}, schema)
    with pytest.raises(BadInput, match=r"e\.jpg has an EXIF mark that has it turned by 90°, and f\.png may .* anew"):
        check_marks({**files, "exemplar_label": (b"", "f.png")}, schema)


def test_the_size_of_an_exemplar_s_label_map_tells() -> None:
    photo = marked(np.zeros((48, 32, 3), np.uint8), 6, "JPEG")
    check_marks({"exemplar": (photo, "e.jpg"), "exemplar_label": (b"", "f.png")}, standard_schema("classes", 32, 48))
