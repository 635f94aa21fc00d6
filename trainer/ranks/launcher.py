"""The process that started this one, where that is a launcher, which ends together with what it has started."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

LAUNCHED_AS = "LIKENESS_LAUNCHED_AS"
"""The variable in which `trainer.launch`, which becomes what it launches, leaves the command that it was."""
ELASTIC = "TORCHELASTIC_RUN_ID"
"""The variable that torch's launcher, and accelerate's for several processes, sets for ranks."""
NAMES = ("accelerate", "accelerate-launch", "accelerate.commands.launch", "deepspeed.launcher.launch", "torchrun")
"""How the command line of a launcher calls it, by file or by module."""


@dataclass(frozen=True)
class Launcher:
    """A launcher that waits for this process."""

    process: int
    """Its process id."""
    command: tuple[str, ...]
    """Its command line."""


def find() -> Launcher | None:
    """The launcher of this process; None where its parent is a shell, a batch system or anything else.

    Those may well end before their training does, as a shell after `nohup` or `setsid`: a parent counts only when it
    is known to wait.
    """
    parent = os.getppid()
    try:
        command = tuple(Path(f"/proc/{parent}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1])
    except OSError:  # it has ended just now, or this system has no /proc
        return None
    if ELASTIC in os.environ or any(Path(word).name in NAMES for word in command[:4]):
        return Launcher(parent, command)
    return None


def going_on(launcher: Launcher | None) -> str:
    """The command with which a run that this process has stopped goes on, for a shell."""
    if LAUNCHED_AS in os.environ:
        words = shlex.split(os.environ[LAUNCHED_AS])
    else:
        words = [*(launcher.command if launcher else sys.orig_argv)]
    kept: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--resume":
            del words[:1]
        elif not word.startswith("--resume="):
            kept.append(word)
    return shlex.join([*kept, "--resume", "latest"])
