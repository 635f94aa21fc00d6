"""Interrupting a run at a random point."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from likeness.command import BAD_INPUT
from trainer.drill.runs import images_saved, images_seen, start
from trainer.tracking.journal import JOURNAL

START_UP = 0.2
"""The share of the kills that are aimed at the start-up; the others come after a random image."""
ENDED_S = 120
"""Seconds within which a run must have saved and ended after SIGTERM."""
STARTED_S = 300
"""Seconds within which a run must have trained something."""


@dataclass(frozen=True)
class Kill:
    """One interruption."""

    signal: str
    """SIGKILL or SIGTERM."""
    aimed: str
    """`start-up`, or the images after which it came."""
    seen: int
    """Images that this start had trained when it came."""
    images: int
    """Images of the checkpoint from which the next start goes on."""
    exit_code: int
    """Of the process that was started; negative for the signal that ended it."""
    seconds: float
    """From the signal to the process's end."""


def interrupt(run: Path, processes: int, rng: random.Random, goal: int) -> Kill:
    """Starts the run, waits for a random point, kills it, and waits for its end."""
    process = start(run, processes)
    at_start = rng.random() < START_UP
    number = rng.choice([signal.SIGKILL, signal.SIGTERM])
    if at_start:
        time.sleep(rng.uniform(0.0, 6.0))
        aimed = "start-up"
    else:
        _wait_for(process, run, goal)
        # Somewhere in an iteration, an evaluation or a checkpoint that follows.
        time.sleep(rng.uniform(0.0, 0.3))
        aimed = f"{goal:,} images"
    seen = 0 if at_start else images_seen(run / JOURNAL)
    asked_at = time.monotonic()
    # SIGKILL is a power cut, which spares nobody. SIGTERM comes to the launcher, which is to pass it on.
    _signal_all(_family(process.pid) if number == signal.SIGKILL else [process.pid], number)
    try:
        code = process.wait(ENDED_S)
    except subprocess.TimeoutExpired:
        code = BAD_INPUT
    ended_s = time.monotonic() - asked_at
    if process.poll() is None:
        _signal_all(_family(process.pid), signal.SIGKILL)
        process.wait()
    return Kill(number.name, aimed, seen, images_saved(run), code, round(ended_s, 2))


def _signal_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _family(process: int) -> list[int]:
    """A process and all that descend from it: launcher, ranks and loader workers."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [process, *(member for child in children for member in _family(int(child)))]


def _wait_for(process: "subprocess.Popen[bytes]", run: Path, images: int) -> None:
    """Until this start of the run has logged something, and the run as many images; or has ended."""
    journal = run / JOURNAL
    before = journal.stat().st_mtime_ns if journal.is_file() else 0
    saved = images_saved(run)
    deadline = time.monotonic() + STARTED_S
    while process.poll() is None and time.monotonic() < deadline:
        seen = images_seen(journal)
        if journal.is_file() and journal.stat().st_mtime_ns != before and seen > saved and seen >= images:
            return
        time.sleep(0.02)
