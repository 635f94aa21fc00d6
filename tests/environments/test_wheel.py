"""The wheel holds what the commands need, and they work in any folder."""

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.environments.theirs import put_modules
from tests.test_house import ROOMS

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command of the installed wheel in an empty folder."""
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([python, *command.split()], cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def test_everything_below_the_packages_is_in_the_wheel(source: Path, wheel: Path) -> None:
    """Presets of configs and of launches, pages, scripts, lists of classes: all that is no text for readers."""
    wanted = {
        path.relative_to(source).as_posix()
        for package in ROOMS
        for path in (source / package).rglob("*")
        if path.is_file() and path.suffix != ".md" and path.name != "Dockerfile"
    }
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_modules_of_the_same_names_in_the_working_folder_are_left_alone(run: Run, tmp_path: Path) -> None:
    put_modules(tmp_path, "trainer", "queue")
    for command in (
        "-Wdefault::ImportWarning -um export --help",
        "-m deploy --help",
        "-mshards pack --help",
        "-P -m trainer.counts --help",
    ):
        done = run(command)
        assert done.returncode == 0, done.stderr
    done = run("-m export --config nothing.yaml --untrained --out model.onnx")
    assert done.returncode == 2 and "no config at nothing.yaml" in done.stderr, done.stderr
    # What Python itself finds first cannot be ours.
    assert "theirs" in run("-m trainer.counts --help").stderr


def test_programs_that_import_ours_keep_their_own_modules(run: Run, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("print('beside')", encoding="utf-8")
    (tmp_path / "program.py").write_text("import deploy, beside", encoding="utf-8")
    for command in ("-m program", "program.py"):
        assert run(command).stdout == "beside\n"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (
            "-m trainer.launch --config_file trainer/accelerate/gpu1.yaml --cpu trainer/run.py --help",
            0,
            "--perceptual.weights",
        ),
        ("-m shards pack --classes shards/sources/pix2pixsc-street-classes.json --source v --out o", 2, "v"),
    ],
)
def test_files_that_come_with_the_wheel_go_by_their_names_in_the_documents(
    run: Run, command: str, code: int, said: str
) -> None:
    done = run(command)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "pix2pixsc" not in done.stderr
