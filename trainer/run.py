"""The entry point of training: `python -m trainer.launch trainer/run.py --config trainer/configs/face.yaml`."""

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until training listens: Ctrl-C in the middle of an import would be a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
# Python puts a script's own folder first on the path, where a file of ours could stand in for an installed package.
sys.path[:] = [place for place in sys.path if os.path.realpath(place) != os.path.dirname(os.path.realpath(__file__))]

from likeness.process.threads import share_cores

# Before torch, which brings OpenMP, is imported below.
share_cores()

import argparse
from pathlib import Path

from likeness.command import run_command
from likeness.process.standard_streams import outlive_readers
from trainer import config as configs
from trainer import methods
from trainer.foresight import outlook
from trainer.ranks import environment
from trainer.ranks.preemption import StopRequests


def _parser() -> argparse.ArgumentParser:
    settings = "\n".join(f"  --{key:<30} {text} (default: {default})" for key, default, text in _settings())
    parser = argparse.ArgumentParser(
        prog="python -m trainer.launch trainer/run.py",
        description="Trains a method on shards, with as many processes as accelerate starts.",
        epilog=f"methods: {', '.join(methods.available())}\n\n"
        "Any setting of the config can be overridden, for example --data.workers 4 --batch 8:\n"
        f"{settings}\n\n"
        "exit codes: 0 done, 1 a rank died or hangs (said by name), 2 bad input, 75 stopped with a checkpoint saved "
        "(SIGTERM, SIGUSR1, SIGHUP, or the launcher has gone), 130 the same by Ctrl-C",
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
        help="preset, such as trainer/configs/face.yaml; further files, such as "
        "trainer/configs/ablations/without_ema.yaml, change some of its settings",
    )
    parser.add_argument(
        "--resume",
        metavar="latest|CHECKPOINT",
        help="go on from the run's latest checkpoint (a fresh start where there is none), or from a given one",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved config as YAML, with parameters, arithmetic, memory, epochs and duration, and stop",
    )
    return parser


def _settings() -> list[tuple[str, str, str]]:
    rows = [row for row in configs.describe(configs.Config) if row[0] != "options"]
    for name in methods.available():
        kind = methods.find(name).options_type
        rows += [(key, default, f"[{name}] {text}") for key, default, text in configs.describe(kind, "options.")]
    return rows


def main() -> int:
    arguments, overrides = _parser().parse_known_args()
    config = configs.load(arguments.config, overrides)
    environment.check(config.precision, config.accumulate, config.speed.compile)
    outlook.check(config, environment.ranks())
    notes = [*environment.waiting()]
    if os.environ.get("RANK", "0") == "0":
        notes += environment.notes(config.tracking.uri, config.tracking.experiment)
        notes += outlook.surprises(config, environment.ranks())
    print("".join(f"note: {note}\n" for note in notes), end="", file=sys.stderr)
    if arguments.dry_run:
        from trainer.foresight.preview import preview  # slow to import, too

        if os.environ.get("RANK", "0") == "0":
            print(preview(config, environment.ranks()), end="")
        return 0
    with StopRequests() as requests:
        from trainer.loop import train  # slow to import: bad settings are refused without the wait

        return train(config, arguments.resume, requests)


if __name__ == "__main__":
    outlive_readers()
    sys.exit(run_command(main, hears_sigterm=True))
