"""The wheel holds what the commands need."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.test_house import ROOMS, ROOT


def test_everything_below_the_packages_is_in_the_wheel(tmp_path: Path) -> None:
    """Presets of configs and of launches, pages, scripts, lists of classes: all that is no text for readers."""
    source = tmp_path / "source"
    for package in ROOMS:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("likeness-*.whl")
    wanted = {
        path.relative_to(source).as_posix()
        for package in ROOMS
        for path in (source / package).rglob("*")
        if path.is_file() and path.suffix != ".md"
    }
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()
