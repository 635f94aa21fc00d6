"""The batch jobs on a real Slurm of two nodes: preempted, warned, cancelled, sliced."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from export.__main__ import main as export
from shards.worlds.film import film
from tests.slurm.cluster import Cluster
from trainer.checkpoints import files as checkpoints

ROOT = Path(__file__).parents[2]
NODE = ("--cpus-per-task=2",)
ENVIRONMENT = {"VENV": sys.prefix, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
SMALL = [
    "--data.height=32",
    "--data.width=32",
    "--options.generator_base=4",
    "--options.generator_blocks=1",
]
IMAGES = 400


def submit(cluster: Cluster, logs: Path, script: str, *arguments: str | Path, sbatch: tuple[str, ...] = ()) -> str:
    options = (f"--chdir={ROOT}", f"--output={logs}/%x.%j.log", *NODE, *sbatch)
    return cluster.submit(*options, ROOT / "slurm" / script, *arguments, **ENVIRONMENT)


def log_of(logs: Path, job: str) -> str:
    return "\n".join(file.read_text(errors="replace") for file in logs.glob(f"*.{job}.log"))


def settings(packed: Path, run: Path) -> list[str]:
    """The demo preset with a small network, for trainer/run.py."""
    chosen = {
        "config": "trainer/configs/demo.yaml",
        "run": run,
        "images": IMAGES,
        "batch": 2,
        "data.train": packed / "train",
        "data.test": packed / "test",
        "data.workers": 0,
        "options.discriminator_base": 4,
        "perceptual.divisor": 16,
        "tracking.uri": f"sqlite:///{run.parent}/{run.name}.db",
        "tracking.log_every": 4,
        "evaluation.every": IMAGES,
        "evaluation.pairs": 4,
        "checkpoint.every": IMAGES,
        "checkpoint.keep": 5,
    }
    return [*SMALL, *(f"--{name}={value}" for name, value in chosen.items())]


def train_alone(packed: Path, run: Path) -> "subprocess.Popen[bytes]":
    """Starts the same training with two processes, without Slurm."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [Path(sys.prefix) / "bin" / "accelerate", "launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    launch += ["--mixed_precision=no", "--dynamo_backend=no", f"--main_process_port={port}", "trainer/run.py"]
    environment = {**os.environ, **ENVIRONMENT, "ACCELERATE_USE_CPU": "1"}
    return subprocess.Popen([*launch, *settings(packed, run)], cwd=ROOT, env=environment)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


def images_logged(run: Path) -> list[int]:
    """The images of every log line, over all starts of the run."""
    journal = run / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [found["images"] for found in map(json.loads, lines) if "images" in found]


def saved(run: Path) -> list[int]:
    """The images of the checkpoints, which two ranks wrote."""
    states = [checkpoints.Checkpoint(folder).state for folder in sorted(run.glob("checkpoint-*"))]
    assert {state.ranks for state in states} <= {2}
    return [state.images for state in states]


def test_a_run_that_is_warned_and_preempted_ends_as_one_that_is_left_alone(
    cluster: Cluster, packed: Path, tracked: Path, tmp_path: Path
) -> None:
    run, alone = tmp_path / "stopped", tmp_path / "alone"
    for folder in (run, alone):
        shutil.copyfile(tracked, folder.with_suffix(".db"))
    job = submit(cluster, tmp_path, "train.sbatch", *settings(packed, run), sbatch=("--nodes=2",))
    wait_for(lambda: images_logged(run), "the first start to train")
    cluster.run("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1@120 does before the time limit
    wait_for(lambda: cluster.job(job)["Restarts"] == "1", "the first requeue")
    (first,) = saved(run)
    # Meanwhile the nodes wait for the job's old credential to expire.
    reference = train_alone(packed, alone)
    try:
        wait_for(lambda: images_logged(run)[-1] > first, "the second start to train")
        urgent = cluster.submit("--partition=urgent", "--nodes=2", *NODE, "--output=/dev/null", "--wrap=sleep 1")
        cluster.wait_until(urgent, "COMPLETED")
        assert cluster.job(job)["Restarts"] == "2"
        _, second = saved(run)
        cluster.wait_until(job, "COMPLETED", "FAILED")
        assert reference.wait(60) == 0
    finally:
        reference.terminate()
        reference.wait()

    log = log_of(tmp_path, job)
    print(log)
    assert cluster.states(job) == {"COMPLETED"}
    assert 0 < first < second < IMAGES
    assert saved(run) == [first, second, IMAGES] and saved(alone) == [IMAGES]
    assert sorted(set(images_logged(run))) == sorted(set(images_logged(alone))) == list(range(4, IMAGES + 1, 4))
    starts = [line.split(": ", 1)[1] for line in log.splitlines() if ": start " in line]
    assert starts == [f"start {number}, 2 × 1 processes on CPUs of n[1-2]" for number in (1, 2, 3)]
    assert log.count("told to stop (SIGUSR1)") == log.count("stopped and requeued") == 2
    assert log.count("Exited with exit code 75") == 4, "both nodes, twice"
    for file in ("generator.safetensors", "generator.ema.safetensors", "generator.optimizer.safetensors"):
        ours, theirs = (load_file(checkpoints.folder_of(folder, IMAGES) / file) for folder in (run, alone))
        assert ours.keys() == theirs.keys()
        assert all(ours[name].equal(theirs[name]) for name in ours), f"{file} differs"

    options = ("--checkpoint", run, "--data", packed / "test", "--pairs", "4", "--out", tmp_path / "judged")
    two_processes = ("--nodes=1", "--export=ALL,PROCESSES_PER_NODE=2")
    measuring = submit(cluster, tmp_path, "evaluate.sbatch", *options, sbatch=two_processes)
    cluster.wait_until(measuring, "COMPLETED", "FAILED")
    log = log_of(tmp_path, measuring)
    assert cluster.states(measuring) == {"COMPLETED"}, log
    assert "1 × 2 processes on CPUs of n1" in log
    figures = json.loads((tmp_path / "judged" / "evaluation.json").read_text())
    assert (figures["images"], figures["pairs"]) == (IMAGES, 4)
    assert figures["checkpoint"] == checkpoints.Checkpoint(checkpoints.folder_of(run, IMAGES)).state.digest


def test_told_to_stop_while_starting_it_is_requeued_and_once_cancelled_it_stays_so(
    cluster: Cluster, packed: Path, tmp_path: Path
) -> None:
    """SIGTERM to the processes, not to the batch script, is what most clusters send at preemption."""
    job = submit(cluster, tmp_path, "train.sbatch", *settings(packed, tmp_path / "run"), sbatch=("--nodes=2",))
    wait_for(lambda: ": start 1," in log_of(tmp_path, job), "the first start")
    cluster.run("scancel", "--signal=TERM", job)
    wait_for(lambda: ": start 2," in log_of(tmp_path, job), "the second start")
    cluster.run("scancel", job)
    wait_for(lambda: "its state is" in log_of(tmp_path, job), "the end of the batch script")
    cluster.wait_until(job, "CANCELLED")
    time.sleep(1)
    assert cluster.states(job) == {"CANCELLED"}
    assert log_of(tmp_path, job).count("stopped and requeued") == 1


def test_a_broken_run_is_a_failed_job(cluster: Cluster, packed: Path, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "train.sbatch", "--config", "nowhere.yaml", sbatch=("--nodes=1",))
    cluster.wait_until(job, "FAILED")
    assert cluster.job(job)["ExitCode"] == "2:0"
    assert "error: no config at nowhere.yaml" in log_of(tmp_path, job)


def test_packing_in_a_job_array_gives_the_single_runs_bytes(cluster: Cluster, tmp_path: Path) -> None:
    film("faces", tmp_path / "videos", videos=4, seconds=1, size=64, seed=3)
    options = ["--source", tmp_path / "videos", "--pairs", "20", "--size", "32", "--samples-per-shard", "5"]
    job = submit(
        cluster, tmp_path, "pack.sbatch", *options, "--out", tmp_path / "sliced", sbatch=("--array=0-1", "--mem=0")
    )
    merge = cluster.submit(
        f"--dependency=afterok:{job}",
        f"--output={tmp_path}/merge.log",
        f"--chdir={ROOT}",
        f"--wrap={sys.executable} -m shards merge --out {tmp_path}/sliced",
        **ENVIRONMENT,
    )
    subprocess.run(
        [sys.executable, "-m", "shards", "pack", *options, "--out", tmp_path / "whole"],
        env={**os.environ, **ENVIRONMENT},
        check=True,
    )
    cluster.wait_until(merge, "COMPLETED")
    assert {file.name: file.read_bytes() for file in (tmp_path / "sliced").iterdir()} == {
        file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "model.onnx"
    config = str(ROOT / "trainer" / "configs" / "demo.yaml")
    assert export(["--config", config, "--untrained", "--out", str(out), *SMALL]) == 0
    return out


def test_inference_in_a_job_array_makes_every_picture_once(
    cluster: Cluster, model: Path, packed: Path, tmp_path: Path
) -> None:
    options = ["--model", model, "--pairs", packed / "train"]
    job = submit(
        cluster, tmp_path, "infer.sbatch", *options, "--out", tmp_path / "sliced", sbatch=("--array=0-1", "--mem=0")
    )
    subprocess.run(
        [sys.executable, "-m", "deploy", "batch", *options, "--out", tmp_path / "whole"],
        env={**os.environ, **ENVIRONMENT},
        check=True,
    )
    cluster.wait_until(job, "COMPLETED")
    names = {file.name for file in (tmp_path / "whole").glob("*.png")}
    assert names == {file.name for file in (tmp_path / "sliced").glob("*.png")} and len(names) == 20
    assert all((tmp_path / "sliced" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)
    made = [json.loads((tmp_path / "sliced" / f"summary-{n}-of-2.json").read_text())["pictures"] for n in range(2)]
    assert made == [10, 10]
