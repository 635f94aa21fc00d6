"""Weights with the published names and shapes of dance and street, all the documented way to pictures from a table."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.__main__ import main as deploy
from export.__main__ import main as export
from shards.__main__ import main as shards
from shards.labels.kinds import kind_of
from shards.records import load_manifest
from shards.sources import pictures
from shards.worlds.film import film
from tests.shards.operators.test_operators import write_openpose
from tests.shards.sources.dataset_fixtures import write_bdd100k
from tests.trainer.convert.published import Global, saved, stirred
from trainer.convert.__main__ import main as convert

SIDE = 32
STREET_CLASSES = Path(pictures.__file__).with_name("pix2pixsc-street-classes.json")
Files = tuple[str, str, str]
"""A row of the table: label, exemplar_label, exemplar."""


def dance(root: Path) -> tuple[list[str], Files]:
    """Videos with OpenPose's and DensePose's files: the options of `shards pack`, and a pair in files."""
    film("dance", root / "videos", videos=2, seconds=0.3, size=SIDE, seed=1)
    (root / "iuv").mkdir()
    (root / "world").mkdir()
    for video in sorted((root / "videos").glob("*.mp4")):
        for entry in json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))["frames"]:
            points = np.array(entry["keypoints"])
            write_openpose(root / "json", entry["number"], (points * (SIDE, SIDE, 1)).ravel().tolist(), stem=video.stem)
            iuv = np.zeros((SIDE, SIDE, 3), np.uint8)
            iuv[10:25, 12:20] = (1 + entry["number"] % 24, 100, 200)
            cv2.imwrite(str(root / "iuv" / f"{video.stem}_{entry['number']:012d}_IUV.png"), iuv)
            (root / "points.json").write_text(json.dumps(points.tolist()), encoding="utf-8")
        # What OpenPose and DensePose see is asked for, not what the world knows.
        video.with_suffix(".json").rename(root / "world" / f"{video.stem}.json")
    (root / "iuv.png").write_bytes(next((root / "iuv").iterdir()).read_bytes())
    cv2.imwrite(str(root / "photo.png"), np.full((SIDE, SIDE, 3), 90, np.uint8))
    options = ["--source", str(root / "videos"), "--labels", "pose", "--openpose", str(root / "json")]
    row = ("iuv.png|points.json", "points.json|iuv.png", "photo.png")
    return [*options, "--densepose", str(root / "iuv"), "--every", "1", "--size", str(SIDE)], row


def street(root: Path) -> tuple[list[str], Files]:
    """BDD100K's files, with the channels of the published weights."""
    write_bdd100k(root / "bdd100k", pictures=4)
    ids = np.zeros((SIDE, 2 * SIDE), np.uint8)
    ids[:10], ids[-3:] = 10, 255
    cv2.imwrite(str(root / "ids.png"), ids)
    cv2.imwrite(str(root / "photo.png"), np.full((SIDE, 2 * SIDE, 3), 90, np.uint8))
    options = ["--source", str(root / "bdd100k"), "--dataset", "bdd100k", "--size", str(2 * SIDE)]
    return [*options, "--classes", str(STREET_CLASSES)], ("ids.png", "ids.png", "photo.png")


@pytest.mark.parametrize(("files", "channels"), [(dance, 49), (street, 87)])
def test_dance_and_street_weights_paint(
    files: Callable[[Path], tuple[list[str], Files]], channels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, row = files(tmp_path)
    packed, model = tmp_path / "shards", tmp_path / "model.onnx"
    assert shards(["pack", *options, "--out", str(packed), "--pairs", "4", "--workers", "1"]) == 0
    folder = next(file.parent for file in sorted(packed.rglob("manifest.json")))
    assert 2 * load_manifest(folder)[0].schema.channels + 3 == channels
    weights = saved(stirred(Global(channels)).state_dict(), tmp_path / "latest_net_G.pth")
    converted = str(tmp_path / "checkpoint")
    assert convert(["style-consistent", str(weights), "--schema", str(folder), "--out", converted]) == 0
    assert export(["--checkpoint", converted, "--samples", str(folder), "--out", str(model)]) == 0
    for command in ("serve", "demo") if kind_of(load_manifest(folder)[0].schema).points else ():
        capsys.readouterr()
        assert deploy([command, "--model", str(model), "--port", "0"]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "`python -m deploy batch`, as DENSEPOSE.png|KEYPOINTS.json in a CSV" in said
    (tmp_path / "pairs.csv").write_text(f"label,exemplar_label,exemplar\n{','.join(row)}\n", encoding="utf-8")
    for pairs, count in ((tmp_path / "pairs.csv", 1), (folder, 4)):
        out = tmp_path / f"painted-{count}"
        assert deploy(["batch", "--model", str(model), "--pairs", str(pairs), "--out", str(out)]) == 0
        painted = [cv2.imread(str(file)) for file in sorted(out.glob("*.png"))]
        assert len(painted) == count and all(len(picture) == SIDE for picture in painted)
        assert min(picture.std() for picture in painted) > 1
