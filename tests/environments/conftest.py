"""An environment of its own that holds the wheel, and a model to serve."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from export.__main__ import main
from tests.conftest import write_tiny
from tests.test_house import ROOMS, ROOT


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and what a wheel is built of."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    for package in ROOMS:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return source


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", source.parent, source], check=True)
    (wheel,) = source.parent.glob("likeness-*.whl")
    return wheel


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel, and borrows every other package from this one."""
    environment = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python*/site-packages")
    # As a folder of the path: what makes this clone importable there is not read.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True)
    # Other users, too, run what is installed here.
    for folder in (environment, environment.parent):
        folder.chmod(0o755)
    return python


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of 32×32 class maps."""
    folder = tmp_path_factory.mktemp("model")
    config = write_tiny(folder / "config.yaml", "style_consistent", 32, 32)
    out = folder / "model.onnx"
    assert main(["--config", str(config), "--untrained", "--force", "--out", str(out)]) == 0
    return out
