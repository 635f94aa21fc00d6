"""The drill itself: one run without interruption, one that is killed and resumed, and how their ends differ."""

import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file
from tqdm import tqdm

from likeness.command import DONE, PREEMPTED, BadInput
from trainer.checkpoints import files as checkpoints
from trainer.drill.kills import Kill, interrupt
from trainer.drill.runs import config_of, log_of, pack_faces, settings, start

IMAGES_PER_KILL = 24
METHOD = "style_consistent"
"""What a drill trains unless it is told otherwise."""


@dataclass(frozen=True)
class Outcome:
    """The result of a drill."""

    kills: list[Kill]
    """The interruptions, in order."""
    processes: int
    """Ranks of the run."""
    tensors: int
    """How many the latest checkpoint holds; 0 where the last run failed."""
    differing: list[str]
    """Names of those that are not bit for bit equal."""
    problems: list[str]
    """What else went wrong, a line each."""
    seconds: float
    """How long it took."""

    @property
    def passed(self) -> bool:
        """Everything is equal, and nothing went wrong on the way."""
        return not self.differing and not self.problems


def drill(
    folder: Path, kills: int, seed: int, processes: int = 1, method: str = METHOD, quiet: bool = False
) -> Outcome:
    """Runs the drill in an empty folder. Raises BadInput when the uninterrupted run already fails."""
    begun = time.monotonic()
    rng = random.Random(seed)
    total = IMAGES_PER_KILL * (kills + 2)
    pack_faces(folder)
    straight, killed = folder / "straight", folder / "killed"
    for run in (straight, killed):
        config_of(run).write_text(yaml.safe_dump(settings(folder, run, method, total, processes)), encoding="utf-8")
    with tqdm(total=kills + 2, desc="drill", unit="run", disable=quiet) as bar:
        if start(straight, processes).wait() != DONE:
            raise BadInput(f"the uninterrupted run failed already; see {log_of(straight)}")
        bar.update()
        done: list[Kill] = []
        problems: list[str] = []
        for number in range(kills):
            goal = int(total * (number + rng.random()) / (kills + 1))
            kill = interrupt(killed, processes, rng, goal)
            done.append(kill)
            tqdm.write(
                f"{kill.signal:<8} at {kill.aimed:<14} ended with {kill.exit_code} in {kill.seconds:.1f} s, "
                f"checkpoint at {kill.images:,} images",
                file=sys.stderr,
            )
            problems += _problems(kill, number + 1, processes)
            bar.update()
        code = start(killed, processes).wait()
        bar.update()
    if code != DONE:
        problems.append(f"the last run ended with exit code {code}; see {log_of(killed)}")
        return Outcome(done, processes, 0, [], problems, time.monotonic() - begun)
    count, differing = compare(straight, killed)
    return Outcome(done, processes, count, differing, problems, time.monotonic() - begun)


def _problems(kill: Kill, number: int, processes: int) -> list[str]:
    """What an interruption should not have done."""
    problems = []
    # A launcher's own exit code says little; a process that trains must say what happened.
    expected = (PREEMPTED, DONE, -signal.SIGTERM) if kill.signal == "SIGTERM" else (-signal.SIGKILL, DONE)
    if processes == 1 and kill.exit_code not in expected:
        problems.append(f"kill {number} ({kill.signal}) ended with exit code {kill.exit_code}")
    if kill.signal == "SIGTERM" and kill.images < kill.seen:
        problems.append(f"kill {number}: {kill.seen} images seen, but SIGTERM saved only {kill.images}")
    return problems


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
