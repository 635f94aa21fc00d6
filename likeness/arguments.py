"""Types of command-line arguments that several commands take, and the help that shows their defaults."""

import argparse


class Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of descriptions, and shows defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


def count(text: str) -> int:
    """A whole number of at least 1."""
    return _at_least(1, text)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    return _at_least(0, text)


def slice_of(text: str) -> tuple[int, int]:
    """(I, N) of I/N: slice I of N, counted from 0."""
    number, slash, slices = text.partition("/")
    if not slash or whole(number) >= whole(slices):
        raise argparse.ArgumentTypeError(f"{text!r} is no slice such as 0/8, which counts from 0")
    return int(number), int(slices)


def _at_least(least: int, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)
