"""`python -m trainer.drill`: kills a small run again and again, and compares its end with an uninterrupted one."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from likeness.arguments import count, whole
from likeness.command import DONE, run_command
from trainer.drill.outcome import METHOD, Outcome, drill

HELP = """\
Trains a tiny network on drawn faces without interruption; then trains it again, kills that run with SIGKILL and
SIGTERM at random points (start-up, training, evaluation, saving) as often as asked, resumes it each time, and compares
the two ends tensor by tensor: weights, averages, optimizers and the random states of all ranks.

Run it on the machine and the filesystem that long runs are meant for: --folder names a place on it.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.drill",
        description=HELP,
        epilog="example: python -m trainer.drill --kills 20 --seed 1\n\n"
        "exit codes: 0 every tensor is equal, 1 something differs or did not end as it should, 2 bad input",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--kills", type=whole, default=5, help="how often the run is killed (default: 5)")
    add("--seed", type=whole, default=0, help="seed of the points and signals (default: 0)")
    add("--processes", type=count, default=1, help="ranks of the run, on this machine's CPU (default: 1)")
    add("--method", default=METHOD, help=f"the method that trains (default: {METHOD})")
    add("--folder", type=Path, help="where to work, such as the cluster's filesystem (default: a temporary folder)")
    add("--json", action="store_true", help="print the outcome as JSON, for machines")
    return parser


def _command(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="drill-", dir=options.folder))
    outcome = drill(folder, options.kills, options.seed, options.processes, options.method)
    _print(outcome, options.json)
    if outcome.passed:
        shutil.rmtree(folder)
        return DONE
    print(f"runs and logs are kept in {folder}", file=sys.stderr)
    return 1


def _print(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asdict(outcome), "passed": outcome.passed}, indent=1))
        return
    for problem in outcome.problems:
        print(f"wrong: {problem}")
    same = outcome.tensors - len(outcome.differing)
    print(
        f"{len(outcome.kills)} kills, {same} of {outcome.tensors} tensors equal to the uninterrupted run's, "
        f"{outcome.seconds:.0f} s"
    )
    for name in outcome.differing[:10]:
        print(f"differs: {name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
