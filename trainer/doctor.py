"""`python -m trainer.doctor`: what would go wrong in a long training job, said in one screen before it is queued."""

import argparse
import math
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from likeness.arguments import count
from likeness.command import BAD_INPUT, DONE, BadInput, run_command
from likeness.disk import nearest_existing
from likeness.loopback import free_port
from likeness.machine import memory
from likeness.one_writer import is_held
from shards.inspection.doctor import Finding, Job, examine
from shards.reading.store import Store
from shards.reading.stream import Stream, open_shards
from shards.reading.urls import redacted
from shards.records import Manifest
from trainer import config as configs
from trainer import methods
from trainer.batches import reading_of
from trainer.checkpoints import files as checkpoints
from trainer.config import Config
from trainer.estimate import estimates, peak_flops
from trainer.foresight import outlook
from trainer.foresight.preview import PEAK_SHARE
from trainer.loop import LOCK
from trainer.metrics.published_weights import cached_file
from trainer.perceptual import URL, load_loss_network
from trainer.ranks import environment

PORT = 29500
"""The port at which launchers let ranks meet unless told otherwise."""
NCCL_BYTES = 1 << 30
"""What NCCL's troubleshooting page has containers ask for by --shm-size."""
MOST_TIMED, TIMED_S = 256, 1.0
"""How many training samples are made to see how long one takes, and for how many seconds at most."""
WORK_SPACE = 1.3
"""What libraries and fragmentation add to the memory that can be counted."""


def findings(config: Config, world_size: int) -> Iterator[Finding]:
    """What the shards' doctor finds, then networks, memory, disk, weights, tracker and ports. Changes nothing."""
    data = config.data
    yield from _settings(config, world_size)
    yield from examine(
        Job(
            train=data.train,
            test=data.test,
            world_size=world_size,
            ranks_here=min(world_size, torch.cuda.device_count() or world_size),
            workers=data.workers,
            batch=config.batch,
            remainder=data.remainder,
            cache=data.cache,
            expected=(data.label, data.height, data.width),
        )
    )
    yield from _devices(config, world_size)
    yield from _supply(config, world_size)
    yield from _run_folder(config)
    yield from _loss_network(config)
    yield _tracker(config.tracking.uri)
    yield from _ports(world_size)
    yield from _shared_memory(world_size)


def _settings(config: Config, world_size: int) -> Iterator[Finding]:
    """What this shell says to a run, and what its settings come to together."""
    for problem in environment.problems(config.precision, config.accumulate, config.speed.compile):
        yield Finding("wrong", problem)
    for problem in outlook.problems(config, world_size):
        yield Finding("wrong", problem)
    for note in environment.notes(config.tracking.uri, config.tracking.experiment):
        yield Finding("note", note)
    for note in environment.waiting():
        yield Finding("note", note)
    for note in outlook.surprises(config, world_size):
        yield Finding("note", note)


def _devices(config: Config, world_size: int) -> Iterator[Finding]:
    schema = config.data.label_schema
    try:
        with open_shards(config.data.train) as (manifest, _):
            schema = manifest.schema
    except BadInput:
        yield Finding("note", "without shards, the label schema is taken from the config")
    costs = max(estimates(config, schema).values(), key=lambda stage: stage.memory_bytes)
    needed = WORK_SPACE * costs.memory_bytes
    names = ", ".join(f"{name} {count / 1e6:,.2f} M" for name, count in costs.parameters.items())
    yield Finding("ok", f"parameters: {names}; {costs.flops / 1e9:,.1f} GFLOP per image")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield Finding(
                "ok" if needed < free else "wrong",
                f"GPU {index} ({name}): {free / 1e9:,.1f} of {total / 1e9:,.1f} GB free, about {needed / 1e9:,.1f} GB "
                "needed" + ("" if needed < free else "; raise accumulate, set speed.recompute true or precision bf16"),
            )
    else:
        there = memory()
        yield Finding(
            "note" if needed < there else "wrong",
            f"no GPU here: training would run on the CPU; a rank needs about {needed / 1e9:,.1f} GB of memory, of "
            f"{there / 1e9:,.1f} GB that may be used" + ("" if needed < there else "; raise the container's limit"),
        )
    here = max(1, torch.cuda.device_count())
    if world_size > here:
        yield Finding("note", f"{world_size} ranks, {here} of them on a machine like this one")


def _supply(config: Config, world_size: int) -> Iterator[Finding]:
    """Whether loader workers make samples as fast as a rank trains on them, with the arithmetic."""
    try:
        with open_shards(config.data.train) as (manifest, store):
            each = _samples_per_second(config, manifest, store)
            schema = manifest.schema
    except BadInput:
        return  # said already: nothing can be read
    flops = min(stage.flops for stage in estimates(config, schema).values())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = config.precision if device.type == "cuda" else "fp32"
    peak = peak_flops(device, precision)
    wanted = PEAK_SHARE * peak / flops
    # Without workers the training process reads by itself, and does nothing else meanwhile.
    workers = max(1, config.data.workers)
    cores = len(os.sched_getaffinity(0))
    here = min(world_size, max(1, torch.cuda.device_count()))
    busy = min(workers, cores / here)
    supplied = busy * each
    arithmetic = (
        f"data supply: {each:,.0f} samples/s from a loader worker × {busy:g} ({workers} workers, {cores} cores for "
        f"{here} ranks here) = {supplied:,.0f} images/s a rank; a rank on this machine's {device.type} trains on about "
        f"{wanted:,.3g} images/s ({PEAK_SHARE:.0%} of {peak / 1e12:,.3g} TFLOP/s in {precision}, {flops / 1e9:,.1f} "
        "GFLOP an image)"
    )
    if supplied < wanted:
        more = math.ceil(wanted / each)
        yield Finding(
            "note",
            f"{arithmetic}; it would wait for data: set data.workers {more}, and give each rank {more + 1} CPUs "
            "(sbatch --cpus-per-gpu)",
        )
    else:
        yield Finding("ok", arithmetic)
    if device.type != "cuda":
        yield Finding(
            "note",
            f"data supply: {supplied:,.0f} images/s are enough for a GPU whose matrix products reach "
            f"{supplied * flops / PEAK_SHARE / 1e12:,.3g} TFLOP/s; for a faster one set more data.workers, and give "
            "each rank a CPU for each of them",
        )


def _samples_per_second(config: Config, manifest: Manifest, store: Store) -> float:
    """How many training samples one process makes in a second here: read, decoded, drawn and mirrored."""
    with torch.device("meta"):
        method = methods.find(config.method)(config.options, manifest.schema)
    reading = replace(reading_of(method, 1), seed=config.seed, shuffle=config.data.shuffle, flip=config.data.flip)
    samples = iter(Stream(manifest, store, reading))
    next(samples)  # with it the shard is fetched and opened
    begun = time.perf_counter()
    count = 0
    while count < MOST_TIMED and time.perf_counter() < begun + TIMED_S:
        next(samples)
        count += 1
    return count / (time.perf_counter() - begun)


def _run_folder(config: Config) -> Iterator[Finding]:
    run = config.run
    schema = config.data.label_schema
    largest = max(stage.checkpoint_bytes for stage in estimates(config, schema).values())
    whole = largest * (config.checkpoint.keep + 2)
    there = nearest_existing(run)
    free = shutil.disk_usage(there).free
    yield Finding(
        "ok" if free > whole else "wrong",
        f"{there} has {free / 1e9:,.1f} GB free, {config.checkpoint.keep} checkpoints, the best one and the one being "
        f"written take {whole / 1e9:,.2f} GB",
    )
    if not os.access(there, os.W_OK):
        yield Finding("wrong", f"{there} cannot be written to; set --run to another folder")
    if not run.exists():
        return
    if is_held(run / LOCK):
        yield Finding("wrong", f"another process is training in {run}")
    try:
        found = checkpoints.find(run)
        if found is not None:
            images = checkpoints.Checkpoint(found).state.images
            yield Finding("note", f"{run} holds a run of {images:,} images already: --resume latest goes on with it")
    except BadInput as error:
        yield Finding("wrong", str(error))


def _loss_network(config: Config) -> Iterator[Finding]:
    loss = config.perceptual
    if loss.weights == "download":
        cached = cached_file(URL)
        if not cached.is_file():
            yield Finding("note", "the loss network's weights will be downloaded at the start: is there internet?")
            return
    try:
        load_loss_network(loss.weights, loss.divisor, loss.imagenet_norm, loss.resize_below)
        yield Finding("ok", f"the loss network's weights {loss.weights} are whole")
    except BadInput as error:
        yield Finding("wrong", str(error))


def _tracker(uri: str) -> Finding:
    """A tracker that is not there costs nothing but its pictures for a while: a note."""
    scheme, _, rest = uri.partition(":///")
    if scheme == "sqlite":
        good = os.access(nearest_existing(Path(rest).absolute().parent), os.W_OK)
        return Finding("ok" if good else "wrong", f"tracking.uri {uri} can{'' if good else 'not'} be written")
    if not uri.startswith(("http://", "https://")):
        return Finding("note", f"tracking.uri {redacted(uri)} is not a server that can be asked from here")
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5) as answer:
            return Finding("ok", f"tracking.uri {redacted(uri)} answers ({answer.status})")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Finding(
            "note",
            f"tracking.uri {redacted(uri)} does not answer ({error}); training goes on without it, and "
            "`python -m trainer.tracking replay` sends the figures later",
        )


def _ports(world_size: int) -> Iterator[Finding]:
    if world_size == 1:
        return
    said = os.environ.get("MASTER_PORT", "")
    port = int(said) if said.isdecimal() else PORT
    try:
        free_port("", port)
        yield Finding("ok", f"port {port}, where ranks meet, is free on this machine")
    except BadInput as error:
        reason = error.__cause__
        yield Finding("wrong", f"port {port}, where ranks meet, is taken here ({reason}); set --main_process_port")


def _shared_memory(world_size: int) -> Iterator[Finding]:
    """Room for NCCL, whose ranks on one machine may talk through /dev/shm; loader workers need none there."""
    if world_size == 1 or torch.cuda.device_count() < 2:
        return
    free = shutil.disk_usage("/dev/shm").free
    yield Finding(
        "ok" if free >= NCCL_BYTES else "note",
        f"/dev/shm has {free / 1e9:,.2f} GB free, NCCL's documentation advises {NCCL_BYTES / 1e9:,.2f} GB"
        + ("" if free >= NCCL_BYTES else ": docker run --shm-size=1g"),
    )


HELP = """\
Looks at everything that a training job needs, and says in one screen what would go wrong: shards and their arithmetic
over ranks and workers, label schema, memory, disk, the run's folder, the loss network's weights, the tracker, the port
where ranks meet. Run it on a machine like those of the job. Settings can be overridden as in training.
"""


def _command(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.doctor",
        description=HELP,
        epilog="example: python -m trainer.doctor --config trainer/configs/face.yaml --world-size 32 --batch 4\n\n"
        "exit codes: 0 nothing would go wrong, 2 something would",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        nargs="+",
        action="extend",
        metavar="YAML",
        help="the training config; further files change some of its settings",
    )
    parser.add_argument("--world-size", type=count, default=1, metavar="N", help="ranks of the job (default: 1)")
    options, overrides = parser.parse_known_args(arguments)
    wrong = 0
    for finding in findings(configs.load(options.config, overrides), options.world_size):
        wrong += finding.state == "wrong"
        print(f"{finding.state:<6} {finding.text}")
    print(f"{wrong} would go wrong" if wrong else "nothing would go wrong")
    return BAD_INPUT if wrong else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
