"""Settings for the whole suite; real shards, small, and the config of a small run on them."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film
from trainer.config import Config, validate
from trainer.methods import find

# Shared machines stall at random; a slow example is no defect.
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
for _number in (signal.SIGINT, signal.SIGHUP):
    # Shells and nohup have what runs in the background ignore them, and what the tests start would inherit that.
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

TINY = {
    "generator_base": 4,
    "generator_downsamplings": 2,
    "generator_blocks": 1,
    "discriminator_base": 4,
    "discriminator_scales": 2,
    "encoder_base": 4,
    "hidden": 4,
    "settling": 8,
}


def _tiny_options(method: str) -> dict[str, int]:
    return {name: size for name, size in TINY.items() if name in find(method).options_type.model_fields}


@pytest.fixture(scope="session")
def tiny_options() -> Callable[[str], dict[str, int]]:
    """The sizes of TINY that a method knows, so that a new method is tested without being listed anywhere."""
    return _tiny_options


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train` and `test` shards of 32×32 faces, three training shards."""
    folder = tmp_path_factory.mktemp("packed")
    film("faces", folder / "videos", videos=6, seconds=1, size=64, seed=3)
    packing = Packing(
        folder / "videos", preset("default"), pairs=20, size=32, test_pairs=8, test_fraction=0.34, samples_per_shard=7
    )
    pack(packing, folder / "train", folder / "test")
    return folder


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, to be copied: MLflow takes seconds to make its tables."""
    import mlflow

    file = tmp_path_factory.mktemp("tracked") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def small_config(packed: Path, tracked: Path, tmp_path: Path) -> Callable[..., Config]:
    """A maker of configs: a method's name, then settings to change, by dotted name."""
    shutil.copyfile(tracked, tmp_path / "mlflow.db")

    def make(method: str, **changes: Any) -> Config:
        data: dict[str, Any] = {
            "method": method,
            "run": str(tmp_path / "run"),
            "images": 8,
            "batch": 2,
            "options": _tiny_options(method),
            "perceptual": {"weights": "random:0", "divisor": 16, "resize_below": 0},
            "optimizer": {"learning_rate": 1e-3},
            "checkpoint": {"every": 4},
            "tracking": {
                "uri": f"sqlite:///{tmp_path}/mlflow.db",
                "log_every": 2,
            },
            "evaluation": {"every": 8, "pairs": 8, "grid_rows": 2},
            "data": {
                "train": str(packed / "train"),
                "test": str(packed / "test"),
                "label": "sketch",
                "height": 32,
                "width": 32,
                "workers": 0,
            },
        }
        for key, value in changes.items():
            *sections, name = key.split("__")
            section = data
            for part in sections:
                section = section[part]
            section[name] = value
        return validate(data, "test")

    return make


def write_tiny(path: Path, method: str, height: int, width: int, **options: Any) -> Path:
    """The config of a tiny method on class maps, to be exported untrained; options: beside the sizes of TINY."""
    config = {
        **{"method": method, "run": str(path.parent / "run"), "images": 8, "batch": 2},
        "data": {"train": "none", "test": "none", "label": "classes", "height": height, "width": width},
        "options": {**_tiny_options(method), **options},
    }
    path.write_text(yaml.safe_dump(config))
    return path
