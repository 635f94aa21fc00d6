"""Real photographs go the whole way: as pictures made of their edges, and of pictures painted after them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.batch import run as batch
from deploy.batch.open_pairs import open_pairs
from deploy.chain import Chain
from deploy.runtime import Session
from export.__main__ import main as export
from shards.__main__ import main
from shards.labels.kinds import KINDS, kind_of
from shards.reading.samples import decode, iter_samples
from shards.records import load_manifest
from tests import photographs
from trainer.config import Config
from trainer.loop import train

SIZE = 64
DATASETS: dict[str, tuple[str, Callable[[Path], None], list[str], int]] = {
    "edges": ("photos", photographs.write_photos, ["--labels", "edges"], 1),
    "picture": ("picture-pairs", photographs.write_picture_pairs, [], 3),
}


@pytest.mark.parametrize("method", ["style_consistent", "pix2pixhd"])
@pytest.mark.parametrize("kind", DATASETS)
def test_photographs_become_pictures(
    kind: str, method: str, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    dataset, write, more, channels = DATASETS[kind]
    write(tmp_path / "data")
    places = {name: str(tmp_path / name) for name in ("train", "test")}
    command = ["pack", "--dataset", dataset, "--source", str(tmp_path / "data"), "--size", str(SIZE), *more]
    command += ["--out", places["train"], "--test-out", places["test"], "--test-fraction", "0.34", "--workers", "1"]
    assert main([*command, "--pairs", "8", "--test-pairs", "4"]) == 0
    for folder in places.values():
        assert main(["verify", folder]) == 0
    assert main(["inspect", places["train"], "--rows", "3"]) == 0
    sheet = cv2.imread(f"{places['train']}-sheet.png")
    assert sheet is not None and sheet.shape[1] > 7 * 190
    assert main(["doctor", "--data", places["train"], "--batch", "2"]) == 0
    manifest, folder_of_shards = load_manifest(Path(places["train"]))
    schema = manifest.schema
    assert kind_of(schema) is KINDS[kind] and schema.channels == channels
    labels = np.stack(
        [decode(members, schema).labels["target"] for _, members in iter_samples(folder_of_shards, manifest)]
    )
    assert labels.shape == (8, channels, SIZE, SIZE) and labels.dtype == np.uint8
    assert 0.02 < (labels > 127).mean() < 0.6

    data = {**places, "label": kind, "height": SIZE, "width": SIZE, "workers": 0}
    config = small_config(method, images=4, data=data)
    assert train(config) == 0
    assert export(["--checkpoint", str(config.run), "--out", str(tmp_path / "model.onnx")]) == 0
    session = Session(tmp_path / "model.onnx")
    assert session.schema == schema
    pairs = open_pairs(places["test"], schema, session.inputs)
    assert batch.run(Chain.of(session), pairs, tmp_path / "from-shards")["pictures"] == 4
    _write_files(Path(places["test"]), tmp_path / "files")
    pairs = open_pairs(tmp_path / "files", schema, session.inputs)
    assert batch.run(Chain.of(session), pairs, tmp_path / "from-files")["pictures"] == 4
    for path in sorted((tmp_path / "from-files").glob("*.png")):
        pixels = cv2.imread(str(path))
        assert pixels.shape == (SIZE, SIZE, 3)
        np.testing.assert_array_equal(pixels, cv2.imread(str(tmp_path / "from-shards" / path.name)))


def _write_files(shards: Path, folder: Path) -> None:
    """The inputs in shards as the files that a person would give, in a folder for each input."""
    manifest, place = load_manifest(shards)
    for _, members in iter_samples(place, manifest):
        for name, member in {
            "label": "target.label.png",
            "exemplar_label": "exemplar.label.png",
            "exemplar": "exemplar.jpg",
        }.items():
            path = folder / name / f"{members['__key__'].decode()}{Path(member).suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(members[member])
