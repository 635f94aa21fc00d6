"""Sends to MLflow what a run's folder holds and MLflow does not have yet: `python -m trainer.tracking replay RUN`."""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from likeness.command import BadInput, run_command
from trainer.tracking.fork_guard import write_line
from trainer.tracking.journal import JOURNAL
from trainer.tracking.mlflow_client import Outage
from trainer.tracking.sender import Sender, counted
from trainer.tracking.state import STATE, State, lock_run, store_name, without_credentials


def replay(run: Path, uri: str | None = None) -> str:
    """Sends what a run's folder holds and MLflow does not have yet. Returns what was done, in one line.

    uri: the store, by default the training's. Raises BadInput when the folder is not a run's, when a training is still
    writing it, and when MLflow does not answer; what arrived until then is not sent again.
    """
    state = State.read(run)
    if state is None or not (run / JOURNAL).is_file():
        raise BadInput(f"{run} is not the folder of a tracked run: {STATE} or {JOURNAL} is missing; give another one")
    lock = lock_run(run)
    if lock is None:
        raise BadInput(f"{run} is being written by a training, which sends by itself; replay it when that has ended")
    theirs = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None and theirs and store_name(theirs) != state.uri:
        write_line(
            f"note: MLFLOW_TRACKING_URI is not followed: the run's own store is {state.uri}; name another with --uri"
        )
    uri = uri or state.uri
    # Nobody holds the lock, so no training is running; one that has not recorded its end has been killed.
    state.status = "KILLED" if state.status == "RUNNING" else state.status
    with lock, tqdm(unit="line", desc="replay") as bar:
        sender = Sender(run, uri, state, progress=bar.update)
        lines, pictures = sender.missing()
        bar.reset(total=lines + pictures)
        try:
            sender.send_round(last=True)
        except Outage as error:
            raise BadInput(
                f"MLflow at {without_credentials(uri)} fails ({error}); "
                "start it and run this again, or name another one with --uri"
            ) from error
    return f"{counted(lines, pictures)} sent to run {sender.delivered.run_id} at {without_credentials(uri)}"


DESCRIPTION = """\
What training could not send to MLflow, because the server was away, is in the run's folder:

  journal.jsonl    every figure of the run, one line per log interval
  grids/           the sample grids
  documents/       settings, label schema and manifest
  tracking.json    how far each MLflow store got

replay sends what is missing, into the run that training began, or into a new one. Doing it twice changes nothing.
Resuming the training does the same by itself.
"""

EXAMPLES = """\
examples:
  python -m trainer.tracking replay runs/face
  python -m trainer.tracking replay runs/face --uri http://mlflow.example.org:5000
  MLFLOW_TRACKING_USERNAME=me MLFLOW_TRACKING_PASSWORD=… python -m trainer.tracking replay runs/face

Passwords in tracking.uri are not kept in the run's folder: give them again as above, or in --uri.

Exit codes: 0 done, 2 the folder is not a run's, or MLflow cannot be reached (one line on stderr says what to do).
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.tracking",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="replay")
    replaying = commands.add_parser(
        "replay",
        help="send to MLflow what it does not have of a run",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    replaying.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    replaying.add_argument("--uri", help="MLflow tracking URI (default: the one that the run was trained with)")
    arguments = parser.parse_args()
    print(replay(arguments.run, arguments.uri))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
