"""The arguments that every command of this room shares: which model, and where it runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.arguments import count, whole
from likeness.names import quoted

if TYPE_CHECKING:
    from deploy.runtime import Session


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """`--model`, `--provider`, `--devices`, `--engines`, `--size` and `--threads`, which `open_session` reads."""
    add = parser.add_argument
    add(
        "--model",
        required=True,
        metavar="FILE",
        help="a model that `python -m export` wrote, or models:/NAME@ALIAS in the MLflow registry of "
        "MLFLOW_TRACKING_URI",
    )
    add(
        "--provider",
        choices=("cpu", "cuda", "cuda-tf32", "tensorrt", "openvino", "openvino-bf16"),
        default="cpu",
        help="where the model runs, an error when it cannot run there; cuda-tf32 lets tensor cores round float32, "
        "openvino-bf16 rounds to bfloat16",
    )
    add(
        "--devices",
        type=devices,
        default=(),
        metavar="N,N,…",
        help="the GPUs that run it at the same time, such as 0,1,2,3; without it, the first",
    )
    add("--engines", type=Path, metavar="DIR", help="what `python -m export engine` built, for --provider tensorrt")
    add(
        "--size",
        type=size,
        metavar="WIDTHxHEIGHT",
        help="of the pictures, for models with a dynamic size; without it, the size that they were trained at",
    )
    add("--threads", type=count, metavar="N", help="CPU threads in one run of the model; without it, one per core")


def open_session(options: argparse.Namespace) -> "Session":
    """The session that the arguments ask for. Raises BadInput when the model cannot be had or does not run there."""
    # Imported here, so that help need not wait for ONNX Runtime.
    from deploy.runtime import Session

    return Session(
        model_file(options.model), options.provider, options.threads, options.size, options.engines, options.devices
    )


def model_file(model: str) -> Path:
    """The file that `--model` stands for, downloaded if need be. Raises BadInput when it cannot be had."""
    if not model.startswith("models:"):
        return Path(model)
    from deploy import registry

    return registry.fetch(model)


def devices(text: str) -> tuple[int, ...]:
    """Different numbers of devices."""
    numbers = tuple(whole(part.strip()) for part in text.split(","))
    if len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{quoted(text)} names a device twice")
    return numbers


def size(text: str) -> tuple[int, int]:
    """(height, width) of WIDTHxHEIGHT."""
    width, cross, height = text.partition("x")
    if not cross:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no size such as 512x256")
    return count(height), count(width)
