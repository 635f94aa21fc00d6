"""Training beside a busy neighbour: what is left of its speed when other processes want the same cores.

    python benchmarks/neighbour.py                       the demo's networks and batch, one spinning process per core
    python benchmarks/neighbour.py --neighbours 4 --seconds 20 --turns 5

Each turn measures iterations for some seconds in a process of its own: as it is launched, with OpenMP threads that
sleep at barriers, and with threads that spin, as libgomp has them when nothing is said; each alone and beside
processes that do nothing but compute. With n neighbours on c cores a fair scheduler leaves c/(c + n) of the machine to
c threads of training: that share of the speed alone is the goal, and no loss without a neighbour.

Prints one JSON object.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likeness.arguments import count, positive
from likeness.process.threads import QUIET, share_cores

WAYS = ("sleeping", "spinning")
SPIN = "while True: pass"


def iterate(way: str, config_file: Path, seconds: float) -> None:
    """What a measured process does: iterations of training on one batch, then one line with images per second."""
    if way == "sleeping":
        share_cores()  # as trainer/run.py does
    from benchmarks.train_step import batch_of
    from trainer import config as configs
    from trainer.speed.host_memory import keep_freed_memory
    from trainer.training import Training

    config = configs.load(config_file, ["--perceptual.weights", "random:0"])
    keep_freed_memory()
    schema = config.data.label_schema
    training = Training(config, schema, None)
    batch = batch_of(config.batch, schema.channels, schema.height, schema.width, training.device)
    training.step(batch)
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        training.step(batch)
        steps += 1
    print(config.batch * steps / (time.perf_counter() - begun), flush=True)


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rate(way: str, options: argparse.Namespace, beside: int) -> float:
    """Images per second of a process of its own, with so many neighbours."""
    environment = {name: value for name, value in os.environ.items() if name not in (*QUIET, "GOMP_SPINCOUNT")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    command = [sys.executable, __file__, "--iterate", way, "--config", str(options.config)]
    command += ["--seconds", str(options.seconds)]
    with neighbours(beside):
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--config", type=Path, default=Path("trainer/configs/demo.yaml"))
    parser.add_argument(
        "--neighbours", type=count, default=cores, help="spinning processes, one for each core by default"
    )
    parser.add_argument("--seconds", type=positive, default=8.0, help="how long each turn measures")
    parser.add_argument("--turns", type=count, default=3)
    parser.add_argument("--iterate", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.iterate:
        iterate(options.iterate, options.config, options.seconds)
        return
    measured: dict[str, list[float]] = {f"{way} {place}": [] for way in WAYS for place in ("alone", "beside")}
    for _ in range(options.turns):
        for way in WAYS:
            measured[f"{way} alone"].append(rate(way, options, 0))
            measured[f"{way} beside"].append(rate(way, options, options.neighbours))
    figures: dict[str, Any] = {
        "config": str(options.config),
        "neighbours": options.neighbours,
        "share_of_the_cores": round(cores / (cores + options.neighbours), 3),
        "images_per_s": {name: round(statistics.median(values), 2) for name, values in measured.items()},
        "all": {name: [round(value, 2) for value in values] for name, values in measured.items()},
    }
    alone = figures["images_per_s"]["spinning alone"]
    figures["of_spinning_alone"] = {name: round(value / alone, 3) for name, value in figures["images_per_s"].items()}

    import torch

    from likeness.machine import processor

    figures["hardware"] = processor()
    figures["versions"] = {"torch": torch.__version__, "python": platform.python_version()}
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
