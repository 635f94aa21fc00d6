"""What machine this is, in words: figures of speed and of training mean nothing without it."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path


def processor() -> str:
    """The processor's name and how many cores this process may use."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(named, platform.processor() or platform.machine())
    return f"{name or 'unknown'}, {len(os.sched_getaffinity(0))} cores"


ON_CPU = ("cpu", "openvino", "openvino-bf16")
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "simplejpeg")


def device(provider: str) -> str:
    """The processor or graphics card that the model runs on, in words."""
    if provider in ON_CPU:
        return f"the CPU ({processor()})"
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [line.partition(":")[2].strip() for card in cards[:1] for line in _lines(card) if line.startswith("Model")]
    return f"the GPU ({models[0] if models else 'unknown'})"


def _lines(path: str | Path) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.is_file() else []


def versions() -> dict[str, str]:
    """Python's, and those of the packages that pictures depend on."""
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
