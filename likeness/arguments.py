"""Types of command-line arguments that several commands take, and the help that shows their defaults."""

import argparse
import math

from likeness.names import quoted


class Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of descriptions, and shows defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


MOST_COUNT = 2**31 - 1
"""What the libraries that are given a count can hold."""
MOST = 2**63 - 1
"""Of other whole numbers, such as seeds."""
LARGEST = 1e9
"""Of numbers with a fraction: seconds of thirty years."""
MOST_PIXELS = 2**14
"""Of a picture's side."""


def count(text: str) -> int:
    """A whole number from 1 to `MOST_COUNT`."""
    return _whole(text, 1, MOST_COUNT)


def whole(text: str) -> int:
    """A whole number from 0 to `MOST`."""
    return _whole(text, 0, MOST)


def pixels(text: str) -> int:
    """The side of a picture, from 1 to `MOST_PIXELS`."""
    return _whole(text, 1, MOST_PIXELS)


def positive(text: str) -> float:
    """A number above 0, and at most `LARGEST`."""
    value = _number(text)
    # Written so that what is no number fails, too.
    if not 0 < value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number above 0 and up to {LARGEST:g}")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a share between 0 and 1")
    return value


def slice_of(text: str) -> tuple[int, int]:
    """(I, N) of I/N: slice I of N, counted from 0."""
    number, slash, slices = text.partition("/")
    if not slash or whole(number) >= count(slices):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no slice such as 0/8, which counts from 0")
    return int(number), int(slices)


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _whole(text: str, least: int, most: int) -> int:
    # Counted first: Python refuses to read a number of thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST)) and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number from {least} to {most}")
    return int(text)
