"""What is said before a run starts: costs, and what would go wrong."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch.overrides import TorchFunctionMode

from likeness.command import BadInput
from shards.labels import standard_schema
from trainer import methods
from trainer.config import Config, Speed, load, validate
from trainer.doctor import findings, main
from trainer.estimate import estimate, estimates
from trainer.foresight.preview import preview
from trainer.training import Training

ROOT = Path(__file__).parents[2]
FACE = ROOT / "trainer" / "configs" / "face.yaml"
MakeConfig = Callable[..., Config]


def test_the_costs_of_the_paper_are_those_of_its_specification() -> None:
    """G at 33 input channels and both discriminators by 9.1; 0.65 TFLOP per image by 2.4, which rounds up."""
    config = load(FACE)
    costs = estimate(config, config.data.label_schema)
    channels = config.data.label_schema.channels
    assert costs.parameters == {
        "generator": 182_433_859 + 3_136 * (2 * channels + 3),
        "realism": 2_761_665 + 1_024 * (channels + 3),
        "style": 2_761_665 + 1_024 * 6,
    }
    assert costs.flops == pytest.approx(0.65e12, rel=0.03)
    every = sum(costs.parameters.values())
    assert costs.checkpoint_bytes == 4 * (3 * every + costs.parameters["generator"])


class AsOnCuda(TorchFunctionMode):
    """CPU autocast pads and enlarges in float32; CUDA's, for which memory is estimated, in what it is given."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch.autocast("cpu", enabled=False) if func in (F.pad, F.interpolate) else nullcontext():
            return func(*args, **kwargs or {})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", methods.available())
def test_activations_are_those_of_a_real_step(method: str, precision: str, small_config: MakeConfig) -> None:
    """The bytes that a real step keeps for its backward pass, counted by the storages that autograd saves.

    In bfloat16 norms keep their inputs in float32, so that half of the bytes would be too few.
    """
    loss = {"weights": "random:0", "divisor": 16, "resize_below": 0}
    config = small_config(method, perceptual=loss)
    schema = standard_schema("sketch", 32, 32)
    training = Training(config, schema, None)
    own = {p.data_ptr() for network in training.method.networks.values() for p in network.parameters()}
    saved: dict[int, int] = {}
    held = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            held.append(tensor)
        return tensor

    most = 0
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, schema.channels, 32, 32), (2, 3, 32, 32)]
    label, photo = (torch.rand(shape, generator=generator) for shape in shapes)
    from trainer.method import Batch
    from trainer.players.engines import set_trainable

    draws = torch.randn(2, training.method.noise, generator=generator)
    batch = Batch(label, photo, label.clone(), *(photo.clone() for _ in range(3)), torch.ones(2), noise=draws)
    play = training.method.play(batch, 10**12)
    for names in training.method.players.values():
        set_trainable(training.method.networks, names)
        saved.clear()
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        with autocast, AsOnCuda(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            _, terms = next(play)
        most = max(most, sum(saved.values()))
        torch.stack(list(terms.values())).sum().backward()
    estimated = estimate(config.model_copy(update={"precision": precision}), schema)
    assert estimated.activation_bytes == pytest.approx(most, rel=0.1)


def test_recomputing_and_smaller_parts_need_less(small_config: MakeConfig) -> None:
    schema = standard_schema("sketch", 32, 32)
    changes = {"batch": 4, "options": {"generator_base": 8, "generator_downsamplings": 2, "generator_blocks": 9}}
    plain = estimate(small_config("pix2pixhd", **changes), schema)
    again = estimate(small_config("pix2pixhd", **changes, speed={"recompute": True}), schema)
    parts = estimate(small_config("pix2pixhd", **changes, accumulate=4), schema)
    assert again.activation_bytes < plain.activation_bytes
    half = estimate(small_config("pix2pixhd", **changes, precision="bf16", speed={"recompute": True}), schema)
    assert half.activation_bytes < again.activation_bytes
    assert half.flops == again.flops
    assert parts.activation_bytes < 0.4 * plain.activation_bytes
    assert again.flops > plain.flops == parts.flops


def test_recomputing_gives_the_same_step(small_config: MakeConfig) -> None:
    from tests.trainer.test_faults import fake_batch, weights

    results = []
    for recompute in (False, True):
        config = small_config("style_consistent", speed={"recompute": recompute})
        training = Training(config, config.data.label_schema, None)
        for _ in range(2):
            training.step(fake_batch(2, training.schema.channels))
        results.append(weights(training))
    assert not [name for name, value in results[0].items() if not torch.equal(value, results[1][name])]


STAGED = {
    "generator_base": 4,
    "generator_downsamplings": 2,
    "generator_blocks": 1,
    "discriminator_base": 4,
    "encoder_base": 4,
    "instances": True,
    "features": "instances",
    "enhancer": True,
    "global_images": 2,
    "fixed_images": 2,
}


def test_recomputing_gives_the_same_steps_in_every_stage(small_config: MakeConfig) -> None:
    from tests.trainer.methods.test_pix2pixhd import SCHEMA, batch_of
    from tests.trainer.test_faults import weights

    results = []
    for recompute in (False, True):
        config = small_config("pix2pixhd", options=STAGED, speed={"recompute": recompute})
        training = Training(config, SCHEMA, None)
        for number in range(4):
            training.step(batch_of(SCHEMA, seed=number))
        results.append(weights(training))
    assert not [name for name, value in results[0].items() if not torch.equal(value, results[1][name])]


def test_costs_of_each_stage_at_2048_by_1024() -> None:
    """Arithmetic grows with what is painted and learned; what recomputing saves is worth a third more of it."""
    config = load(ROOT / "trainer" / "configs" / "pix2pixhd-2048.yaml")
    schema = config.data.label_schema
    plain = estimates(config, schema)
    assert list(plain) == [0, 595_000, 624_750]
    channels = schema.channels + 1
    enhancer = plain[0].parameters["enhancer"]
    assert enhancer == 263_267 + 1_568 * channels
    generator, learning = plain[0].parameters["generator"], plain[595_000]
    assert generator == 182_433_859 + 3_136 * channels - 9_411, "without the output layer"
    discriminators = sum(learning.parameters[name] for name in ("discriminator", "fine_discriminator"))
    assert discriminators == 3 * (2_761_665 + 1_024 * (channels + 3))
    weights = sum(learning.parameters.values())
    averaged = weights - discriminators
    assert learning.checkpoint_bytes == 4 * (weights + averaged + 2 * (enhancer + discriminators))
    assert plain[0].flops < learning.flops < plain[624_750].flops
    recomputing = config.model_copy(update={"speed": Speed(recompute=True)})
    for start, again in estimates(recomputing, schema).items():
        assert again.activation_bytes < 0.55 * plain[start].activation_bytes
        assert again.flops < 1.35 * plain[start].flops


def test_a_dry_run_prints_each_stage(small_config: MakeConfig) -> None:
    printed = preview(small_config("pix2pixhd", options=STAGED, data__train="nowhere", images=6), 1)
    assert [" ".join(line.split()) for line in printed.splitlines() if line.startswith("# stage")] == [
        "# stage 0 to 2 images",
        "# stage 2 to 4 images",
        "# stage 4 to 6 images",
    ]
    assert printed.count("GFLOP per image") == printed.count("for activations") == 3


def test_a_dry_run_prints_a_config_that_gives_the_same_run(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("style_consistent")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
    command = [sys.executable, str(ROOT / "trainer" / "run.py"), "--config", str(file), "--dry-run", "--batch", "4"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert validate(yaml.safe_load(printed), "dry run") == config.model_copy(update={"batch": 4})
    assert "20 images, 5 steps of 4 on 1 ranks; 0.4 epochs in all" in printed
    assert "GFLOP per image" in printed and "duration" in printed
    assert not config.run.exists()


def test_the_doctor_is_content_with_a_run_that_works(small_config: MakeConfig) -> None:
    said = list(findings(small_config("pix2pixhd"), 2))
    assert not [finding.text for finding in said if finding.state == "wrong"]
    assert len(said) > 10


def test_the_doctor_says_whether_data_come_fast_enough(
    small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """95 samples per second and worker, as sketches of 256×256, and a rank that trains on a given number of images."""
    from trainer import doctor

    config = small_config("pix2pixhd", data__workers=2)
    flops = estimate(config, config.data.label_schema).flops
    monkeypatch.setattr(doctor, "_samples_per_second", lambda *_: 95.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))

    def said_at(images_per_s: float, ranks: int = 1) -> tuple[str, str]:
        peak = images_per_s * flops / doctor.PEAK_SHARE
        monkeypatch.setattr(doctor, "peak_flops", lambda *_: peak)
        return next(
            (each.state, each.text) for each in findings(config, ranks) if "samples/s from a loader worker" in each.text
        )

    state, text = said_at(550)
    assert state == "note"
    assert "95 samples/s from a loader worker × 2 (2 workers, 8 cores for 1 ranks here) = 190 images/s a rank" in text
    assert "about 550 images/s" in text and "set data.workers 6, and give each rank 7 CPUs" in text
    state, text = said_at(180)
    assert state == "ok" and "would wait" not in text
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1))
    assert said_at(180)[0] == "note", "two workers on one core make no more than one"


def test_the_doctor_measures_how_fast_samples_are_made(small_config: MakeConfig) -> None:
    from shards.reading.stream import open_shards
    from trainer import doctor

    config = small_config("style_consistent")
    with open_shards(config.data.train) as (manifest, store):
        rate = doctor._samples_per_second(config, manifest, store)
    assert 1 < rate < 1e5


def test_the_doctor_names_what_would_go_wrong(small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(
        "pix2pixhd",
        data__train="nowhere",
        perceptual={"weights": "nowhere/vgg19.pth"},
        tracking={"uri": "http://127.0.0.1:9"},
    )
    config.run.mkdir(parents=True)
    with socket.socket() as taken, (config.run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        taken.bind(("", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        said = list(findings(config, 2))
    wrong = "\n".join(finding.text for finding in said if finding.state == "wrong")
    assert "no manifest at nowhere" in wrong
    assert "nowhere/vgg19.pth does not exist" in wrong
    assert f"another process is training in {config.run}" in wrong
    assert "is taken here" in wrong
    assert [finding.state for finding in said if "does not answer" in finding.text] == ["note"]


def test_the_doctor_compares_shards_with_layers_of_a_config(
    small_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said of a job's shards: the config's own sizes, batch and remainder, later files winning."""
    config = small_config("pix2pixhd", batch=8, data__height=32, data__width=64, data__remainder="drop")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
    assert main(["--config", str(file), "--world-size", "8"]) == 2
    said = capsys.readouterr().out
    assert "wrong  the config asks for label, height, width = ('sketch', 32, 64), the shards have" in said
    assert "wrong  20 samples are less than one batch of 8 on each of 8 ranks" in said
    assert "2 would go wrong" in said

    few = tmp_path / "few.yaml"
    few.write_text("batch: 2\ndata: {width: 48}\n")
    assert main(["--config", str(file), str(few), "--world-size", "8"]) == 2
    said = capsys.readouterr().out
    assert "('sketch', 32, 48)" in said
    assert "8 ranks × 0 workers × batch 2: 1 batches per rank and epoch, 4 samples left out" in said
    assert "1 would go wrong" in said


def test_costs_follow_turns(small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The discriminator has two turns, or one in every second step of two images."""
    from tests.trainer.methods.with_example import EXAMPLE
    from trainer import methods
    from trainer.foresight import preview

    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(EXAMPLE)])
    schema = standard_schema("sketch", 32, 32)
    twice = estimate(small_config("paired_vae"), schema, 0)
    config = small_config("paired_vae", options__rest_every=4)
    rests = estimate(config, schema, 0)
    assert twice.turns_by_player == {"discriminator": 2, "generator": 1}
    assert rests.turns_by_player == {"discriminator": 1.5, "generator": 1}
    assert rests.flops_by_player["generator"] == twice.flops_by_player["generator"]
    assert rests.flops_by_player["discriminator"] == pytest.approx(0.75 * twice.flops_by_player["discriminator"])
    assert rests.held_bytes == twice.held_bytes
    assert "discriminator 1.5, generator 1" in preview.preview(config, 1)
    with pytest.raises(BadInput, match="accumulate 2 would give the batch norms"):
        estimate(small_config("paired_vae", accumulate=2), schema)
