"""How training scales over ranks: measured for 1, 2 and 4 processes here, predicted for 8, 64 and 512 GPUs.

    python benchmarks/scaling.py                                   the demo's networks, on this machine's CPU
    python benchmarks/scaling.py --gpu-tflops 300 --network-gb-s 25

Weak scaling: every rank has the same batch, whatever their number. Measured, each in turns within one process group:
a step; a step whose all-reduces are left out (what computing costs when so many ranks share this machine); and the
all-reduce alone, over messages of several sizes, to which latency and bandwidth are fitted.

The model, per player: its gradients of B bytes are all-reduced while its backward pass runs. A ring of n ranks takes
2(n-1)/n · B/bandwidth + 2(n-1) · latency per message of at most 25 MB. Of the backward pass (two thirds of a player's
arithmetic) a share `overlap` hides communication; the rest of it is exposed. Here, where ranks communicate with the
cores that they compute with, overlap is 0, so nothing of the model is fitted to the steps that it predicts.

For GPUs these are assumptions, not measurements, and every one of them is an argument: arithmetic at --gpu-tflops
(40 % of an H100's or H200's dense bf16 peak); eight GPUs per node in a ring over NVLink at --nvlink-gb-s; between nodes
every GPU all-reduces its eighth over its own --network-gb-s; gradients in float32; overlap 0.7; no stragglers, no data
wait. Efficiency is the time of one GPU over that of one of n.

Prints one JSON object; a table for people goes to stderr.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from likeness.arguments import count, positive
from likeness.loopback import free_port
from likeness.machine import device as describe_device
from trainer import config as configs
from trainer import methods
from trainer.config import Config
from trainer.estimate import Estimate, estimate
from trainer.method import Batch
from trainer.training import Training

BUCKET = 25 * 2**20
"""Bytes that DDP sends in one message."""
MESSAGES = (2**16, 2**20, 2**22, 2**24)
PER_NODE = 8
SIZES = (8, 64, 512)


def timed(body: Callable[[], object]) -> float:
    begun = time.perf_counter()
    body()
    return time.perf_counter() - begun


def fake_batch(config: Config, draws: int, rank: int) -> Batch:
    """One rank's samples, drawn at random. draws: normal draws that the method needs of each."""
    schema = config.data.label_schema
    generator = torch.Generator().manual_seed(rank)
    shape = (config.batch, schema.channels, schema.height, schema.width)
    labels = [torch.rand(shape, generator=generator) for _ in range(2)]
    pictures = (config.batch, 3, schema.height, schema.width)
    photos = [torch.rand(pictures, generator=generator) * 2 - 1 for _ in range(4)]
    same_style = torch.ones(config.batch)
    instances = torch.randint(0, 9, (config.batch, *shape[2:]), dtype=torch.int32, generator=generator)
    noise = torch.randn(config.batch, draws, generator=generator)
    return Batch(labels[0], photos[0], labels[1], photos[1], photos[2], photos[3], same_style, instances, noise)


def work(config: Config, steps: int) -> dict[str, Any]:
    """What one rank of a process group measures."""
    training = Training(config, config.data.label_schema, None)
    ranks = training.accelerator.num_processes
    assert ranks == int(os.environ["WORLD_SIZE"]), "the launcher started fewer ranks than asked for"
    batch = fake_batch(config, training.method.noise, training.accelerator.process_index)

    def step() -> None:
        training.step(batch)

    def alone() -> None:
        """The step without its all-reduces: every part of the batch counts as not the last."""
        whole = {}
        for player, engine in training.engines.items():
            run, backward = engine.run, engine.backward
            whole[player] = (run, backward)
            engine.run = lambda thunk, last, run=run: run(thunk, False)  # type: ignore[method-assign, misc]
            engine.backward = lambda loss, last, backward=backward: backward(loss, False)  # type: ignore[method-assign, misc]
        training.step(batch)
        for player, engine in training.engines.items():
            engine.run, engine.backward = whole[player]  # type: ignore[method-assign]

    times: dict[str, list[float]] = {"step": [], "alone": []}
    for number in range(steps + 2):
        for name, body in (("step", step), ("alone", alone)):
            if ranks > 1:
                distributed.barrier()
            seconds = timed(body)
            if number >= 2:
                times[name].append(seconds)
    measured: dict[str, Any] = {f"{name}_s": statistics.median(values) for name, values in times.items()}
    if ranks > 1:
        measured["all_reduce_s"] = {}
        for size in MESSAGES:
            message = torch.zeros(size // 4)
            distributed.all_reduce(message)
            distributed.barrier()
            reductions = [timed(lambda message=message: distributed.all_reduce(message)) for _ in range(9)]  # type: ignore[misc]
            measured["all_reduce_s"][size] = statistics.median(reductions)
    training.leave()
    return measured


def launch(config_file: Path, ranks: int, steps: int, out: Path) -> dict[str, Any]:
    """Runs `work` on so many ranks; the slowest rank's figures count."""
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks)]
    command += ["--master_addr", "127.0.0.1", "--master_port", str(port), __file__]
    command += ["--worker", str(out), "--config", str(config_file), "--steps", str(steps)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
    every = [json.loads((out / f"{ranks}-{rank}.json").read_text(encoding="utf-8")) for rank in range(ranks)]
    slowest: dict[str, Any] = max(every, key=lambda figures: figures["step_s"])
    return slowest


def fit(all_reduce_s: dict[str, float], ranks: int) -> tuple[float, float]:
    """Latency in seconds and bandwidth in bytes per second of a ring: least squares of relative errors."""
    sizes = np.array([float(size) for size in all_reduce_s])
    seconds = np.array(list(all_reduce_s.values()))
    columns = np.stack([np.full_like(sizes, 2.0 * (ranks - 1)), 2 * (ranks - 1) / ranks * sizes], axis=1)
    (latency, per_byte), *_ = np.linalg.lstsq(columns / seconds[:, None], np.ones_like(sizes), rcond=None)
    return max(float(latency), 0.0), 1 / max(float(per_byte), 1e-15)


def ring(bytes_: float, ranks: int, latency: float, bandwidth: float) -> float:
    """Seconds of an all-reduce."""
    messages = -(-bytes_ // BUCKET)
    return 2 * (ranks - 1) / ranks * bytes_ / bandwidth + messages * 2 * (ranks - 1) * latency


def costs_of(config: Config) -> Estimate:
    """What a step costs at the start of a run, which is where steps are measured."""
    return estimate(config, config.data.label_schema, 0)


def player_bytes(config: Config, costs: Estimate) -> dict[str, int]:
    """Bytes of gradients that each player all-reduces per step, at the start of a run."""
    with torch.device("meta"):
        method = methods.find(config.method)(config.options, config.data.label_schema)
    players = method.stage(0).players
    sizes = {player: sum(costs.parameters[name] for name in names) for player, names in players.items()}
    return {player: round(4 * size * costs.turns_by_player[player]) for player, size in sizes.items()}


def predict_gpus(config: Config, ranks: int, batch: int, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of a step, how much of it is exposed communication, and the efficiency."""
    costs = costs_of(config)
    latency = options.latency_us * 1e-6
    nvlink, network = options.nvlink_gb_s * 1e9, options.network_gb_s * 1e9
    computing = exposed = 0.0
    for player, size in player_bytes(config, costs).items():
        seconds = batch * costs.flops_by_player[player] / (options.gpu_tflops * 1e12)
        inside = min(ranks, PER_NODE)
        nodes = ranks // PER_NODE
        communication = ring(size, inside, latency, nvlink)
        if nodes > 1:
            communication += ring(size / PER_NODE, nodes, latency, network)
        hidden = options.overlap * seconds * 2 / 3
        # The last message begins when the backward pass is over, however much of it could hide.
        last = ring(min(size, BUCKET), inside, latency, nvlink)
        exposed += max(communication - hidden, last)
        computing += seconds
    return {
        "step_ms": round(1000 * (computing + exposed), 3),
        "exposed_ms": round(1000 * exposed, 3),
        "efficiency": round(computing / (computing + exposed), 3),
    }


def measured_rows(config: Config, here: dict[int, dict[str, Any]]) -> dict[int, dict[str, float]]:
    """What was measured, and what the model predicts of it, by the number of ranks. here: figures of `launch`."""
    sizes = player_bytes(config, costs_of(config)).values()
    rows = {}
    for ranks, figures in here.items():
        row = {"step_ms": 1000 * figures["step_s"], "without_all_reduce_ms": 1000 * figures["alone_s"]}
        if ranks > 1:
            latency, bandwidth = fit(figures["all_reduce_s"], ranks)
            predicted = figures["alone_s"] + sum(ring(size, ranks, latency, bandwidth) for size in sizes)
            row |= {
                "latency_us": latency * 1e6,
                "bandwidth_gb_s": bandwidth / 1e9,
                "predicted_ms": 1000 * predicted,
                "error": predicted / figures["step_s"] - 1,
                "efficiency": here[1]["step_s"] / figures["step_s"],
                "efficiency_of_computing_alone": here[1]["alone_s"] / figures["alone_s"],
            }
        rows[ranks] = {name: round(value, 4) for name, value in row.items()}
    return rows


def print_table(rows: dict[int, dict[str, float]], gpus: dict[str, dict[str, dict[str, float]]]) -> None:
    """The measurements and predictions for people, on stderr."""
    print(f"{'ranks':<6} {'step ms':>9} {'predicted':>10} {'error':>7}", file=sys.stderr)
    for ranks, row in rows.items():
        prediction = f"{row['predicted_ms']:>10.1f} {row['error']:>7.1%}" if ranks > 1 else ""
        print(f"{ranks:<6} {row['step_ms']:>9.1f} {prediction}", file=sys.stderr)
    for batch_name, by_size in gpus.items():
        efficiencies = ", ".join(f"{ranks} GPUs {row['efficiency']:.0%}" for ranks, row in by_size.items())
        print(f"predicted efficiency, {batch_name} per GPU: {efficiencies}", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", type=Path, default=Path("trainer/configs/demo.yaml"), help="what is trained here")
    add("--batch", type=count, default=2, help="samples per rank here (default: 2)")
    add("--steps", type=count, default=9, help="measured steps of each kind, after two that are not counted")
    add("--gpu-config", type=Path, default=Path("trainer/configs/face.yaml"), help="what is predicted for GPUs")
    add("--gpu-batches", default="1,4,8", help="samples per GPU (default: 1,4,8)")
    add("--gpu-tflops", type=positive, default=400.0, help="arithmetic that a GPU reaches in training (default: 400)")
    add(
        "--nvlink-gb-s",
        type=positive,
        default=450.0,
        help="GB/s of a GPU to its neighbour, one direction (default: 450)",
    )
    add("--network-gb-s", type=positive, default=50.0, help="GB/s of a GPU's own network port (default: 50)")
    add("--latency-us", type=positive, default=5.0, help="microseconds per hop of a ring (default: 5)")
    add("--overlap", type=positive, default=0.7, help="share of the backward pass that hides messages (default: 0.7)")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    config = configs.load(options.config, ["--perceptual.weights", "random:0", "--batch", str(options.batch)])
    if options.worker is not None:
        figures = work(config, options.steps)
        (options.worker / f"{os.environ['WORLD_SIZE']}-{os.environ['RANK']}.json").write_text(
            json.dumps(figures), encoding="utf-8"
        )
        return
    here: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ranks in (1, 2, 4):
            here[ranks] = launch(options.config, ranks, options.steps, Path(folder))
    rows = measured_rows(config, here)
    gpu_config = configs.load(options.gpu_config, ["--perceptual.weights", "random:0"])
    predicted_gpus = {
        f"batch {batch}": {str(ranks): predict_gpus(gpu_config, ranks, batch, options) for ranks in SIZES}
        for batch in map(int, options.gpu_batches.split(","))
    }
    assumed = {
        name: getattr(options, name) for name in ("gpu_tflops", "nvlink_gb_s", "network_gb_s", "latency_us", "overlap")
    }
    print_table(rows, predicted_gpus)
    result = {
        "config": str(options.config),
        "batch_per_rank": options.batch,
        "steps": options.steps,
        "gradient_bytes": player_bytes(config, costs_of(config)),
        "measured_here": rows,
        "note": f"ranks share {len(os.sched_getaffinity(0))} cores, one thread each; 4 ranks are more than there are",
        "gpu_config": str(options.gpu_config),
        "gpu_gradient_bytes": player_bytes(gpu_config, costs_of(gpu_config)),
        "gpu_assumptions": assumed,
        "gpu_predictions": predicted_gpus,
        "hardware": describe_device("cpu"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
