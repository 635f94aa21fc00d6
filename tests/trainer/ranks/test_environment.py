"""What launcher and environment say is obeyed, or refused with one line."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import accelerate
import pytest
import torch
import yaml

from likeness.command import BadInput
from tests.trainer.test_faults import fake_batch, weights
from trainer.config import Config, load
from trainer.doctor import findings
from trainer.evaluate.__main__ import main as evaluate
from trainer.ranks import environment
from trainer.ranks.launcher import LAUNCHED_AS
from trainer.training import Training

ROOT = Path(__file__).parents[3]
FACE = ROOT / "trainer" / "configs" / "face.yaml"
MakeConfig = Callable[..., Config]
RANK = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="NOT TESTED: there is a GPU here")


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Sets variables, in an environment that says nothing else."""
    for name in list(os.environ):
        if name.startswith(("ACCELERATE_", "MLFLOW_", "TORCHELASTIC_")) or name in (*RANK, "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name)

    def set_all(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


Say = Callable[[dict[str, str]], None]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "but the run's precision is fp32; set --mixed_precision no"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "ACCELERATE_MIXED_PRECISION=fp16"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "=4 .* but the run's accumulate is 1"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "--speed.compile true"),
        ({"ACCELERATE_DYNAMO_MODE": "max-autotune"}, "speed.compile decides"),
        ({"ACCELERATE_GRADIENT_CLIPPING": "1.0"}, "gradients are not clipped"),
        ({"ACCELERATE_USE_FSDP": "true"}, "divided among ranks"),
        ({"ACCELERATE_USE_MEGATRON_LM": "1"}, "divided among ranks"),
        ({"ACCELERATE_FP8_MARGIN": "0"}, "fp32 or bf16"),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "which the launcher is not told to use"),
        ({"ACCELERATE_USE_DEEPSPEED": "1"}, "reads true or false"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "stage 3 divides the networks themselves"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_CONFIG_FILE": "ds.json"}, "DeepSpeed's own file is not read"),
        ({**ZERO, "ACCELERATE_MIXED_PRECISION": "fp16"}, "precision is fp32"),
        ({**ZERO, "ACCELERATE_USE_CPU": "1"}, "turns DeepSpeed off silently"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu"}, "needs ZeRO stage 3"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "nvme"}, "offload_optimizer_device nvme"),
        ({"ACCELERATE_USE_CPU": ""}, "ACCELERATE_USE_CPU='' is neither true nor false"),
        ({"ACCELERATE_LOG_LEVEL": "loud"}, "is no level"),
        ({"ACCELERATE_TORCH_DEVICE": "gpu"}, "is no device"),
        ({"WORLD_SIZE": "2"}, "no RANK and no LOCAL_RANK and no MASTER_ADDR.*`unset WORLD_SIZE"),
        ({"WORLD_SIZE": "4", "RANK": "3"}, "WORLD_SIZE=4 RANK=3 .* no LOCAL_RANK"),
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK=0 in the environment"),
        ({"RANK": "3"}, "there is no rank 3 of 1"),
        ({**RANK, "RANK": "2"}, "there is no rank 2 of 2"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two' is no whole number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE='' is no whole number"),
        ({**RANK, "MASTER_PORT": "http"}, "MASTER_PORT='http'"),
        pytest.param(RANK, "starts 2 ranks, but there is no GPU here; .*ACCELERATE_USE_CPU=1", marks=no_gpu),
        ({"OMP_NUM_THREADS": ""}, "OMP_NUM_THREADS='' is no number of threads"),
        ({"OMP_NUM_THREADS": "many"}, "OMP_NUM_THREADS='many'"),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_what_a_run_does_not_follow_is_refused(variables: dict[str, str], message: str, say: Say) -> None:
    say(variables)
    with pytest.raises(BadInput, match=message) as caught:
        environment.check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        # As `accelerate launch` sets them unasked, and with the files of trainer/accelerate.
        {
            "ACCELERATE_USE_CPU": "False",
            "ACCELERATE_MIXED_PRECISION": "no",
            "ACCELERATE_DYNAMO_BACKEND": "NO",
            "ACCELERATE_DYNAMO_MODE": "default",
            "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
            "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
            "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
        },
        {
            **ZERO,
            "ACCELERATE_CONFIG_DS_FIELDS": "zero_stage",
            "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
            "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu",
            "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "none",
            "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",
        },
        {**RANK, "ACCELERATE_USE_CPU": "1"},
        {"WORLD_SIZE": "1", "RANK": "0"},
    ],
    ids=["alone", "zero", "ranks", "one rank"],
)
def test_what_launchers_say_unasked_is_no_problem(variables: dict[str, str], say: Say) -> None:
    say(variables)
    environment.check()


def test_agreeing_with_the_config_is_no_problem(say: Say) -> None:
    say(
        {
            "ACCELERATE_MIXED_PRECISION": "bf16",
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
            "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
        }
    )
    environment.check("bf16", 4, compiled=True)


def test_accumulation_in_the_environment_divides_no_loss(small_config: MakeConfig, say: Say) -> None:
    """Two parts, as the config says too: gradients are those of a run whose environment says nothing."""
    ends = []
    for variables in ({}, {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"}):
        say(variables)
        config = small_config("style_consistent", accumulate=2)
        training = Training(config, config.data.label_schema, None)
        training.step(fake_batch(2, training.schema.channels))
        ends.append({**weights(training), **training.engines["generator"].state()})
    assert [name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])] == []


def test_options_that_the_launcher_drops_are_read_off_its_command_line() -> None:
    command = "python /bin/accelerate launch --gradient_accumulation_steps 4 --gradient_clipping=1.0 trainer/run.py"
    assert environment.dropped_options(command.split()) == {
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
        "ACCELERATE_GRADIENT_CLIPPING": "1.0",
    }
    assert environment.dropped_options(["bash", "-c", "other", "--gradient_clipping", "1"]) == {}


def test_options_that_our_own_launch_drops_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes a single training, so that no parent's command line is left to read."""
    launched = "python -m trainer.launch --cpu --gradient_accumulation_steps 4 trainer/run.py --config x.yaml"
    monkeypatch.setenv(LAUNCHED_AS, launched)
    (problem,) = environment.problems("fp32", 1, False)
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" in problem or "gradient_accumulation_steps" in problem


def test_every_variable_of_accelerate_is_known() -> None:
    """Those in its source; another version may have more, and this says which."""
    found: set[str] = set()
    for file in Path(accelerate.__file__).parent.rglob("*.py"):
        if "test_utils" not in file.parts:
            found |= set(re.findall(r"ACCELERATE_[A-Z0-9_]*[A-Z0-9]", file.read_text()))
    prefixes = {"ACCELERATE_FP8", "ACCELERATE_DYNAMO"}
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" in found
    unknown = found - prefixes - environment.KNOWN
    assert {name for name in unknown if not name.startswith("ACCELERATE_FP8_")} == set()


def test_mlflows_own_variables_lie_below_the_config(say: Say, tmp_path: Path) -> None:
    say({"MLFLOW_TRACKING_URI": "http://tracker:5000", "MLFLOW_EXPERIMENT_NAME": "faces"})
    tracking = load(FACE).tracking
    assert (tracking.uri, tracking.experiment) == ("http://tracker:5000", "faces")
    assert [*environment.notes(tracking.uri, tracking.experiment)] == []
    own = load(FACE, ["--tracking.uri", "sqlite:///own.db"]).tracking
    assert (own.uri, own.experiment) == ("sqlite:///own.db", "faces")
    (note,) = environment.notes(own.uri, own.experiment)
    assert note.startswith("tracking.uri of the config, sqlite:///own.db, wins over MLFLOW_TRACKING_URI")
    say({"MLFLOW_TRACKING_URI": "http://ann:hushhush@tracker:5000"})
    with pytest.raises(BadInput, match=r"^MLFLOW_TRACKING_URI: tracking\.uri .* password") as caught:
        load(FACE)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MLFLOW_RUN_ID": "abc"}, "MLFLOW_RUN_ID in the environment is not followed: a run gets"),
        ({"MLFLOW_EXPERIMENT_ID": "3"}, "set MLFLOW_EXPERIMENT_NAME"),
        ({"MASTER_ADDR": "127.0.0.1"}, "accelerate starts one process whatever num_processes says"),
        ({"ACCELERATE_GRADIENT_ACUMULATION": "4"}, "ACCELERATE_GRADIENT_ACUMULATION .* is it spelled right"),
    ],
)
def test_what_is_overruled_without_harm_is_said(variables: dict[str, str], message: str, say: Say) -> None:
    say(variables)
    (note,) = environment.notes("sqlite:///mlflow.db", "likeness")
    assert re.search(message, note)


def test_a_rank_that_no_launcher_started_says_for_whom_it_waits(say: Say) -> None:
    assert [*environment.waiting()] == []
    say(RANK)
    (note,) = environment.waiting()
    assert note.startswith("this is rank 1 of 2, ") and "waits for the others at 127.0.0.1:29500" in note
    say({"TORCHELASTIC_RUN_ID": "torchrun"})
    assert [*environment.waiting()] == []


def test_ranks_that_nobody_starts_end_with_one_line(say: Say) -> None:
    say(RANK)
    with pytest.raises(BadInput, match="rank 1 of 2 has not met the others"), environment.meeting():
        raise torch.distributed.DistStoreError("timed out\nand a page of frames")


def test_a_dry_run_says_what_is_left_over(small_config: MakeConfig, tmp_path: Path) -> None:
    """In a process of its own: it must not end without a word because it takes itself for rank 1."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(small_config("pix2pixhd").model_dump(mode="json")))
    command = [sys.executable, str(ROOT / "trainer" / "run.py"), "--config", str(file), "--dry-run"]
    left = {**os.environ, "WORLD_SIZE": "2", "RANK": "1"}
    done = subprocess.run(command, env=left, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: WORLD_SIZE=2 RANK=1 in the environment speaks of ranks")
    assert done.stderr.count("\n") == 1


def test_the_doctor_says_all_of_it(small_config: MakeConfig, say: Say) -> None:
    say({"OMP_NUM_THREADS": "", "RANK": "3", "MLFLOW_RUN_ID": "abc"})
    found = [*itertools.islice(findings(small_config("pix2pixhd"), 1), 3)]
    assert [finding.state for finding in found] == ["wrong", "wrong", "note"]


def test_evaluation_says_it_too(say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    say({"ACCELERATE_MIXED_PRECISION": "bf16"})
    assert evaluate(["--pictures", "painted", "--data", "pairs.csv", "--out", "judged"]) == 2
    assert "error: ACCELERATE_MIXED_PRECISION=bf16" in capsys.readouterr().err
