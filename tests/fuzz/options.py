"""Every option of every command that takes a value of its own type."""

import argparse
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

MAINS = (
    "shards.__main__",
    "trainer.evaluate.__main__",
    "trainer.tables.__main__",
    "trainer.report",
    "trainer.metrics.reader.__main__",
    "trainer.convert.__main__",
    "trainer.feature_centres",
    "trainer.drill.__main__",
    "trainer.counts",
    "trainer.doctor",
    "trainer.run",
    "trainer.tracking.__main__",
    "trainer.study.__main__",
    "export.__main__",
    "export.tensorrt.engine",
    "export.latency.command",
    "deploy.__main__",
)
Options = dict[str, tuple[argparse.ArgumentParser, argparse.Action]]


class _FoundError(Exception):
    """Carries the parser that a command made."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__("a parser")
        self.parser = parser


@contextmanager
def _caught() -> Iterator[None]:
    """Whoever parses arguments meanwhile raises its parser instead."""

    def found(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _FoundError(parser)

    names = ("parse_args", "parse_known_args", "parse_intermixed_args")
    kept = {name: getattr(argparse.ArgumentParser, name) for name in names}
    for name in names:
        setattr(argparse.ArgumentParser, name, found)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(argparse.ArgumentParser, name, method)


@cache
def PARSERS() -> dict[str, Options]:
    """By command, then by option: its parser and action."""
    commands: dict[str, Options] = {}
    for name in MAINS:
        main = importlib.import_module(name).main
        try:
            with _caught():
                main()
        except _FoundError as found:
            _add(name, found.parser, commands)
    return {command: options for command, options in commands.items() if options}


def _add(name: str, parser: argparse.ArgumentParser, commands: dict[str, Options]) -> None:
    options = commands.setdefault(name, {})
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, each in action.choices.items():
                _add(f"{name} {command}", each, commands)
        elif action.type is not None:
            options[action.option_strings[-1] if action.option_strings else action.dest] = parser, action
