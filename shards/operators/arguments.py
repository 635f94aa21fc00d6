"""The command-line options of label operators."""

from collections.abc import Callable
from pathlib import Path

OPERATOR_OPTIONS = ("predictor", "openpose", "densepose", "parser", "edges")
"""What `add_operator_arguments` adds."""


def add_operator_arguments(add: Callable[..., object]) -> None:
    """What label operators need: `--predictor`, `--openpose`, `--densepose`, `--parser` and `--edges`.

    add: the parser's `add_argument`.
    """
    add(
        "--predictor",
        type=Path,
        metavar="DAT",
        help="dlib's 68-point predictor; without it the one of Debian's "
        "libdlib-data where that is installed, else MediaPipe; `mediapipe` for MediaPipe in any case",
    )
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
    add(
        "--edges",
        type=Path,
        metavar="ONNX",
        help="a network that makes edge maps, instead of Canny's detector; NAME.json beside NAME.onnx may give mean, "
        "std, size, logits",
    )
