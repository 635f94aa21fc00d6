"""`python -m shards label`: the files that batch, service and page take."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from shards.__main__ import main
from shards.labels import standard_schema
from shards.media.pictures import encode_picture, read_picture
from shards.operators.labelling import Labelling
from shards.operators.sample_files import Preparing, load_files
from shards.preparation import Preparation
from tests.photographs import photographs, write_photos


def test_a_portrait_becomes_a_picture_landmarks_and_a_label_map_to_look_at(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    photo = pytest.importorskip("skimage.data").astronaut()
    (tmp_path / "photos" / "crew").mkdir(parents=True)
    (tmp_path / "photos" / "crew" / "eileen.png").write_bytes(encode_picture(photo))
    out = tmp_path / "out"
    assert main(["label", str(tmp_path / "photos"), "--out", str(out), "--predictor", "mediapipe"]) == 0
    assert {path.name for path in (out / "crew").iterdir()} == {"eileen.png", "eileen.json", "eileen.label.png"}
    points = np.array(json.loads((out / "crew" / "eileen.json").read_text())["landmarks"])
    # Aligned: the eyes level, 0.1 of their distance from the mouth above the middle, which is between them.
    eyes = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)])
    assert abs(eyes[0, 1] - eyes[1, 1]) < 12 and abs(eyes[:, 0].mean() - 256) < 4
    assert read_picture(out / "crew" / "eileen.png").shape == (256, 256, 3)
    # What is written is what a model of such pictures takes as it is.
    schema = standard_schema("sketch", 256, 256)
    files = {"label": "eileen.json", "exemplar": "eileen.png", "exemplar_label": "eileen.json"}
    given = {name: [((out / "crew" / file).read_bytes(), file)] for name, file in files.items()}
    loaded = load_files(given, Preparing(Labelling("auto", schema), tuple(files), 8))
    np.testing.assert_array_equal(loaded["exemplar"], read_picture(out / "crew" / "eileen.png"))
    np.testing.assert_array_equal(loaded["label"], loaded["exemplar_label"])


def test_like_the_pictures_of_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / "photos")
    pack = ["pack", "--dataset", "photos", "--source", str(tmp_path / "photos"), "--labels", "edges", "--pairs", "4"]
    assert main([*pack, "--size", "48x32", "--out", str(tmp_path / "shards"), "--workers", "1"]) == 0
    photo = tmp_path / "photos" / "coffee" / "0.png"
    photo = photo if photo.is_file() else photo.with_suffix(".jpg")
    assert main(["label", str(photo), "--like", str(tmp_path / "shards"), "--out", str(tmp_path / "out")]) == 0
    edges = cv2.imread(str(tmp_path / "out" / "0.label.png"), cv2.IMREAD_UNCHANGED)
    assert edges.shape == (32, 48) and {*np.unique(edges)} == {0, 255}
    assert not (tmp_path / "out" / "0.json").exists()
    capsys.readouterr()
    assert main(["label", str(photo), "--like", str(tmp_path / "shards"), "--out", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_what_cannot_be_labelled_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    blank = tmp_path / "blank.png"
    blank.write_bytes(encode_picture(np.full((99, 99, 3), 77, np.uint8)))
    for photos, message in (
        ([blank], "blank.png cannot be used: no face; choose another photo"),
        ([tmp_path / "none.jpg"], "none.jpg: there is no such photo"),
        ([blank, blank], "have one name"),
    ):
        command = ["label", *map(str, photos), "--out", str(tmp_path / "out"), "--predictor", "mediapipe"]
        assert main(command) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_persons_by_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Photos of one folder are of one style, and whole folders are held out."""
    from shards.records import load_manifest

    write_photos(tmp_path / "photos")
    pack = ["pack", "--dataset", "photos", "--source", str(tmp_path / "photos"), "--labels", "edges", "--size", "32"]
    pack += ["--pairs", "20", "--test-pairs", "4", "--test-fraction", "0.4", "--workers", "1", "--least-distance", "0"]
    where = ["--out", str(tmp_path / "train"), "--test-out", str(tmp_path / "test")]
    assert main([*pack, "--styles-by-folder", *where]) == 0
    sources = load_manifest(tmp_path / "train")[0].sources
    people = {split: {source.partition("/")[0] for source in names} for split, names in sources.items()}
    assert len(people["test"]) == 2 and people["train"] | people["test"] == {
        name.split("/")[0] for name in photographs()
    }
    assert not people["train"] & people["test"]
    capsys.readouterr()
    cv2.imwrite(str(tmp_path / "photos" / "alone.png"), np.zeros((40, 40, 3), np.uint8))
    where = ["--out", str(tmp_path / "other")]
    assert main([*pack[:-6], "--styles-by-folder", *where]) == 2
    assert "alone.png lies in no folder of its own" in capsys.readouterr().err


def test_styles_of_a_list_and_pictures_without_labels(tmp_path: Path) -> None:
    from shards.sources import photos, pictures

    write_photos(tmp_path / "images")
    names = [str(path.relative_to(tmp_path / "images")) for path in sorted((tmp_path / "images").rglob("*.*"))]
    lines = ["picture,style", *(f"{name},{name[0]}" for name in names)]
    (tmp_path / "images" / "styles.csv").write_text("\n".join(lines) + "\n")
    data = photos.find(tmp_path / "images")
    assert [item.style for item in data.items] == [name[0] for name in names]
    assert data.styled and data.split_by_style and not data.notes
    (tmp_path / "images" / "styles.csv").rename(tmp_path / "styles.csv")
    data = pictures.find(tmp_path)
    assert [(item.source, item.style, item.label) for item in data.items] == [
        (f"images/{n}", n[0], None) for n in names
    ]


def test_preparations_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / "photos")
    pack = ["pack", "--dataset", "photos", "--source", str(tmp_path / "photos"), "--labels", "edges", "--size", "32"]
    for more, message in (
        (["--crop", "aligned"], "--crop aligned is for --labels face-landmarks, not for edges"),
        (["--least-face", "50"], "--least-face 50 is for --labels face-landmarks, not for edges"),
        (["--margin", "2"], "--margin 2 is for --crop aligned of faces"),
        (["--labels", "face-landmarks", "--crop", "whole", "--margin", "2"], "--margin 2 is for --crop aligned"),
        (["--labels", "face-landmarks", "--margin", "7"], "a margin of 7.0 is not between 0.5 and 4"),
        (["--size", "33x32"], "picture width 33 is not a multiple of 16"),
    ):
        assert main([*pack, *more, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


def test_the_choice_travels_with_the_schema() -> None:
    from dataclasses import replace

    from shards.records import LabelSchema

    plain = standard_schema("sketch", 64, 64)
    assert "preparation" not in plain.to_json() and LabelSchema.from_json(plain.to_json()) == plain
    aligned = replace(plain, preparation=Preparation("aligned", 1.5))
    assert LabelSchema.from_json(json.loads(json.dumps(aligned.to_json()))) == aligned
    difference = aligned.difference(plain)
    assert difference is not None and "preparation is {'crop': 'aligned', 'margin': 1.5" in difference
