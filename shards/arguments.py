"""Types of command-line arguments that several commands take, and the help that shows their defaults."""

import argparse
from collections.abc import Callable
from pathlib import Path


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


OPERATOR_OPTIONS = ("predictor", "openpose", "densepose", "parser")
"""What `add_operator_arguments` adds."""


def add_operator_arguments(add: Callable[..., object]) -> None:
    """What label operators need: `--predictor`, `--openpose`, `--densepose` and `--parser`.

    add: the parser's `add_argument`.
    """
    add("--predictor", type=Path, metavar="DAT", help="dlib's 68-point predictor, instead of MediaPipe")
    add(
        "--openpose",
        type=Path,
        metavar="DIR",
        help="OpenPose's files of all frames, VIDEO_000000000012_keypoints.json, instead of detecting poses",
    )
    add(
        "--densepose",
        type=Path,
        metavar="DIR",
        help="DensePose's pictures of all frames, VIDEO_000000000012_IUV.png: pose labels of 23 channels",
    )
    add(
        "--parser",
        type=Path,
        metavar="ONNX",
        help="a segmentation model that makes class maps; NAME.json beside NAME.onnx may give mean, std, size, ids, "
        "void, names, colours",
    )
