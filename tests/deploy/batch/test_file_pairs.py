"""Pairs of files: label maps that are in two of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.batch.file_pairs import FilePairs, read_csv
from deploy.batch.open_pairs import open_pairs
from deploy.batch.outputs import Output
from deploy.batch.pairs import BadPair
from likeness.command import BadInput
from shards.labels import load, standard_schema
from shards.labels.kinds import POSE
from shards.records import Frame

SIDE = 32
INPUTS = ("label", "exemplar_label", "exemplar")
SCHEMA = standard_schema("pose", SIDE, SIDE, with_densepose=True)
POINTS = np.random.default_rng(0).uniform(0.1, 0.9, (18, 3))


def densepose(seed: int) -> np.ndarray:
    """V, U and the part, as DensePose's pictures hold them when they are read as RGB."""
    picture = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    picture[..., 2] %= 25
    return picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keypoints.json").write_text(json.dumps(POINTS.tolist()))
    for seed in (1, 2):
        cv2.imwrite(str(tmp_path / f"iuv{seed}.png"), densepose(seed)[..., ::-1])
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((SIDE, SIDE, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((16, 16, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "many.png"), np.full((SIDE, SIDE, 3), 25, np.uint8))
    return tmp_path


def as_csv(folder: Path, label: str, exemplar_label: str = "iuv1.png|keypoints.json") -> Path:
    (folder / "pairs.csv").write_text(f"label,exemplar_label,exemplar\n{label},{exemplar_label},photo.png\n")
    return folder / "pairs.csv"


def test_a_pose_with_densepose_is_given_by_two_files(folder: Path) -> None:
    """In the authors' order and in the other; as packing draws the same points and picture."""
    pairs = open_pairs(as_csv(folder, "iuv1.png|keypoints.json", "keypoints.json|iuv2.png"), SCHEMA, INPUTS)
    loaded = next(iter(pairs.jobs(lambda *_: True))).load()
    frame = Frame("", 0, 0.0, "", keypoints=tuple(tuple(point) for point in POINTS))
    for name, seed in (("label", 1), ("exemplar_label", 2)):
        np.testing.assert_array_equal(loaded[name], load(SCHEMA, frame, densepose(seed)))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("keypoints.json", r"in two files, a DensePose picture \(PNG\) and keypoints \(JSON\).*DENSEPOSE\.png\|KEYP"),
        ("iuv1.png", "in two files"),
        ("iuv1.png|iuv2.png", "in two files"),
        ("small.png|keypoints.json", r"small\.png is 16×16 pixels, but the model takes 32×32"),
        ("many.png|keypoints.json", r"many\.png names part 25"),
    ],
)
def test_half_of_such_a_label_map_is_refused(label: str, message: str, folder: Path) -> None:
    pairs = open_pairs(as_csv(folder, label), SCHEMA, INPUTS)
    with pytest.raises(BadPair, match=message):
        next(iter(pairs.jobs(lambda *_: True))).load()


def test_each_of_the_files_must_be_there(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"line 2: there is no label file .*/none\.json"):
        open_pairs(as_csv(folder, "iuv1.png|none.json"), SCHEMA, INPUTS)


def test_a_changed_file_changes_the_pair(folder: Path) -> None:
    file = as_csv(folder, "iuv1.png|keypoints.json")
    pairs = open_pairs(file, SCHEMA, INPUTS)
    assert isinstance(pairs, FilePairs)
    (output,) = read_csv(file, INPUTS, INPUTS, Output(), 0)
    before = pairs.mark(output)
    (folder / "keypoints.json").write_text(json.dumps(POINTS.tolist()) + "\n")
    assert pairs.mark(output) != before


def test_a_bar_in_a_name_is_part_of_it(folder: Path) -> None:
    (folder / "a|b.json").write_text(json.dumps(POINTS.tolist()))
    schema = standard_schema("pose", SIDE, SIDE)
    pairs = open_pairs(as_csv(folder, "a|b.json", "keypoints.json"), schema, INPUTS)
    loaded = next(iter(pairs.jobs(lambda *_: True))).load()
    np.testing.assert_array_equal(loaded["label"], loaded["exemplar_label"])


def test_other_label_maps_are_in_one_file(folder: Path) -> None:
    content = (folder / "keypoints.json").read_bytes()
    with pytest.raises(BadInput, match="second is one file too many"):
        POSE.decode_files(standard_schema("pose", SIDE, SIDE), [(content, "first"), (content, "second")])


def test_folders_are_walked_as_packing_walks_them(folder: Path, tmp_path: Path) -> None:
    """Links to folders are followed, names match however they are spelled, and what is not read is counted."""
    pairs, elsewhere = tmp_path / "pairs", tmp_path / "elsewhere"
    for inside in ("label/caf\u00e9", "exemplar_label", "features"):
        (pairs / inside).mkdir(parents=True)
    (elsewhere / "cafe\u0301").mkdir(parents=True)
    points, photo = (folder / "keypoints.json").read_bytes(), (folder / "photo.png").read_bytes()
    (pairs / "label/caf\u00e9/1.json").write_bytes(points)
    (pairs / "label/loop").symlink_to(pairs / "label")
    (pairs / "label/._1.json").write_bytes(b"\0")
    (pairs / "label/.hidden").mkdir()
    (pairs / "label/gone").symlink_to(tmp_path / "nothing")
    (pairs / "exemplar_label/all.json").write_bytes(points)
    (elsewhere / "cafe\u0301/1.png").write_bytes(photo)
    (elsewhere / "cafe\u0301/caf\u00e9-2.png").write_bytes(photo)
    (pairs / "label/caf\u00e9/cafe\u0301-2.json").write_bytes(points)
    (pairs / "exemplar").symlink_to(elsewhere)
    (pairs / ".DS_Store").touch()
    opened = open_pairs(pairs, standard_schema("pose", SIDE, SIDE), INPUTS)
    jobs = list(opened.jobs(lambda *_: True))
    assert [job.output for job in jobs] == ["caf\u00e9/1.png", "caf\u00e9/caf\u00e9-2.png"]
    assert all(set(job.load()) == set(INPUTS) for job in jobs)
    assert opened.notes == (
        "not used: 1 dead links (gone); 1 folders of inputs that the model does not read (features); "
        "3 hidden (.DS_Store, ._1.json, .hidden); 1 links to a folder that they lie in (loop)",
    )


def test_a_table_may_spell_names_in_another_form(folder: Path) -> None:
    (folder / "cafe\u0301.json").write_text(json.dumps(POINTS.tolist()))
    pairs = open_pairs(as_csv(folder, "iuv1.png|caf\u00e9.json", "iuv1.png|cafe\u0301.json"), SCHEMA, INPUTS)
    assert isinstance(pairs, FilePairs)
    (job,) = pairs.jobs(lambda *_: True)
    loaded = job.load()
    np.testing.assert_array_equal(loaded["label"], loaded["exemplar_label"])
    before = pairs.mark(job.output)
    (folder / "cafe\u0301.json").write_text(json.dumps(POINTS.tolist()) + "\n")
    assert pairs.mark(job.output) != before
