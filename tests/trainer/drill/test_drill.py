"""Runs that are killed again and again end with the weights of one that was not."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.config import Config
from trainer.drill.outcome import compare, drill
from trainer.loop import train

ROOT = Path(__file__).parents[3]
MakeConfig = Callable[..., Config]


def test_the_drill_finds_every_tensor_equal(tmp_path: Path) -> None:
    outcome = drill(tmp_path, kills=2, seed=5, quiet=True)
    assert outcome.passed, outcome
    assert outcome.tensors > 100


def test_the_drill_sees_one_changed_bit(small_config: MakeConfig, tmp_path: Path) -> None:
    first, second = (small_config("pix2pixhd", images=4, run=str(tmp_path / name)) for name in ("first", "second"))
    train(first)
    train(second)
    assert compare(first.run, second.run)[1] == []
    third = small_config("pix2pixhd", images=4, seed=1, run=str(tmp_path / "third"))
    train(third)
    assert len(compare(first.run, third.run)[1]) > 10


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_twenty_of_twenty(processes: int) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "trainer.drill",
            "--kills",
            "20",
            "--seed",
            "7",
            "--processes",
            str(processes),
            "--json",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    outcome = json.loads(done.stdout)
    assert done.returncode == 0 and outcome["passed"] and len(outcome["kills"]) == 20, outcome
