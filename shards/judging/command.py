"""`python -m shards judge`: the judging page."""

import argparse
from pathlib import Path

from likeness.arguments import count, whole
from likeness.loopback import port
from likeness.subcommands import Subcommands, subcommand

TEXT = """\
Shows pairs of photos from shards on a web page of this machine, and writes what people say of them: consistent,
inconsistent or unsure, by one key each. Several raters can take part; stop and go on as you like: every answer is on
disk before the next pair shows. `pack --judged CSV` then puts their word above the style keys.
"""


def add_judge(commands: Subcommands) -> None:
    """Adds the command `judge`."""
    add = subcommand(commands, "judge", _judge, "a local web page to judge pairs on", TEXT).add_argument
    add("--pairs", type=Path, required=True, metavar="DIR", help="folder of shards whose pairs are shown")
    add("--out", type=Path, required=True, metavar="CSV", help="the judgements; an existing file is gone on with")
    add("--count", type=count, default=200, metavar="N", help="how many pairs, equally many of both kinds")
    add("--seed", type=whole, default=0, metavar="K", help="which pairs, and in which order")
    add("--host", default="127.0.0.1", help="address to listen on; any other than this lets others in")
    add("--port", type=port, default=8765, metavar="N", help="port to listen on, 0 for any that is free")


def _judge(options: argparse.Namespace) -> None:
    from shards.judging.judge import serve

    serve(options.pairs, options.out, options.host, options.port, options.count, options.seed)
