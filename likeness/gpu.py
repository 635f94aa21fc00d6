"""The GPU of this machine, as its driver names it: who serves has no torch to ask."""

import csv
import os
import subprocess
from dataclasses import dataclass

from likeness.command import BadInput

NVIDIA_SMI_SECONDS = 60.0
"""A driver that hangs takes nvidia-smi with it."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver names it."""

    name: str
    """Such as "NVIDIA H200"."""
    compute_capability: str
    """Such as "9.0"."""
    driver: str
    """The driver's version."""


def visible_gpu() -> Gpu | None:
    """The GPU that CUDA uses first, by `nvidia-smi`, which comes with the driver; None without a GPU.

    Raises BadInput when the machine has GPUs of several kinds and it is not clear which one that is.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    wanted = None if visible is None else visible.split(",")[0].strip()
    if wanted in ("", "-1"):
        return None
    rows = _nvidia_smi()
    kinds = {tuple(row[2:]) for row in rows}
    if len(kinds) > 1:
        # CUDA numbers GPUs by speed unless told otherwise, nvidia-smi by their place on the bus: a number means the
        # same to both only where CUDA was told to count like that.
        numbered = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        kinds = {tuple(row[2:]) for row in rows if wanted == row[1] or (numbered and wanted == row[0])}
        if not kinds:
            names = ", ".join(f"{row[0]}: {row[2]}" for row in rows)
            raise BadInput(
                f"this machine has several kinds of GPU ({names}); name one: CUDA_DEVICE_ORDER=PCI_BUS_ID "
                "CUDA_VISIBLE_DEVICES=0"
            )
    return Gpu(*kinds.pop()) if kinds else None


def _nvidia_smi() -> list[list[str]]:
    """Number, UUID, name, compute capability and driver of each GPU; nothing where nvidia-smi is absent or fails."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=False, encoding="utf-8"
        )
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"nvidia-smi gave no answer in {NVIDIA_SMI_SECONDS:g} s; mend the driver first") from error
    if done.returncode:
        return []
    return [[cell.strip() for cell in row] for row in csv.reader(done.stdout.splitlines()) if len(row) == 5]


def require_gpu() -> Gpu:
    """The GPU that TensorRT would use. Raises BadInput when there is none."""
    here = visible_gpu()
    if here is None:
        raise BadInput(
            "no NVIDIA GPU with a driver was found (nvidia-smi), and TensorRT builds and runs engines on one only; "
            "engines are built without a GPU by --runtime tensorrt-rtx, and models run without one by --provider cpu"
        )
    return here
