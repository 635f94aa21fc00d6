"""Small exported models for all tests of this room, and streets with instance maps."""

from pathlib import Path

import pytest

from export.__main__ import main
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film
from tests.conftest import write_tiny
from tests.photographs import write_photos, write_picture_pairs

ROOT = Path(__file__).parents[2]
SMALL = [
    "--data.height=32",
    "--data.width=32",
    "--options.generator_base=4",
    "--options.generator_downsamplings=2",
    "--options.generator_blocks=1",
]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained 32×32 sketch model, through the real gates."""
    out = tmp_path_factory.mktemp("model") / "model.onnx"
    config = str(ROOT / "trainer" / "configs" / "demo.yaml")
    assert main(["--config", config, "--untrained", "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture(scope="session")
def instanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained pix2pixHD that reads instances and their features, 128×64."""
    return _export(tmp_path_factory.mktemp("instanced"), "pix2pixhd", instances=True, features="instances")


@pytest.fixture(scope="session")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained MUNIT that reads a style code, 128×64."""
    folder = tmp_path_factory.mktemp("styled")
    return _export(folder, "munit", "--inputs", "label", "style", discriminator_scales=2)


@pytest.fixture(scope="session", params=["edges", "picture"])
def pictured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An untrained model whose label maps are pictures, 32×32, and shards of photographs with such label maps."""
    folder, kind = tmp_path_factory.mktemp("pictured"), request.param
    dataset, write = {"edges": ("photos", write_photos), "picture": ("picture-pairs", write_picture_pairs)}[kind]
    write(folder / "data")
    packing = Packing(folder / "data", preset("default"), dataset, pairs=6, size=32, operator=kind)
    pack(packing, folder / "shards")
    config, model = str(ROOT / "trainer" / "configs" / "demo.yaml"), folder / "model.onnx"
    given = ["--untrained", "--samples", str(folder / "shards"), "--out", str(model)]
    assert main(["--config", config, *given, f"--data.label={kind}", *SMALL]) == 0
    return model, folder / "shards"


def _export(folder: Path, method: str, *arguments: str, **options: object) -> Path:
    config = write_tiny(folder / "tiny.yaml", method, 64, 128, **options)
    out = folder / "model.onnx"
    assert main(["--config", str(config), "--untrained", "--out", str(out), *arguments]) == 0
    return out


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs of 128×64 streets with instance maps."""
    folder = tmp_path_factory.mktemp("streets")
    film("streets", folder / "videos", videos=2, seconds=0.5, size=256, seed=2)
    pack(Packing(folder / "videos", preset("default"), pairs=4, size=128), folder / "shards")
    return folder / "shards"
