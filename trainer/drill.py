"""`python -m trainer.drill`: kills a small run again and again, and compares its end with an uninterrupted one."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from tqdm import tqdm

from likeness.command import BAD_INPUT, DONE, PREEMPTED, BadInput, run_command
from likeness.loopback import free_port
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film
from trainer import methods
from trainer.checkpoints import files as checkpoints

RUN = Path(__file__).with_name("run.py")
IMAGES_PER_KILL = 24
CHECKPOINT_EVERY = 16
START_UP = 0.2
"""The share of the kills that are aimed at the start-up; the others come after a random image."""
ENDED_S = 120
"""Seconds within which a run must have saved and ended after SIGTERM."""
STARTED_S = 300
SMALL = {"generator_base": 8, "generator_downsamplings": 2, "generator_blocks": 2, "discriminator_base": 8}

HELP = """\
Trains a tiny network on drawn faces without interruption; then trains it again, kills that run with SIGKILL and
SIGTERM at random points (start-up, training, evaluation, saving) as often as asked, resumes it each time, and compares
the two ends tensor by tensor: weights, averages, optimizers and the random states of all ranks.

Run it on the machine and the filesystem that long runs are meant for: --folder names a place on it.
"""


@dataclass(frozen=True)
class Kill:
    """One interruption.

    aimed: `start-up`, or the images after which it came. seen: images that this start had trained when it came.
    images: of the checkpoint from which the next start goes on. exit_code: of the process that was started. seconds:
    from the signal to its end.
    """

    signal: str
    aimed: str
    seen: int
    images: int
    exit_code: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What came of a drill. differing: tensors that are not bit for bit equal; problems: what else went wrong."""

    kills: list[Kill]
    processes: int
    tensors: int
    differing: list[str]
    problems: list[str]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.differing and not self.problems


def drill(
    folder: Path, kills: int, seed: int, processes: int = 1, method: str = "style_consistent", quiet: bool = False
) -> Outcome:
    """Runs the drill in an empty folder. Raises BadInput when the uninterrupted run already fails."""
    begun = time.monotonic()
    chance = random.Random(seed)
    total = IMAGES_PER_KILL * (kills + 2)
    _pack(folder)
    straight, killed = folder / "straight", folder / "killed"
    for run in (straight, killed):
        _config(run).write_text(yaml.safe_dump(_settings(folder, run, method, total, processes)))
    with tqdm(total=kills + 2, desc="drill", unit="run", disable=quiet) as bar:
        process = _start(straight, processes)
        if process.wait() != DONE:
            raise BadInput(f"the uninterrupted run failed already; see {_log(straight)}")
        bar.update()
        done: list[Kill] = []
        problems: list[str] = []
        for number in range(kills):
            goal = int(total * (number + chance.random()) / (kills + 1))
            kill = _one(killed, processes, chance, goal)
            done.append(kill)
            tqdm.write(
                f"{kill.signal:<8} at {kill.aimed:<14} ended with {kill.exit_code} in {kill.seconds:.1f} s, "
                f"checkpoint at {kill.images:,} images",
                file=sys.stderr,
            )
            # A launcher's own exit code says little; a process that trains must say what happened.
            wanted = (PREEMPTED, DONE, -signal.SIGTERM) if kill.signal == "SIGTERM" else (-signal.SIGKILL, DONE)
            if processes == 1 and kill.exit_code not in wanted:
                problems.append(f"kill {number + 1} ({kill.signal}) ended with exit code {kill.exit_code}")
            if kill.signal == "SIGTERM" and kill.images < kill.seen:
                problems.append(f"kill {number + 1}: {kill.seen} images seen, but SIGTERM saved only {kill.images}")
            bar.update()
        code = _start(killed, processes).wait()
        bar.update()
    if code != DONE:
        problems.append(f"the last run ended with exit code {code}; see {_log(killed)}")
        return Outcome(done, processes, 0, [], problems, time.monotonic() - begun)
    count, differing = compare(straight, killed)
    return Outcome(done, processes, count, differing, problems, time.monotonic() - begun)


def compare(first: Path, second: Path) -> tuple[int, list[str]]:
    """The latest checkpoints of two runs: how many tensors they hold, and the names of those that differ."""
    ours, theirs = _tensors(first), _tensors(second)
    differing = sorted(ours.keys() ^ theirs.keys())
    differing += [name for name, value in ours.items() if name in theirs and not torch.equal(value, theirs[name])]
    return len(ours), differing


def _tensors(run: Path) -> dict[str, torch.Tensor]:
    folder = checkpoints.find(run)
    if folder is None:
        return {}
    named = {
        f"{file.stem}/{name}": value
        for file in sorted(folder.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }
    images = checkpoints.Checkpoint(folder).state.images
    return {**named, "images": torch.tensor(images)}


def _pack(folder: Path) -> None:
    """Draws faces and packs them into shards."""
    film("faces", folder / "videos", videos=6, seconds=1, size=64, seed=3)
    packing = Packing(
        folder / "videos", preset("default"), pairs=40, size=32, test_pairs=8, test_fraction=0.34, samples_per_shard=7
    )
    pack(packing, folder / "train", folder / "test")


def _settings(folder: Path, run: Path, method: str, images: int, processes: int) -> dict[str, Any]:
    known = methods.find(method).options_type.model_fields
    return {
        "method": method,
        "run": str(run),
        "images": images,
        "batch": max(1, 2 // processes),
        "options": {name: value for name, value in SMALL.items() if name in known},
        "perceptual": {"weights": "random:0", "divisor": 16, "resize_below": 0},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "log_every": 2},
        "evaluation": {"every": 2 * CHECKPOINT_EVERY, "pairs": 8, "grid_rows": 2},
        "checkpoint": {"every": CHECKPOINT_EVERY, "keep": 2},
        "data": {
            "train": str(folder / "train"),
            "test": str(folder / "test"),
            "label": "sketch",
            "height": 32,
            "width": 32,
            "workers": 1,
        },
    }


def _config(run: Path) -> Path:
    return run.with_name(f"{run.name}.yaml")


def _log(run: Path) -> Path:
    return run.with_name(f"{run.name}.log")


def _start(run: Path, processes: int) -> "subprocess.Popen[bytes]":
    """Starts a run, or has it go on; its output is appended to a file beside it."""
    launch = [sys.executable]
    if processes > 1:
        port = free_port("127.0.0.1", 0)
        launch += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        launch += ["--master_addr", "127.0.0.1", "--master_port", str(port)]
    command = [*launch, str(RUN), "--config", str(_config(run)), "--resume", "latest"]
    environment = {
        "GLOO_SOCKET_IFNAME": "lo",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **os.environ,
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
    }
    with _log(run).open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def _one(run: Path, processes: int, chance: random.Random, goal: int) -> Kill:
    """Starts the run, waits for a random point, kills it, and waits for its end."""
    process = _start(run, processes)
    at_start = chance.random() < START_UP
    number = chance.choice([signal.SIGKILL, signal.SIGTERM])
    if at_start:
        time.sleep(chance.uniform(0.0, 6.0))
        aimed = "start-up"
    else:
        _wait_for(process, run, goal)
        time.sleep(chance.uniform(0.0, 0.3))
        aimed = f"{goal:,} images"
    seen = 0 if at_start else _seen(run / "journal.jsonl")
    asked_at = time.monotonic()
    family = _family(process.pid)
    for member in family if number == signal.SIGKILL else [process.pid]:
        with suppress(ProcessLookupError):
            os.kill(member, number)
    try:
        code = process.wait(ENDED_S)
    except subprocess.TimeoutExpired:
        code = BAD_INPUT
    ended_s = time.monotonic() - asked_at
    if process.poll() is None:
        for member in _family(process.pid):
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        process.wait()
    return Kill(number.name, aimed, seen, _saved(run), code, round(ended_s, 2))


def _family(process: int) -> list[int]:
    """A process and all that descend from it: launcher, ranks and loader workers."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(member for child in children for member in _family(int(child)))]


def _saved(run: Path) -> int:
    folder = checkpoints.find(run) if run.exists() else None
    return checkpoints.Checkpoint(folder).state.images if folder else 0


def _wait_for(process: "subprocess.Popen[bytes]", run: Path, images: int) -> None:
    """Until this start of the run has logged something, and the run as many images; or has ended."""
    journal = run / "journal.jsonl"
    before = journal.stat().st_mtime_ns if journal.is_file() else 0
    saved = _saved(run)
    deadline = time.monotonic() + STARTED_S
    while process.poll() is None and time.monotonic() < deadline:
        seen = _seen(journal)
        if journal.is_file() and journal.stat().st_mtime_ns != before and seen > saved and seen >= images:
            return
        time.sleep(0.02)


def _seen(journal: Path) -> int:
    """Images of the journal's last whole line."""
    if not journal.is_file():
        return 0
    whole = journal.read_bytes().rpartition(b"\n")[0]
    return int(json.loads(whole.rpartition(b"\n")[2])["images"]) if whole else 0


def _command(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.drill",
        description=HELP,
        epilog="example: python -m trainer.drill --kills 20 --seed 1\n\n"
        "exit codes: 0 every tensor is equal, 1 something differs or did not end as it should, 2 bad input",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--kills", type=int, default=5, help="how often the run is killed (default: 5)")
    add("--seed", type=int, default=0, help="seed of the points and signals (default: 0)")
    add("--processes", type=int, default=1, help="ranks of the run, on this machine's CPU (default: 1)")
    add("--method", default="style_consistent", help="the method that trains (default: style_consistent)")
    add("--folder", type=Path, help="where to work, such as the cluster's filesystem (default: a temporary folder)")
    add("--json", action="store_true", help="print the outcome as JSON, for machines")
    options = parser.parse_args(arguments)
    if options.kills < 0 or options.processes < 1:
        raise BadInput(f"--kills {options.kills} --processes {options.processes}: at least 0 and 1")
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="drill-", dir=options.folder))
    outcome = drill(folder, options.kills, options.seed, options.processes, options.method)
    if options.json:
        described: dict[str, Any] = {**asdict(outcome), "passed": outcome.passed}
        print(json.dumps(described, indent=1))
    else:
        for problem in outcome.problems:
            print(f"wrong: {problem}")
        same = outcome.tensors - len(outcome.differing)
        print(
            f"{len(outcome.kills)} kills, {same} of {outcome.tensors} tensors equal to the uninterrupted run's, "
            f"{outcome.seconds:.0f} s"
        )
        for name in outcome.differing[:10]:
            print(f"differs: {name}")
    if outcome.passed:
        shutil.rmtree(folder)
        return DONE
    print(f"runs and logs are kept in {folder}", file=sys.stderr)
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
