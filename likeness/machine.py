"""What machine this is, in words: figures of speed, of training and of pictures mean nothing without it."""

import math
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ON_CPU = ("cpu", "openvino", "openvino-bf16")
"""The providers that compute on the processor."""
_CONTROL_GROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "simplejpeg")


def processor() -> str:
    """The processor's name and how many cores this process may use."""
    named = _values(Path("/proc/cpuinfo"), "model name")
    name = named[0] if named else platform.processor() or platform.machine()
    return f"{name or 'unknown'}, {cores()} cores"


def cores() -> int:
    """Cores that this process may use: by its affinity and a container's share, a part of a core as a whole one."""
    shares = [len(os.sched_getaffinity(0))]
    for group in _control_groups("cpu"):
        quota, period = "max", "1"
        if (file := group / "cpu.max").is_file():
            quota, period = file.read_text(encoding="utf-8").split()
        elif (file := group / "cpu.cfs_quota_us").is_file():
            quota = file.read_text(encoding="utf-8").strip()
            period = (group / "cpu.cfs_period_us").read_text(encoding="utf-8")
        if quota not in ("max", "-1"):
            shares.append(max(1, math.ceil(int(quota) / int(period))))
    return min(shares)


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or a container's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in _control_groups("memory"):
        for file in (group / "memory.max", group / "memory.limit_in_bytes"):
            if file.is_file() and (text := file.read_text(encoding="utf-8").strip()) != "max":
                limits.append(int(text))
    return min(limits)


def _control_groups(controller: str) -> Iterator[Path]:
    """The folders with a controller's limits: of this process's control group and of those above, which limit it, too.

    Of both versions: https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/cgroups.html beside it.
    """
    for line in _MEMBERSHIP.read_text(encoding="utf-8").splitlines() if _MEMBERSHIP.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Version 2 has one tree for all controllers, and no name for it.
        tree = _CONTROL_GROUPS / controller if controllers else _CONTROL_GROUPS
        place = tree / path.lstrip("/")
        yield from (folder for folder in (place, *place.parents) if folder.is_relative_to(tree))


def device(provider: str) -> str:
    """The processor or graphics card that a model runs on with this provider."""
    if provider in ON_CPU:
        return f"the CPU ({processor()})"
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = _values(cards[0], "Model") if cards else []
    return f"the GPU ({models[0] if models else 'unknown'})"


def free_memory() -> int | None:
    """Bytes of memory that processes can still get here: the system's, within the limit of this one's control group.

    Pages that only cache files count as free. None where the system does not say.
    """
    available = _values(Path("/proc/meminfo"), "MemAvailable")
    if not available:
        return None
    free = int(available[0].split()[0]) << 10
    group = Path("/sys/fs/cgroup")
    limit = (group / "memory.max").read_text(encoding="utf-8").strip() if (group / "memory.max").is_file() else "max"
    if limit == "max":
        return free
    used = int((group / "memory.current").read_text(encoding="utf-8"))
    cached = [
        line.split()[1]
        for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        if line.startswith("file ")
    ]
    return max(0, min(free, int(limit) - used + int(cached[0] if cached else 0)))


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
