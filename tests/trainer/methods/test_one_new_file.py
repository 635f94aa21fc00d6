"""A new published system is one new file: the example's folder joins the methods, and nothing else is changed.

Real commands in real processes: two ranks, resume, export through all gates, pictures of the exported model.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.trainer.methods import record_losses, test_methods
from tests.trainer.methods.with_example import EXAMPLE, WITH_EXAMPLE
from tests.trainer.test_loop import assert_same_checkpoint, tensors_of
from trainer import methods
from trainer.config import Config
from trainer.method import Method
from trainer.tracking.journal import read_journal

ROOT = Path(__file__).parents[3]
NAME = "paired_vae"
MakeConfig = Callable[..., Config]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Method]:
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(EXAMPLE)])
    yield record_losses.make(NAME)


@pytest.fixture
def example_config(example: Method, small_config: MakeConfig) -> MakeConfig:
    """Two rates, and a discriminator that has one turn instead of two in every second step."""

    def make(**changes: object) -> Config:
        rates = {"learning_rate": 1e-3, "players": {"discriminator": {"learning_rate": 4e-3, "betas": [0.0, 0.9]}}}
        settings = {"batch": 1, "optimizer": rates, "options__rest_every": 4, "checkpoint": {"every": 4}}
        return small_config(NAME, **{**settings, **changes})

    return make


def test_the_contract_holds_unasked(example: Method, tmp_path: Path) -> None:
    """The tests that every method gets, and the record that the command would write."""
    test_methods.test_pictures_have_the_labels_size_and_range(example)
    test_methods.test_each_player_gets_every_gradient_and_nobody_else_any(record_losses.make(NAME))
    test_methods.test_norms_measure_samples_apart_or_over_all_ranks(example)
    record_losses.record([NAME], tmp_path / "losses.json")
    recorded = json.loads((tmp_path / "losses.json").read_text())[NAME]
    assert {"discriminator/real", "discriminator/2/real", "generator/realism"} <= recorded.keys()
    assert recorded == pytest.approx(record_losses.first_losses(record_losses.make(NAME)), rel=1e-6)


def test_trained_on_two_ranks_resumed_exported_and_served(example_config: MakeConfig, tmp_path: Path) -> None:
    straight, halves = example_config(run=str(tmp_path / "straight")), example_config(images=4)
    train(straight, tmp_path)
    train(halves, tmp_path)
    train(halves.model_copy(update={"images": 8}), tmp_path, "--resume", "latest")
    assert_same_checkpoint(straight.run / "checkpoint-0000000004", halves.run / "checkpoint-0000000004")
    assert_same_checkpoint(straight.run / "checkpoint-0000000008", halves.run / "checkpoint-0000000008")
    check_training(straight)

    model, pictures = tmp_path / "model.onnx", tmp_path / "pictures"
    export = ["export", "--checkpoint", str(straight.run), "--out", str(model), "--inputs", "label", "style"]
    run([str(WITH_EXAMPLE), *export], tmp_path)
    # Without the example: what serves needs the model's file and nothing else.
    batch = ["batch", "--model", str(model), "--pairs", str(straight.data.test), "--out", str(pictures)]
    run(["-m", "deploy", *batch], tmp_path)
    painted = sorted(pictures.rglob("*.png"))
    assert len(painted) == 8 and Image.open(painted[0]).size == (32, 32)


def train(config: Config, folder: Path, *more: str) -> None:
    """The trainer's command on two processes, where the example is among the methods."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    command = [str(WITH_EXAMPLE), "trainer.run", "--config", str(file), *more]
    run([*launch, "--master_port", port, *command], folder)


def run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    environment["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        [sys.executable, *command], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def check_training(config: Config) -> None:
    """What is particular about the example: rates, turns, settled averages, and a palette that nobody touched."""
    before, after = (tensors_of(config.run / f"checkpoint-{images:010d}") for images in (4, 8))
    palette = methods.find(NAME)(config.options, config.data.label_schema).networks["palette"].state_dict()
    for tensors in (before, after):
        for file in ("palette.safetensors", "palette.ema.safetensors"):
            assert torch.equal(tensors[f"{file}/mix.weight"], palette["mix.weight"])
    steps = {name.split("/")[0]: value.item() for name, value in after.items() if name.endswith("last.weight/step")}
    # Four iterations of two images, in two of which the discriminator has two turns.
    assert steps == {"discriminator.optimizer.safetensors": 6, "generator.optimizer.safetensors": 4}
    own, averaged = (after[f"generator{kind}.safetensors/first.1.running_var"] for kind in ("", ".ema"))
    assert not torch.equal(own, averaged)
    assert after["generator.ema.safetensors/first.1.num_batches_tracked"] == 2, "12 samples, 8 at a time"
    lines = [line for line in read_journal(config.run) if "generator/total" in line]
    assert len(lines) == 4 and min(line["discriminator/fake"] for line in lines) < 0, "losses may be negative"
