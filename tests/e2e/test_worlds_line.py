"""The line for the other two label kinds: dance (pose) and streets (class ids), with each method once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.batch import run as batch
from deploy.batch.open_pairs import open_pairs
from deploy.chain import Chain
from deploy.runtime import Session
from export.__main__ import main as export
from shards.inspection.verify import verify
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film
from trainer.config import Config
from trainer.loop import train


@pytest.mark.parametrize(
    ("world", "label", "size", "height", "method"),
    [("dance", "pose", 64, 64, "style_consistent"), ("streets", "classes", 256, 144, "pix2pixhd")],
)
def test_a_world_goes_the_whole_way(
    world: str, label: str, size: int, height: int, method: str, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    film(world, tmp_path / "videos", videos=6, seconds=0.5, size=size, seed=2)
    places = {"out": tmp_path / "train", "test_out": tmp_path / "test"}
    packing = Packing(tmp_path / "videos", preset("default"), pairs=8, size=size, test_pairs=4, test_fraction=0.4)
    pack(packing, **places)
    assert verify(tmp_path / "train").samples == 8
    config = small_config(
        method,
        images=2,
        data={
            "train": str(tmp_path / "train"),
            "test": str(tmp_path / "test"),
            "label": label,
            "height": height,
            "width": size,
            "workers": 0,
        },
    )
    assert train(config) == 0
    assert export(["--checkpoint", str(config.run), "--out", str(tmp_path / "model.onnx")]) == 0
    session = Session(tmp_path / "model.onnx")
    assert (session.schema.kind, session.schema.channels) == (label, 20)
    pairs = open_pairs(tmp_path / "test", session.schema, session.inputs)
    summary = batch.run(Chain.of(session), pairs, tmp_path / "pictures")
    assert summary["pictures"] == 4
