"""Training or serving beside a busy neighbour: what is left of its speed when other processes want the same cores.

    python benchmarks/neighbour.py                       the demo's networks and batch, one spinning process per core
    python benchmarks/neighbour.py --neighbours 4 --seconds 20 --turns 5
    python benchmarks/neighbour.py --model model.onnx --shards data/test

Each turn measures for some seconds in a process of its own: iterations of training as it is launched, with OpenMP
threads that sleep at barriers, and with threads that spin, as libgomp has them when nothing is said; or, with --model,
pictures of pairs that two threads decode and encode beside the model, as the service does, with ONNX Runtime's threads
sleeping or spinning between runs. Each alone and beside processes that do nothing but compute. With n neighbours on c
cores a fair scheduler leaves c/(c + n) of the machine to c threads: that share of the speed alone is the goal, and no
loss without a neighbour.

Prints one JSON object.
"""

import argparse
import contextlib
import itertools
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


def paint(way: str, model: Path, shards: Path, seconds: float) -> None:
    """The same of a model that is served: pictures of pairs, decoded and encoded in threads beside it."""
    from concurrent.futures import ThreadPoolExecutor

    from deploy.batch.open_pairs import open_pairs
    from deploy.pictures import to_picture
    from deploy.runtime import Session
    from likeness.onnx_runtime import spinning
    from shards.media.pictures import encode_picture

    with spinning() if way == "spinning" else contextlib.nullcontext():
        session = Session(model)
    jobs = itertools.cycle(list(open_pairs(shards, session.schema, session.inputs).jobs(lambda *_: True)))

    with ThreadPoolExecutor(2) as pool:
        ahead = [pool.submit(next(jobs).load) for _ in range(4)]
        pictures, begun, encoded = -4, 0.0, None
        while pictures <= 0 or time.perf_counter() < begun + seconds:
            if pictures == 0:
                begun = time.perf_counter()
            loaded = ahead.pop(0).result()
            ahead.append(pool.submit(next(jobs).load))
            image = session.run(**{name: value[None] for name, value in session.tensors(loaded).items()})[0]
            if encoded is not None:
                encoded.result()
            encoded = pool.submit(encode_picture, to_picture(image))
            pictures += 1
        print(pictures / (time.perf_counter() - begun), flush=True)


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
    if options.model:
        command += ["--model", str(options.model), "--shards", str(options.shards)]
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
    parser.add_argument("--model", type=Path, help="an exported model: measures serving")
    parser.add_argument("--shards", type=Path, help="with --model: pairs to paint")
    parser.add_argument("--iterate", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.iterate and options.model:
        paint(options.iterate, options.model, options.shards, options.seconds)
        return
    if options.iterate:
        iterate(options.iterate, options.config, options.seconds)
        return
    measured: dict[str, list[float]] = {f"{way} {place}": [] for way in WAYS for place in ("alone", "beside")}
    for _ in range(options.turns):
        for way in WAYS:
            measured[f"{way} alone"].append(rate(way, options, 0))
            measured[f"{way} beside"].append(rate(way, options, options.neighbours))
    figures: dict[str, Any] = {
        "measured": str(options.model or options.config),
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
