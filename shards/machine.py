"""What machine this is, in words: figures of speed and of training mean nothing without it."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """The processor's name and how many cores this process may use."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(named, platform.processor() or platform.machine())
    return f"{name or 'unknown'}, {len(os.sched_getaffinity(0))} cores"
