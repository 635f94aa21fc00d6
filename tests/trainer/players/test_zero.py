"""DeepSpeed's ZeRO on two CPU processes trains what plain data parallelism trains, and shares its checkpoints."""

import importlib.util
import inspect
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from likeness.command import BadInput
from tests.trainer.methods.with_example import EXAMPLE, WITH_EXAMPLE
from trainer import methods
from trainer.checkpoints.files import Checkpoint, find
from trainer.config import Config
from trainer.loop import train
from trainer.players import zero

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "trainer" / "accelerate"
TOLERANCE = 2e-6
"""Largest difference of any weight after three steps of 1e-4, in float32: Adam's kernels round differently."""
MakeConfig = Callable[..., Config]

installed = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("deepspeed", "transformers")),
    reason="NOT TESTED: DeepSpeed is not installed (pip install '.[deepspeed]')",
)


RUN = (str(ROOT / "trainer" / "run.py"),)


def launch(
    name: str, config: Config, folder: Path, *more: str, script: tuple[str, ...] = RUN
) -> "subprocess.CompletedProcess[str]":
    """`accelerate launch` with one of our files, on two processes, on the CPU."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    # The compiler that DeepSpeed calls lies beside the interpreter in a virtual environment.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"DS_ACCELERATOR": "cpu"} if name.startswith("zero") else {"ACCELERATE_USE_CPU": "1"}
    file = folder / f"{config.run.name}.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{name}.yaml")]
    command += ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    command += [*script, "--config", str(file), *more]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zero")


@pytest.fixture
def config_of(small_config: MakeConfig, folder: Path) -> MakeConfig:
    """Configs of runs in one folder: 12 images in three steps, a checkpoint after each."""

    def make(name: str, **changes: object) -> Config:
        settings = {
            "images": 12,
            "batch": 2,
            "checkpoint": {"every": 4, "keep": 3},
            "optimizer": {"learning_rate": 1e-4},
        }
        return small_config("style_consistent", **{**settings, "run": str(folder / name), **changes})

    return make


@pytest.fixture
def plain(config_of: MakeConfig, folder: Path) -> Path:
    """The run of two ranks under plain data parallelism."""
    run = folder / "plain"
    if not run.exists():
        done = launch("cpu", config_of("plain"), folder)
        assert done.returncode == 0, done.stderr
    found = find(run)
    assert found is not None and Checkpoint(found).state.ranks == 2
    return run


def assert_alike(ours: Path, plain: Path, images: int = 12) -> None:
    first, second = (Checkpoint(run / f"checkpoint-{images:010d}") for run in (ours, plain))
    for stem in ("generator", "realism", "style", "generator.ema"):
        theirs = second.tensors(stem)
        for name, value in first.tensors(stem).items():
            if "bias" in name:
                continue  # before instance norm their gradient is rounding noise, which Adam enlarges
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    for stem in ("generator.optimizer", "realism.optimizer", "style.optimizer"):
        mine, theirs = first.tensors(stem), second.tensors(stem)
        assert mine.keys() == theirs.keys()
        assert {value.item() for name, value in mine.items() if name.endswith("/step")} == {images / 4}
        for name, value in mine.items():
            assert value.shape == theirs[name].shape
            scale = theirs[name].abs().max().item()
            if "bias" not in name:
                torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-4 * scale + 1e-12)


@installed
def test_stage_one_trains_alike_and_plain_training_goes_on_from_it(
    plain: Path, config_of: MakeConfig, folder: Path
) -> None:
    done = launch("zero1", config_of("zero1"), folder)
    assert done.returncode == 0, done.stderr
    assert Checkpoint(folder / "zero1" / "checkpoint-0000000012").state.ranks == 2
    assert_alike(folder / "zero1", plain)
    alone = config_of("alone", batch=4)
    assert train(alone, resume=str(folder / "zero1" / "checkpoint-0000000008")) == 0
    assert_alike(folder / "alone", plain)


@installed
def test_stage_two_in_parts_trains_alike(plain: Path, config_of: MakeConfig, folder: Path) -> None:
    done = launch("zero2", config_of("zero2", accumulate=2), folder)
    assert done.returncode == 0, done.stderr
    # After the first step: from then on, what parts round otherwise is enlarged by fresh networks' instance norms, to
    # some percent of a gradient, without DeepSpeed as well.
    assert_alike(folder / "zero2", plain, images=4)


@installed
def test_offloaded_training_goes_on_from_plain_training(plain: Path, config_of: MakeConfig, folder: Path) -> None:
    shutil.copytree(plain, folder / "offloaded")
    shutil.rmtree(folder / "offloaded" / "checkpoint-0000000012")
    (folder / "offloaded" / "latest").write_text("checkpoint-0000000008\n")
    done = launch("zero2-offload", config_of("offloaded"), folder, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert_alike(folder / "offloaded", plain)


@installed
def test_turns_and_rates_of_players_train_alike(
    small_config: MakeConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract's example: repeated turns, two rates, batch norms, averages that settle."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(EXAMPLE)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    rates = {"learning_rate": 1e-4, "players": {"discriminator": {"learning_rate": 4e-4, "betas": [0.0, 0.9]}}}
    ends = []
    for name in ("cpu", "zero1"):
        config = small_config("paired_vae", run=str(folder / f"example-{name}"), optimizer=rates, options__rest_every=8)
        done = launch(name, config, folder, script=(str(WITH_EXAMPLE), "trainer.run"))
        assert done.returncode == 0, done.stderr
        ends.append(Checkpoint(config.run / "checkpoint-0000000008"))
    plain, ours = ends
    for stem in ("encoder", "generator", "discriminator", "palette", "generator.ema"):
        theirs = plain.tensors(stem)
        for name, value in ours.tensors(stem).items():
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    for player, steps in (("discriminator", 3), ("generator", 2)):
        for end in ends:
            assert end.tensors(f"{player}.optimizer")[f"{player}.last.weight/step"] == steps


@installed
def test_bad_iterations_are_skipped_on_all_ranks(config_of: MakeConfig, folder: Path) -> None:
    """The first step makes weights of 1e30; from then on no loss is finite."""
    config = config_of("bad", images=400, optimizer={"learning_rate": 1e30}, faults={"max_skipped": 2})
    done = launch("zero2", config, folder)
    assert "more than 2 of the last iterations had a loss or gradient that was not finite" in done.stderr
    report = json.loads((folder / "bad" / "post-mortem.json").read_text())
    assert [entry["skipped"] for entry in report["iterations"]].count(True) == 3
    assert len(report["iterations"][-1]["keys_by_rank"]) == 2


@installed
def test_what_does_not_combine_is_refused(small_config: MakeConfig) -> None:
    with pytest.raises(BadInput, match=r"speed\.compile with DeepSpeed"):
        zero.check(small_config("pix2pixhd", speed={"compile": True}))


@installed
def test_this_deepspeed_has_the_private_parts_that_are_used() -> None:
    """Methods by the classes; what engines set of their own is looked at whenever a run makes one."""
    import deepspeed
    from deepspeed.runtime.engine import DeepSpeedEngine
    from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

    said = f"DeepSpeed {deepspeed.__version__}, but checkpoints are made with {zero.KNOWN_VERSION}: "
    source = inspect.getsource(DeepSpeedEngine) + inspect.getsource(DeepSpeedZeroOptimizer)
    for name in (*zero.PRIVATE["engine"], *zero.PRIVATE["optimizer"]):
        assert re.search(rf"def {name}\(|self\.{name} = ", source), f"{said}nothing sets {name}"
    assert re.search(r"def backward\(self, loss, .*scale_wrt_gas=", source), f"{said}gradients are scaled otherwise"
    assert metadata.version("deepspeed") == zero.KNOWN_VERSION, f"{said}read what has changed, then raise both"


def test_another_deepspeed_is_refused_by_name() -> None:
    """A fake: an optimizer that has renamed what restores its moments."""
    optimizer = SimpleNamespace(optimizer=None, single_partition_of_fp32_groups=[], refresh_fp32_params=None)
    engine = SimpleNamespace(optimizer=optimizer, set_gradient_accumulation_boundary=None, get_global_grad_norm=None)
    message = r"DeepSpeed 9\.9: its optimizer has no _lazy_init_hp_params_optimizer_state, .* pip install deepspeed=="
    with pytest.raises(BadInput, match=message):
        zero.check_private(engine, "9.9")
    optimizer._lazy_init_hp_params_optimizer_state = None
    zero.check_private(engine, "9.9")
    del engine.get_global_grad_norm
    with pytest.raises(BadInput, match="its engine has no get_global_grad_norm"):
        zero.check_private(engine, "9.9")


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_accelerate_reads_every_file(file: Path) -> None:
    """With accelerate's own reader, which refuses keys that it does not know."""
    read = load_config_from_file(str(file))
    ranks = {"gpu1": 1, "gpu8": 8, "gpu4x8": 32, "cpu": 2}.get(file.stem, 8)
    assert read.num_processes == ranks
    assert read.mixed_precision == "no"
