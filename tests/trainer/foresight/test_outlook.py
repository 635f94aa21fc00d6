"""Settings that together train nothing are refused; where a run makes less of them than they say, it says so."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from likeness.command import BadInput, run_command
from trainer import run
from trainer.config import load
from trainer.foresight import outlook
from trainer.players.ema import MovingAverages
from trainer.schedules import Schedule

CONFIGS = Path(__file__).parents[3] / "trainer" / "configs"
FACE = CONFIGS / "face.yaml"
LAYERS = [
    *([preset] for preset in sorted(CONFIGS.glob("*.yaml"))),
    *(
        [CONFIGS / "spade-streets.yaml" if ablation.stem.startswith("spade_") else FACE, ablation]
        for ablation in sorted((CONFIGS / "ablations").glob("*.yaml"))
    ),
    *(
        [folder / "run.yaml", method]
        for folder in sorted((CONFIGS / "tables").iterdir())
        for method in sorted(folder.glob("*.yaml"))
        if method.name != "run.yaml"
    ),
]


@pytest.mark.parametrize("layers", LAYERS, ids=lambda layers: "+".join(file.stem for file in layers))
def test_shipped_settings_go_together(layers: list[Path]) -> None:
    config = load(layers)
    outlook.check(config)
    assert [*outlook.surprises(config)] == []


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("face", ["--images", "2000000"], "from 1,000,000 on the learning rate is 0 .*set images to 1000000, or"),
        ("face", ["--optimizer.constant_images", "0", "--optimizer.decay_images", "1000"], "from 1,000 on"),
        # The schedule is counted from the end of the coarse stage.
        ("pix2pixhd-2048", ["--images", "900000"], "from 892,500 on the learning rate is 0"),
        ("munit", ["--optimizer.halve_every", "100"], "from 3,000 on optimizer.halve_every 100 leaves next to nothing"),
        ("face", ["--faults.max_skipped", "1000"], "faults.max_skipped 1000: .* would never end"),
        ("face", ["--data.cache_gb", "5"], "data.cache_gb 5 limits nothing without data.cache"),
    ],
)
def test_what_trains_nothing_is_refused(preset: str, overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        outlook.check(load(CONFIGS / f"{preset}.yaml", overrides))
    assert "\n" not in str(caught.value)


def test_what_is_refused_is_what_trains_nothing() -> None:
    """The last step that is allowed has a learning rate, the first that is refused has none."""
    schedule = Schedule(500_000, 500_000)
    outlook.check(load(FACE, ["--images", "1000000"]))
    assert schedule.at(999_999) > 0
    with pytest.raises(BadInput):
        outlook.check(load(FACE, ["--images", "1000001"]))
    assert schedule.at(1_000_000) == 0
    # The last of steps of eight begins before the end.
    outlook.check(load(FACE, ["--images", "1000001", "--batch", "2", "--optimizer.decay_images", "500001"]), ranks=4)


@pytest.mark.parametrize(
    ("preset", "images"), [("face", 3_000_000), ("face", 30_000), ("pix2pixhd-2048", 1_200_000), ("street", 50_000)]
)
def test_the_remedy_that_is_named_works(preset: str, images: int) -> None:
    file = CONFIGS / f"{preset}.yaml"
    changed = ["--images", str(images), "--evaluation.every", "1", "--checkpoint.every", "1"]
    config = load(file, changed)
    said = [*outlook.problems(config), *outlook.surprises(config)]
    line = next(line for line in said if "--optimizer" in line)
    remedy = shlex.split(line[line.index("--optimizer") :])
    mended = load(file, [*changed, *remedy])
    assert mended.optimizer.constant_images != config.optimizer.constant_images
    outlook.check(mended)
    assert [*outlook.surprises(mended)] == []


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("face", ["--images", "10000"], "ends at 100% of its learning rate: .* --optimizer.constant_images 5000 "),
        ("face", ["--images", "750000"], "ends at 50% of its learning rate"),
        ("face", ["--images", "200000"], "options.style_phases: what begins at 250,000 images never begins"),
        ("face", ["--options.style_phases", "[[0, 0]]"], "is 0 from beginning to end"),
        ("pix2pixhd-2048", ["--images", "1000"], "a stage begins after 595,000 images"),
        ("demo", ["--evaluation.every", "20000"], "evaluation.every 20000 is more than this run's 14400"),
        ("demo", ["--checkpoint.every", "20000"], "checkpoint.every 20000 .* a kill loses all"),
        ("demo", ["--tracking.log_every", "20000"], "logged once, at the end"),
        ("munit", ["--optimizer.halve_every", "2000000"], "the learning rate is never halved"),
        ("demo", ["--images", "14401"], "no multiple of a step's 8: the last step goes on to 14408"),
    ],
)
def test_what_surprises_is_said(preset: str, overrides: list[str], message: str) -> None:
    config = load(CONFIGS / f"{preset}.yaml", overrides)
    outlook.check(config)
    assert re.search(message, "\n".join(outlook.surprises(config)))


def test_a_rate_that_is_told_to_stay_constant_surprises_nobody() -> None:
    small = ["--images", "40000", "--optimizer.constant_images", "40000", "--options.style_phases", "[[0, 1]]"]
    assert [*outlook.surprises(load(FACE, [*small, "--checkpoint.every", "1000"]))] == []


def test_a_dry_run_says_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run.py", "--config", str(CONFIGS / "demo.yaml"), "--dry-run"]
    monkeypatch.setattr(sys, "argv", [*command, "--images", "20000"])
    assert run_command(run.main) == 2
    assert "error: images 20000, but from 14,800 on the learning rate is 0" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*command, "--checkpoint.every", "20000"])
    assert run_command(run.main) == 0
    assert "note: checkpoint.every 20000 is more than" in capsys.readouterr().err


@pytest.mark.parametrize("decay", [0.99, 0.9999999])
def test_an_average_forgets_its_start_within_steps(decay: float) -> None:
    """Whatever the decay: a run of ten steps already has less than a thousandth of what was drawn."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    averages = MovingAverages({"network": network}, decay)
    nn.init.zeros_(network.weight)
    for step in range(1, 11):
        averages.update({"network": network}, {"network": step})
    with torch.no_grad():
        assert averages.networks["network"].weight.item() < 1e-3  # type: ignore[operator]
