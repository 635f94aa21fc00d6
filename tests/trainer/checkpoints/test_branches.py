"""A run's folder holds what the run wrote, and what people put there: both are safe when training goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.checkpoints.files import BEST, LATEST, LEFT, Checkpoint, find, folder_of, leave_branch, prune, written
from trainer.config import Config
from trainer.loop import train

MakeConfig = Callable[..., Config]


def content_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def run(small_config: MakeConfig) -> tuple[Config, Path]:
    """A run of 8 images with checkpoints at 4 and 8."""
    config = small_config("pix2pixhd", images=8, checkpoint={"every": 4, "keep": 2})
    assert train(config) == 0
    assert [*written(config.run)] == [4, 8]
    return config, config.run


def test_what_others_put_beside_checkpoints_is_never_deleted(run: tuple[Config, Path], tmp_path: Path) -> None:
    _, folder = run
    kept = folder / "checkpoint-best-so-far"
    shutil.copytree(folder_of(folder, 8), kept)
    copied = folder_of(folder, 99)
    shutil.copytree(folder_of(folder, 8), copied)  # says itself that it is of 8 images
    archive = folder / "checkpoint-0000000001.tar"
    archive.write_bytes(b"an archive")
    empty = folder_of(folder, 2)
    empty.mkdir()
    before = content_of(kept)
    prune(folder, keep=1)
    assert [*written(folder)] == [8]
    assert content_of(kept) == before and copied.is_dir() and archive.read_bytes() == b"an archive" and empty.is_dir()
    assert not [path for path in folder.iterdir() if path.name.endswith("-deleted")]
    assert find(folder) == folder_of(folder, 8)


def test_what_latest_and_best_name_stays(run: tuple[Config, Path]) -> None:
    _, folder = run
    (folder / BEST).write_text(folder_of(folder, 4).name + "\n")
    prune(folder, keep=1)
    assert [*written(folder)] == [4, 8]
    (folder / BEST).unlink()
    (folder / LATEST).write_text(folder_of(folder, 4).name + "\n")
    prune(folder, keep=1)
    assert [*written(folder)] == [4, 8]


def test_going_on_from_an_earlier_checkpoint_leaves_the_other_branch(
    run: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = run
    (folder / BEST).write_text(folder_of(folder, 8).name + "\n")
    before = content_of(folder_of(folder, 8))
    other = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": 1e-2})})
    assert train(other, resume=str(folder_of(folder, 4))) == 0
    assert "1 checkpoints of the branch that is left" in capsys.readouterr().err
    assert content_of(folder / LEFT / folder_of(folder, 8).name) == before, "nothing is lost"
    assert find(folder) == folder_of(folder, 8)
    digests = {Checkpoint(place / folder_of(folder, 8).name).state.digest for place in (folder, folder / LEFT)}
    assert len(digests) == 2, "the new branch has its own checkpoint at 8 images"

    assert train(config, resume=str(folder_of(folder, 4))) == 0
    assert sorted(path.name for path in (folder / LEFT).iterdir()) == [
        folder_of(folder, 8).name,
        f"{folder_of(folder, 8).name}-2",
    ]


def test_a_branch_that_is_left_is_neither_latest_nor_best(run: tuple[Config, Path]) -> None:
    _, folder = run
    (folder / BEST).write_text(folder_of(folder, 8).name + "\n")
    assert leave_branch(folder, folder_of(folder, 4), 4) == [folder / LEFT / folder_of(folder, 8).name]
    assert find(folder) == folder_of(folder, 4) and not (folder / BEST).exists()
    assert leave_branch(folder, folder_of(folder, 4), 4) == []


def test_going_on_from_the_latest_leaves_nothing(run: tuple[Config, Path]) -> None:
    config, folder = run
    longer = config.model_copy(update={"images": 12})
    assert train(longer, resume="latest") == 0
    assert [*written(folder)] == [8, 12] and not (folder / LEFT).exists()


def test_going_on_from_another_run_leaves_this_one_s_own_checkpoints(run: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = run
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder_of(folder, 8), elsewhere / folder_of(folder, 8).name)
    longer = config.model_copy(update={"images": 12})
    assert train(longer, resume=str(elsewhere / folder_of(folder, 8).name)) == 0
    assert [*written(folder)] == [4, 12]
    assert [path.name for path in (folder / LEFT).iterdir()] == [folder_of(folder, 8).name]
    assert (elsewhere / folder_of(folder, 8).name).is_dir()
