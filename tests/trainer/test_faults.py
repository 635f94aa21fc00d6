"""What can hurt a run, one by one, with real processes and real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from likeness.command import BadInput
from trainer.checkpoints.files import Checkpoint, find
from trainer.config import Config
from trainer.loop import POST_MORTEM, train, training_in
from trainer.method import Batch
from trainer.tracking.journal import read_journal
from trainer.training import Training

ROOT = Path(__file__).parents[2]
MakeConfig = Callable[..., Config]
LONG = 10**6


def command(config: Config, folder: Path) -> list[str]:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
    return [sys.executable, str(ROOT / "trainer" / "run.py"), "--config", str(file), "--resume", "latest"]


class Ranks:
    """Ranks started one by one, without a launcher that would look after them."""

    def __init__(self, config: Config, folder: Path, ranks: int) -> None:
        self.logs = [folder / f"rank-{rank}.log" for rank in range(ranks)]
        port = str(free_port())
        self.processes = []
        for rank, log in enumerate(self.logs):
            environment = {
                **os.environ,
                "ACCELERATE_USE_CPU": "1",
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "WORLD_SIZE": str(ranks),
                "LOCAL_WORLD_SIZE": str(ranks),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            }
            with log.open("wb") as out:
                self.processes.append(
                    subprocess.Popen(command(config, folder), env=environment, stdout=out, stderr=out, cwd=folder)
                )


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def two_ranks(config: Config, folder: Path) -> Iterator[Ranks]:
    """Two ranks that train for ever; whatever is left of them is killed in the end."""
    ranks = Ranks(config, folder, 2)
    try:
        wait_until_trained(config.run, ranks.processes)
        yield ranks
    finally:
        for process in ranks.processes:
            process.kill()
            process.wait()


def wait_until_trained(run: Path, processes: "list[subprocess.Popen[bytes]]") -> None:
    deadline = time.monotonic() + 180
    while not read_journal(run):
        assert time.monotonic() < deadline and not [process for process in processes if process.poll() is not None]
        time.sleep(0.1)


def hears(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Whether the process catches a signal, as the kernel says."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_during_start_up_is_kept(number: int, code: int, small_config: MakeConfig, tmp_path: Path) -> None:
    """Though nobody reads what the run prints."""
    config = small_config("pix2pixhd", images=LONG, checkpoint={"every": LONG})
    process = subprocess.Popen(command(config, tmp_path), cwd=tmp_path, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    while not hears(process, signal.SIGTERM):  # the last one that it learns to hear; SIGINT Python hears by itself
        assert process.poll() is None
        time.sleep(0.01)
    assert not config.run.exists(), "training has not begun"
    process.send_signal(number)
    assert process.wait(timeout=90) == code
    found = find(config.run)
    assert found is not None and Checkpoint(found).state.images <= 3 * config.batch


@pytest.mark.parametrize("what", ["evaluation", "saving"])
def test_a_signal_while_evaluating_or_saving(what: str, small_config: MakeConfig, tmp_path: Path) -> None:
    """Nearly all of the time goes into the one or the other."""
    changes = (
        {"checkpoint": {"every": LONG, "best": None}, "evaluation": {"every": 2, "pairs": 8}}
        if what == "evaluation"
        else {"checkpoint": {"every": 2}, "evaluation": {"every": LONG}, "options__generator_base": 64}
    )
    config = small_config("pix2pixhd", images=LONG, **changes)
    process = subprocess.Popen(command(config, tmp_path), cwd=tmp_path)
    wait_until_trained(config.run, [process])
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    found = find(config.run)
    assert found is not None
    checkpoint = Checkpoint(found)
    for name in checkpoint.state.files:
        stem, _, kind = name.rpartition(".")
        assert checkpoint.tensors(stem) if kind == "safetensors" else checkpoint.plain(stem)
    assert not [path for path in config.run.iterdir() if path.name.startswith(".checkpoint")], "nothing half-written"


def test_a_signal_to_the_whole_job_reaches_the_checkpoint(small_config: MakeConfig, tmp_path: Path) -> None:
    """Clusters signal every process of a job, loader workers too."""
    config = small_config("pix2pixhd", images=LONG, checkpoint={"every": LONG}, data__workers=2)
    process = subprocess.Popen(command(config, tmp_path), cwd=tmp_path, start_new_session=True)
    wait_until_trained(config.run, [process])
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert find(config.run) is not None


def test_a_signal_to_one_rank_saves_and_ends_all_with_75(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd", batch=1, images=LONG, checkpoint={"every": LONG}, evaluation={"every": LONG})
    with two_ranks(config, tmp_path) as ranks:
        ranks.processes[1].send_signal(signal.SIGUSR1)
        assert [process.wait(timeout=60) for process in ranks.processes] == [75, 75]
    found = find(config.run)
    assert found is not None
    state = Checkpoint(found).state
    assert state.ranks == 2 and state.images > 0


def test_a_rank_that_dies_is_named(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd", batch=1, images=LONG, checkpoint={"every": 20})
    with two_ranks(config, tmp_path) as ranks:
        while find(config.run) is None:
            time.sleep(0.1)
        ranks.processes[1].kill()
        assert ranks.processes[0].wait(timeout=60) == 1
    assert "rank 1 (" in (said := ranks.logs[0].read_text()) and "is dead or frozen; its last step was" in said
    assert "--resume latest" in said


def test_a_rank_that_hangs_is_named_within_the_time_out(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd", batch=1, images=LONG, faults={"timeout_s": 5}, checkpoint={"timeout_s": 4})
    with two_ranks(config, tmp_path) as ranks:
        ranks.processes[1].send_signal(signal.SIGSTOP)
        assert ranks.processes[0].wait(timeout=60) == 1
    said = ranks.logs[0].read_text()
    assert "error: rank 0 has not moved for" in said and "rank 1 (" in said and "is dead or frozen" in said


def test_the_launcher_starts_again_after_a_rank_died(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd", batch=1, images=400, checkpoint={"every": 40}, evaluation={"every": LONG})
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--max_restarts", "1"]
    launch += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*launch, *command(config, tmp_path)[1:]], env=environment, stdout=out, stderr=out, cwd=tmp_path
        )
    while find(config.run) is None:
        assert process.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[1]), signal.SIGKILL)
    assert process.wait(timeout=180) == 0
    found = find(config.run)
    assert found is not None and Checkpoint(found).state.images == 400
    assert log.read_text().count("training:") > 1, "it was started twice"


def test_two_runs_never_write_to_one_folder(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd", images=2)
    with training_in(config.run), pytest.raises(BadInput, match="another process is training in"):
        train(config, resume="latest")
    assert train(config, resume="latest") == 0


def test_ranks_save_and_end_when_their_launcher_is_killed(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd", images=LONG, checkpoint={"every": LONG}, evaluation={"every": LONG})
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1"]
    launch += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*launch, *command(config, tmp_path)[1:]], env=environment, cwd=tmp_path)
    wait_until_trained(config.run, [process])
    (rank,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{rank}/cmdline").exists() and Path(f"/proc/{rank}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the rank trains on without its launcher"
        time.sleep(0.1)
    assert find(config.run) is not None


def not_a_number(batch: Batch) -> Batch:
    """The batch with one pixel that is not a number in the target."""
    target = batch.target.clone()
    target[0, 0, 0, 0] = float("nan")
    return Batch(**{**vars(batch), "target": target})


def weights(training: Training) -> dict[str, torch.Tensor]:
    named = {
        f"{name}.{key}": value.clone()
        for name, network in training.method.networks.items()
        for key, value in network.state_dict().items()
    }
    return named | {
        f"{player}.{key}": value.clone()
        for player, engine in training.engines.items()
        for key, value in engine.state().items()
    }


def fake_batch(size: int, channels: int, noise: int = 0) -> Batch:
    torch.manual_seed(3)
    photos = [torch.rand(size, 3, 32, 32) * 2 - 1 for _ in range(4)]
    labels = [torch.rand(size, channels, 32, 32) for _ in range(2)]
    draws = torch.randn(size, noise)
    return Batch(labels[0], photos[0], labels[1], photos[1], photos[2], photos[3], torch.ones(size), noise=draws)


@pytest.mark.parametrize("method", ["pix2pixhd", "style_consistent"])
def test_an_iteration_that_is_not_finite_changes_nothing(method: str, small_config: MakeConfig) -> None:
    config = small_config(method)
    training = Training(config, config.data.label_schema, None)
    batch = fake_batch(2, training.schema.channels)
    _, skipped = training.step(batch)
    assert skipped.item() == 0
    before = weights(training)
    _, skipped = training.step(not_a_number(batch))
    assert skipped.item() == 1
    after = weights(training)
    assert not [name for name, value in before.items() if not torch.equal(value, after[name])]
    _, skipped = training.step(batch)
    assert skipped.item() == 0
    assert [name for name, value in weights(training).items() if not torch.equal(value, before[name])]


def test_too_many_bad_iterations_end_the_run_with_a_post_mortem(small_config: MakeConfig) -> None:
    config = small_config("style_consistent", images=40, optimizer={"learning_rate": 1e30}, faults={"max_skipped": 3})
    with pytest.raises(BadInput, match=r"more than 3 of the last iterations .*post-mortem\.json has their samples"):
        train(config)
    report = json.loads((config.run / POST_MORTEM).read_text())
    skipped = [entry for entry in report["iterations"] if entry["skipped"]]
    assert len(skipped) == 4
    assert len(skipped[-1]["keys_by_rank"][0]) == config.batch
    assert "gradient/generator" in skipped[-1]["figures"] and "generator/semantic" in skipped[-1]["figures"]
    assert {value for entry in skipped for value in entry["figures"].values()} & {"nan", "inf"}


def test_training_goes_on_and_keeps_its_best(small_config: MakeConfig) -> None:
    config = small_config(
        "style_consistent", images=16, checkpoint={"every": 100, "keep": 1}, evaluation={"every": 4, "pairs": 8}
    )
    train(config)
    measured = {
        line["images"]: line["held_out/semantic"] for line in read_journal(config.run) if "held_out/semantic" in line
    }
    assert list(measured) == [4, 8, 12, 16]
    best = min(measured, key=lambda images: measured[images])
    assert (config.run / "best").read_text().strip() == f"checkpoint-{best:010d}"
    assert Checkpoint(config.run / f"checkpoint-{best:010d}").state.figures["held_out/semantic"] == measured[best]
