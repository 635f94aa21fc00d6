"""`python -m shards`: worlds, pack, label, merge, judge, inspect, verify, trace, doctor."""

import argparse
import sys
from collections.abc import Sequence

from likeness.command import run_command
from likeness.subcommands import Body
from shards.inspection.commands import add_doctor, add_inspect, add_trace, add_verify
from shards.judging.command import add_judge
from shards.operators.command import add_label
from shards.packing.commands import add_merge, add_pack
from shards.worlds.command import add_worlds

DESCRIPTION = """\
From videos and pictures to shards of training pairs.

  worlds   draw a procedural world as videos, to try everything without data of your own
  pack     decode videos or pictures, label them, draw pairs and write shards
  label    cut and label single photos, as files
  merge    join the slices that a job array packed
  judge    let people say on a local web page which pairs are consistent; pack takes their word
  inspect  show what is in a folder of shards, and draw a contact sheet
  verify   prove that shards are whole and keep their contracts
  trace    print which samples a rank reads, batch by batch
  doctor   say what would go wrong in a training job, before it is queued
"""

EXAMPLES = """\
examples:
  python -m shards worlds faces --out data/faces --videos 60 --seconds 4 --size 64 --seed 1
  python -m shards pack --source data/faces --out data/train --test-out data/test --pairs 4000 --size 64 --seed 1
  python -m shards inspect data/train --rows 8
  python -m shards verify data/train
  python -m shards pack --dataset bdd100k --source bdd100k --out data/street/train --test-out data/street/test --dry-run
  python -m shards pack --dataset photos --source my-photos --labels edges --out data/edges/train --size 256
  python -m shards judge --pairs data/train --out judged.csv
  python -m shards trace --data data/train --world-size 8 --rank 3 --workers 4 --batch 4 --epoch 2 --start 100
  python -m shards doctor --data data/train --test data/test --world-size 8 --batch 4

Exit codes: 0 done, 2 bad input or what the system refuses (one line on stderr says what to do).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    return run_command(lambda: _command(arguments))


def _command(arguments: Sequence[str] | None) -> int | None:
    options = _parser().parse_args(arguments)
    body: Body = options.command
    return body(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shards",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_worlds, add_pack, add_label, add_merge, add_inspect, add_verify, add_judge, add_trace, add_doctor):
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
