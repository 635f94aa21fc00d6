"""Folders that people have: photographs, and pairs of pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from likeness.command import BadInput
from shards.media.boxes import resized
from shards.operators.labelling import Labelling
from shards.operators.photos import labelled_photos
from shards.packing.pairs import preset
from shards.packing.plan import Packing, plan_of
from shards.sources import photos, picture_pairs
from tests.photographs import NAMES, PARTS, painted, photographs, write_photos, write_picture_pairs


def test_a_folder_of_photos(tmp_path: Path) -> None:
    write_photos(tmp_path)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "thumb.jpg").write_bytes(b"")
    found = photos.find(tmp_path)
    assert len(found.items) == len(NAMES) * PARTS and found.classes is None and not found.styled
    assert [item.source for item in found.items] == sorted(item.source for item in found.items)
    assert all(item.style == item.source and item.still and item.label is None for item in found.items)
    with pytest.raises(BadInput, match="there is no such folder; give a folder of photos"):
        photos.find(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no files that end in"):
        photos.find(tmp_path / "empty")


def test_pairs_of_pictures(tmp_path: Path) -> None:
    write_picture_pairs(tmp_path)
    found = picture_pairs.find(tmp_path)
    assert found.styled and found.classes is None
    assert {item.style for item in found.items} == set(NAMES)
    plan = plan_of(Packing(tmp_path, preset("default"), "picture-pairs", size=64), held_out=False)
    assert plan.preprocessing.labelling.operator == "picture" and plan.schema.channels == 3
    item = found.items[0]
    (photo,) = labelled_photos(item, Labelling("picture", plan.schema))
    part = photographs()[item.source.removeprefix("images/").removesuffix(".jpg")]
    side = min(part.shape[:2])
    top, left = ((length - side) // 2 for length in part.shape[:2])
    label = painted(part)[top : top + side, left : left + side]
    assert photo.label_picture is not None
    np.testing.assert_array_equal(photo.label_picture, resized(label, 64, 64))
    (tmp_path / "styles.csv").unlink()
    assert not picture_pairs.find(tmp_path).styled


def test_pairs_that_are_none(tmp_path: Path) -> None:
    write_picture_pairs(tmp_path)
    label = tmp_path / "labels" / NAMES[0] / "0.png"
    assert cv2.imwrite(str(label), np.zeros((8, 8, 3), np.uint8))
    found = picture_pairs.find(tmp_path)
    schema = plan_of(Packing(tmp_path, preset("default"), "picture-pairs", size=64), held_out=False).schema
    item = next(item for item in found.items if item.label == label)
    with pytest.raises(BadInput, match=r"is 8×8 pixels, but its photo .* the two must have one size"):
        list(labelled_photos(item, Labelling("picture", schema)))
    label.unlink()
    with pytest.raises(BadInput, match=r"its label .* is missing"):
        picture_pairs.find(tmp_path)
