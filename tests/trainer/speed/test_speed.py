"""Faster ways to compute the same: torch.compile, memory formats."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainer.test_faults import fake_batch, weights
from trainer import methods
from trainer.checkpoints.files import Checkpoint, save
from trainer.config import Config, Speed
from trainer.networks.norms import InstanceNorm2d
from trainer.ranks.delayed_metrics import DelayedMetrics
from trainer.speed.compiling import compile_networks, unable
from trainer.training import Training

MakeConfig = Callable[..., Config]
CPU = torch.device("cpu")


def stepped(config: Config) -> tuple[dict[str, torch.Tensor], list[float]]:
    training = Training(config, config.data.label_schema, None)
    losses = []
    for _ in range(3):
        figures, _ = training.step(fake_batch(2, training.schema.channels))
        losses.append(figures["generator/total"].item())
    return weights(training), losses


def test_channels_last_is_another_order_of_the_same_numbers(small_config: MakeConfig) -> None:
    plain = stepped(small_config("style_consistent", optimizer={"learning_rate": 1e-4}))
    other = stepped(small_config("style_consistent", optimizer={"learning_rate": 1e-4}, speed={"channels_last": True}))
    assert other[1] == pytest.approx(plain[1], rel=1e-3)


def states(training: Training) -> dict[str, torch.Tensor]:
    """All that a checkpoint has of networks, averages and moments, by file and name."""
    snapshot = training.snapshot("", {})
    assert snapshot is not None
    return {f"{stem}/{name}": value for stem, named in snapshot.tensors.items() for name, value in named.items()}


@pytest.mark.parametrize(
    "option",
    [
        # Compiling takes minutes.
        pytest.param(option, marks=[pytest.mark.slow] if option in ("compile", "everything") else [])
        for option in (*Speed.model_fields, "everything")
    ],
)
def test_two_and_resume_and_two_are_four_under_every_option(
    option: str, small_config: MakeConfig, tmp_path: Path
) -> None:
    on = {name: True for name in Speed.model_fields if option in (name, "everything")}
    if on.get("compile") and unable(CPU):
        pytest.skip("torch.compile does not work here")
    few = {"options__discriminator_scales": 1, "options__perceptual_weight": 0, "options__generator_downsamplings": 1}
    config = small_config("pix2pixhd", speed=on, **few)
    batches = [fake_batch(2, config.data.label_schema.channels) for _ in range(4)]
    straight, half = (Training(config, config.data.label_schema, None) for _ in range(2))
    for batch in batches:
        straight.step(batch)
    for batch in batches[:2]:
        half.step(batch)
    snapshot = half.snapshot("", {})
    assert snapshot is not None
    checkpoint = Checkpoint(save(tmp_path / "halves", snapshot))
    resumed = Training(config, config.data.label_schema, checkpoint)
    resumed.restore_random(checkpoint)
    for batch in batches[2:]:
        resumed.step(batch)
    wanted, found = states(straight), states(resumed)
    assert [name for name in wanted if name.endswith("exp_avg")], "moments are compared, too"
    assert wanted.keys() == found.keys()
    assert [name for name, value in wanted.items() if not torch.equal(value, found[name])] == []


@pytest.mark.skipif(bool(unable(CPU)), reason="torch.compile does not work here")
def test_a_compiled_network_computes_alike_and_keeps_its_names() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), InstanceNorm2d(4))
    compiled, photos = copy.deepcopy(plain), torch.rand(2, 3, 8, 8)
    compile_networks([compiled], CPU)
    assert compiled._compiled_call_impl is not None
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for network in (plain, compiled):
        network(photos).square().mean().backward()
    torch.testing.assert_close(compiled(photos), plain(photos), atol=1e-5, rtol=0)
    torch.testing.assert_close(compiled[0].weight.grad, plain[0].weight.grad, atol=1e-5, rtol=0)


# Compiling all of a method's networks takes minutes.
@pytest.mark.slow
@pytest.mark.skipif(bool(unable(CPU)), reason="torch.compile does not work here")
def test_compiled_networks_train_alike_and_keep_their_names(small_config: MakeConfig) -> None:
    few = {"options__discriminator_scales": 1, "options__perceptual_weight": 0, "options__generator_downsamplings": 1}
    plain = stepped(small_config("pix2pixhd", optimizer={"learning_rate": 1e-4}, **few))
    other = stepped(small_config("pix2pixhd", optimizer={"learning_rate": 1e-4}, speed={"compile": True}, **few))
    assert other[0].keys() == plain[0].keys()
    assert other[1] == pytest.approx(plain[1], rel=1e-3)


def test_without_a_compiler_a_warning_says_why_and_training_goes_on() -> None:
    program = (
        "import torch; from trainer.speed.compiling import compile_networks\n"
        "network = torch.nn.Linear(2, 2)\n"
        "compile_networks([network], torch.device('cpu'))\n"
        "print(network(torch.ones(1, 2)).shape)"
    )
    environment = {"CXX": "no-such-compiler", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "PATH": "/nowhere"}
    environment |= {"PYTHONPATH": ":".join(sys.path), "HOME": "/tmp"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "warning: speed.compile is on, but torch.compile does not work here: " in done.stderr
    assert "training goes on without it" in done.stderr
    assert done.stdout.strip() == "torch.Size([1, 2])"


def test_norms_under_bf16_keep_their_statistics_in_fp32() -> None:
    """Their output differs from the exact one by the rounding of bfloat16 (2^-8 relative), not by its sums'.

    Each channel has 65,536 values around 3: a sum in bfloat16 would stop growing at about 768. torch's own kernel fails
    here: it rounds its mean and scale.
    """
    features = (3 + torch.randn(1, 4, 256, 256, generator=torch.Generator().manual_seed(0))).bfloat16()
    exact = torch.nn.functional.instance_norm(features.double())
    with torch.autocast("cpu", torch.bfloat16):
        ours = InstanceNorm2d(4)(features)
    assert ours.dtype == torch.bfloat16
    assert (ours.double() - exact).abs().max() <= exact.abs().max() * 2**-8
    assert abs(ours.double().mean().item()) < 1e-3


class Watched(TorchDispatchMode):
    """Counts operations whose result the host has to wait for, on a device."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.name().removeprefix("aten::").split(".")[0]
        if name in self.WAITING:
            self.waited.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", methods.available())
def test_a_step_makes_the_host_wait_for_nothing(method: str, small_config: MakeConfig) -> None:
    config = small_config(method)
    training = Training(config, config.data.label_schema, None)
    batch = fake_batch(2, training.schema.channels, training.method.noise)
    delayed = DelayedMetrics(training.accelerator)
    with Watched() as watched:
        for _ in range(3):
            metrics, skip = training.step(batch)
            delayed.send(training.images, metrics, skip, False, ())
        assert watched.waited == []
        # Reading the metrics is what waits, one iteration later; and the check itself sees such things.
        float(metrics["generator/total"])
        assert watched.waited == ["_local_scalar_dense"]


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
def test_freed_memory_stays_in_the_process() -> None:
    """Page faults of a hundred rounds of 40 MB, as the kernel counts them: 10,240 pages a round when it goes back."""
    program = (
        "import ctypes, resource, sys, torch\n"
        # Where the kernel gives huge pages unasked, hundreds of these faults would be one.
        "assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0  # PR_SET_THP_DISABLE\n"
        "from trainer.speed.host_memory import keep_freed_memory\n"
        "assert sys.argv[1] == 'as it is' or keep_freed_memory()\n"
        "torch.ones(10 * 2**20)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(100): torch.ones(10 * 2**20)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("as it is", "kept")
    }
    assert faults["as it is"] > 900_000, "otherwise there is nothing to keep"
    assert faults["kept"] < faults["as it is"] / 10
