"""Commands of commands, such as `pack` of `python -m shards`: a parser for each, and the function that runs it."""

import argparse
from collections.abc import Callable
from typing import TypeAlias

from likeness.arguments import Help

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` returns."""
Body = Callable[[argparse.Namespace], int | None]
"""Runs a command with its options; returns the exit code, None for 0."""


def subcommand(commands: Subcommands, name: str, body: Body, summary: str, text: str) -> argparse.ArgumentParser:
    """A parser for one more command, whose options get `body` as their `command`.

    summary: one line for the list of commands. text: what its own help says.
    """
    parser = commands.add_parser(name, help=summary, description=text, formatter_class=Help)
    parser.set_defaults(command=body)
    return parser
