"""Runs of the real loop on real shards: exact resume, what it writes, what it refuses."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from likeness.command import BadInput
from trainer import methods
from trainer.checkpoints.files import Checkpoint, find
from trainer.checkpoints.synthesis import load_for_synthesis
from trainer.config import Config
from trainer.loop import train
from trainer.tracking import observer
from trainer.tracking.journal import read_journal

MakeConfig = Callable[..., Config]
ROOT = Path(__file__).parents[2]


def logged(run: Path) -> list[dict[str, float]]:
    """The journal's lines of training, without those of evaluations."""
    return [line for line in read_journal(run) if "generator/total" in line]


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.name}/{name}": value
        for file in sorted(folder.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def assert_same_checkpoint(first: Path, second: Path) -> None:
    ours, theirs = tensors_of(first), tensors_of(second)
    assert ours.keys() == theirs.keys()
    differing = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert not differing


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", methods.available())
def test_two_and_resume_and_two_are_four(method: str, workers: int, small_config: MakeConfig, tmp_path: Path) -> None:
    straight = small_config(method, data__workers=workers, run=str(tmp_path / "straight"))
    assert train(straight) == 0
    halves = small_config(method, data__workers=workers, images=4)
    assert train(halves) == 0
    assert train(halves.model_copy(update={"images": 8}), resume="latest") == 0
    end, resumed = find(straight.run), find(halves.run)
    assert end is not None and resumed is not None
    assert end.name == resumed.name == "checkpoint-0000000008"
    assert_same_checkpoint(end, resumed)


def test_a_fresh_run_begins_with_another_runs_networks(small_config: MakeConfig, tmp_path: Path) -> None:
    """One step at a rate of next to nothing: the networks are still those of the first run, which counts from 0."""
    first = small_config("style_consistent", images=4)
    train(first)
    still = small_config(
        "style_consistent",
        start=str(first.run),
        images=2,
        run=str(tmp_path / "second"),
        optimizer__learning_rate=1e-12,
        seed=9,
    )
    assert train(still) == 0
    before, after = tensors_of(first.run / "checkpoint-0000000004"), tensors_of(still.run / "checkpoint-0000000002")
    networks = ("generator.safetensors/", "realism.safetensors/", "style.safetensors/")
    for name in before:
        if name.startswith(networks):
            torch.testing.assert_close(after[name], before[name], atol=1e-9, rtol=0)


def test_a_start_that_does_not_fit_is_named(small_config: MakeConfig, tmp_path: Path) -> None:
    first = small_config("style_consistent", images=2)
    train(first)

    def start(**changes: object) -> None:
        train(small_config("style_consistent", run=str(tmp_path / "second"), **changes))

    with pytest.raises(BadInput, match="start: no checkpoint at"):
        (tmp_path / "empty").mkdir()
        start(start=str(tmp_path / "empty"))
    with pytest.raises(BadInput, match=r"generator.safetensors: body.first.1.weight has shape \(4, .*has \(8, "):
        start(start=str(first.run), options__generator_base=8)


def test_weights_move_and_the_average_follows(small_config: MakeConfig) -> None:
    config = small_config("style_consistent")
    train(config)
    before = tensors_of(config.run / "checkpoint-0000000004")
    after = tensors_of(config.run / "checkpoint-0000000008")
    for network in ("generator", "realism", "style", "generator.ema"):
        moved = [not torch.equal(before[name], after[name]) for name in before if name.startswith(f"{network}.safe")]
        assert all(moved)


def test_what_a_run_leaves_for_people(small_config: MakeConfig) -> None:
    config = small_config("style_consistent")
    train(config)
    lines = logged(config.run)
    assert [line["images"] for line in lines] == [2, 4, 6, 8]
    wanted = {"generator/semantic", "generator/total", "gradient/style", "images_per_s", "data_wait_share"}
    assert wanted <= lines[0].keys()
    (evaluated,) = [line for line in read_journal(config.run) if "held_out/semantic" in line]
    assert evaluated["images"] == 8
    grid = np.asarray(Image.open(config.run / "grids" / "0000000008.png"))
    assert grid.shape == (2 * 128, 4 * 128, 3)
    run_id = load_for_synthesis(config.run).run_id
    client = mlflow.MlflowClient(tracking_uri=config.tracking.uri)
    assert run_id is not None
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["options.weighting"] == "adaptive"
    assert run.data.params["perceptual.weights"] == "random:0"
    history = client.get_metric_history(run_id, "generator/total")
    assert [(point.step, point.value) for point in history] == [(x["images"], x["generator/total"]) for x in lines]
    artifacts = {item.path for item in client.list_artifacts(run_id)}
    assert {"label_schema.json", "images"} <= artifacts


def test_a_line_of_the_journal_is_the_mean_of_its_iterations(
    small_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run with a line for each of its four iterations, and with one line for all; half a second each.

    The style adversary begins with the third iteration: the mean of its loss is over those that have it.
    """
    clock = count()
    monkeypatch.setattr(observer, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 2))
    lines = {}
    for every in (2, 8):
        run, phases = str(tmp_path / str(every)), [[0, 0.0], [4, 1.0]]
        config = small_config("style_consistent", run=run, tracking__log_every=every, options__style_phases=phases)
        train(config)
        lines[every] = logged(config.run)
        assert [line["images_per_s"] for line in lines[every]] == [every / 0.5] * (8 // every)
    (mean,) = lines[8]
    for name in (*(name for name in mean if name.endswith("/total")), "generator/style"):
        values = [line[name] for line in lines[2] if name in line]
        assert len(values) == (2 if name == "generator/style" else 4), name
        assert mean[name] == pytest.approx(np.mean(values), rel=1e-5), name


def test_a_run_is_never_overwritten(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd", images=2)
    train(config)
    with pytest.raises(BadInput, match="exists already; continue it with --resume latest"):
        train(config)


def test_resume_in_an_empty_folder_is_a_fresh_start(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd", images=2)
    assert train(config, resume="latest") == 0


def test_a_damaged_checkpoint_is_named(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd", images=2)
    train(config)
    file = config.run / "checkpoint-0000000002" / "generator.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"generator\.safetensors is damaged"):
        train(config.model_copy(update={"images": 4}), resume="latest")
    with pytest.raises(BadInput, match=r"state\.json is missing"):
        (file.parent / "state.json").unlink()
        find(file.parent)


def test_only_the_newest_checkpoints_are_kept(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd", images=10, checkpoint={"every": 2, "keep": 2})
    train(config)
    assert sorted(path.name for path in config.run.glob("checkpoint-*")) == [
        "checkpoint-0000000008",
        "checkpoint-0000000010",
    ]


def test_shards_of_another_schema_are_refused(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd", data__height=48, data__width=48)
    with pytest.raises(BadInput, match=r"data\.height is 48 in the config and 32 in the shards"):
        train(config)
    assert not config.run.exists()


def test_a_flipped_byte_in_a_shard_is_refused(packed: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    shutil.copytree(packed / "train", tmp_path / "flipped")
    shard = tmp_path / "flipped" / "pairs-000001.tar"
    content = bytearray(shard.read_bytes())
    content[2000] ^= 1
    shard.write_bytes(content)
    config = small_config("pix2pixhd", data__train=str(tmp_path / "flipped"))
    with pytest.raises(BadInput, match=r"pairs-000001\.tar is damaged: its SHA-256"):
        train(config)


def test_going_on_with_other_shards_is_refused(packed: Path, small_config: MakeConfig) -> None:
    """Of the same schema, so that nothing but the manifest tells that the order of samples is another one."""
    config = small_config("pix2pixhd", images=2)
    assert train(config) == 0
    other = config.data.model_copy(update={"train": str(packed / "test")})
    with pytest.raises(BadInput, match=r"are not the shards that .*checkpoint-0000000002 was trained on"):
        train(config.model_copy(update={"images": 4, "data": other}), resume="latest")


def test_missing_loss_weights_are_an_error_before_anything_is_written(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd", perceptual={"weights": "nowhere/vgg19.pth"})
    with pytest.raises(BadInput, match=r"nowhere/vgg19\.pth does not exist. Fetch https://download\.pytorch\.org"):
        train(config)
    assert not config.run.exists()


def test_the_averaged_generator_is_what_gets_exported(small_config: MakeConfig) -> None:
    config = small_config("style_consistent")
    train(config)
    synthesis = load_for_synthesis(config.run)
    assert synthesis.inputs == ("label", "exemplar_label", "exemplar")
    assert (synthesis.images_seen, synthesis.perceptual) == (8, "random:0")
    averaged = load_file(config.run / "checkpoint-0000000008" / "generator.ema.safetensors")
    for name, value in synthesis.module.state_dict().items():
        assert torch.equal(value, averaged[name.removeprefix("networks.generator.")])


def command(config: Config, folder: Path) -> list[str]:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
    return [sys.executable, str(ROOT / "trainer" / "run.py"), "--config", str(file)]


def test_sigterm_saves_and_says_so(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd", images=10**6, checkpoint={"every": 10**6})
    process = subprocess.Popen(command(config, tmp_path), cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (config.run / "journal.jsonl").is_file() or not read_journal(config.run):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    found = find(config.run)
    assert found is not None and Checkpoint(found).state.images > 0


def run_on_two(config: Config, folder: Path, *more: str) -> None:
    """`trainer/run.py` on two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_addr", "127.0.0.1", "--master_port", str(port), *command(config, folder)[1:], *more]
    subprocess.run(launch, env=environment, check=True, cwd=folder, timeout=180)


def test_two_processes_share_the_images_and_one_writes(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("style_consistent", batch=1)
    run_on_two(config, tmp_path)
    found = find(config.run)
    assert found is not None
    state = Checkpoint(found).state
    assert (state.ranks, state.images, state.steps, state.epoch, state.position) == (2, 8, 4, 0, 8)
    assert {"random-0.json", "random-1.json"} <= state.files.keys()
    assert [line["images"] for line in logged(config.run)] == [2, 4, 6, 8]


def test_two_processes_go_on_where_one_stopped(small_config: MakeConfig, tmp_path: Path) -> None:
    """One process sees the first 6 of the epoch's 20 samples; two go on with the other 14, and begin the next epoch."""
    train(small_config("pix2pixhd", batch=2, images=6))
    config = small_config("pix2pixhd", batch=1, images=22)
    run_on_two(config, tmp_path, "--resume", "latest")
    found = find(config.run)
    assert found is not None
    state = Checkpoint(found).state
    assert (state.ranks, state.images, state.epoch, state.position) == (2, 22, 1, 2)
    assert [line["images"] for line in logged(config.run)][-8:] == [8, 10, 12, 14, 16, 18, 20, 22]


def test_bf16_trains_on_its_own_arithmetic(small_config: MakeConfig, tmp_path: Path) -> None:
    runs = {}
    for precision in ("fp32", "bf16"):
        AcceleratorState._reset_state(reset_partial_state=True)  # one process has one precision, but for this test
        config = small_config("style_consistent", precision=precision, run=str(tmp_path / precision))
        train(config)
        runs[precision] = [line["generator/semantic"] for line in logged(config.run)]
    AcceleratorState._reset_state(reset_partial_state=True)
    assert runs["bf16"] != runs["fp32"]
    # From the second iteration on the weights differ, and each processor has its own kernels for bfloat16.
    assert runs["bf16"][0] == pytest.approx(runs["fp32"][0], rel=0.01), "bfloat16 has 8 bits: 0.4 % a rounding"
    assert np.isfinite(runs["bf16"]).all()
    weights = load_file(tmp_path / "bf16" / "checkpoint-0000000008" / "generator.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}, "weights and Adam stay in fp32"
