"""A small exported model for all tests of this room."""

from pathlib import Path

import pytest

from export.__main__ import main

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
