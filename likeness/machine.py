"""What machine this is, in words: figures of speed, of training and of pictures mean nothing without it."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

ON_CPU = ("cpu", "openvino", "openvino-bf16")
"""The providers that compute on the processor."""
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "simplejpeg")


def processor() -> str:
    """The processor's name and how many cores this process may use."""
    named = _values(Path("/proc/cpuinfo"), "model name")
    name = named[0] if named else platform.processor() or platform.machine()
    return f"{name or 'unknown'}, {len(os.sched_getaffinity(0))} cores"


def device(provider: str) -> str:
    """The processor or graphics card that a model runs on with this provider."""
    if provider in ON_CPU:
        return f"the CPU ({processor()})"
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = _values(cards[0], "Model") if cards else []
    return f"the GPU ({models[0] if models else 'unknown'})"


def versions() -> dict[str, str]:
    """Python's, and those of the packages that pictures depend on, where they are installed."""
    known = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return known


def _values(file: Path, name: str) -> list[str]:
    """What stands behind the colon in the lines that begin with `name`; nothing where there is no such file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(name)]
