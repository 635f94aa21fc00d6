"""The machine that measures: its clocks, and the bounds that are published for it or measured on it."""

import csv
import io
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from export.latency.machines import Machine, Precision, card_named
from likeness import machine
from likeness.onnx_runtime import TF32
from trainer.estimate import MATMUL, peak_flops

_COPIED_BYTES = 2**28
"""Far more than any cache holds, so that memory itself is measured."""
_COPIES = 4
_PEAK_SECONDS = 0.3
_ASKED = {
    "name": "name",
    "driver_version": "driver",
    "clocks.sm": "sm_mhz",
    "clocks.max.sm": "sm_mhz_at_most",
    "clocks.mem": "memory_mhz",
    "clocks.max.mem": "memory_mhz_at_most",
    "power.limit": "power_limit_w",
    "temperature.gpu": "celsius",
    "persistence_mode": "persistence",
    "mig.mode.current": "mig",
}
"""nvidia-smi's names of what is asked, and ours."""


@dataclass(frozen=True)
class Here:
    """The machine that measures."""

    machine: Machine
    """What bounds a run on it."""
    precision: Precision
    """That of the model's arithmetic on it."""
    source: str
    """Where the figures are from, in words."""

    @property
    def peak(self) -> float:
        """Floating-point operations per second."""
        return self.machine.peaks[self.precision]

    def to_json(self) -> dict[str, Any]:
        return {
            "gflop_per_s": round(self.peak / 1e9, 1),
            "precision": self.precision,
            "gb_per_s": round(self.machine.bandwidth / 1e9, 1),
            "source": self.source,
        }


def gpu_state() -> dict[str, str | float] | None:
    """Name, driver and clocks of the graphics card that a process sees first, by nvidia-smi; None where that is absent.

    What the driver does not tell is left out.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"
    asked = subprocess.run(
        ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader,nounits", f"--id={first}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        encoding="utf-8",
    )
    return None if asked.returncode else parsed_state(asked.stdout)


def parsed_state(answer: str) -> dict[str, str | float] | None:
    """What nvidia-smi's line of comma-separated values says."""
    row = next(csv.reader(io.StringIO(answer), skipinitialspace=True), [])
    if len(row) != len(_ASKED):
        return None
    state: dict[str, str | float] = {}
    for name, value in zip(_ASKED.values(), row, strict=True):
        if value.startswith("["):  # [N/A], [Not Supported]
            continue
        try:
            state[name] = value if name == "driver" else float(value)
        except ValueError:
            state[name] = value
    return state


def this_gpu(state: Mapping[str, str | float] | None, provider: str, kind: str) -> Here | None:
    """What bounds the card that `gpu_state` describes; None when it, or its peak for the arithmetic, is unknown.

    kind: ONNX's name of the type that most of the arithmetic is in.
    """
    card = card_named(str(state["name"])) if state else None
    if card is None:
        return None
    # For int8 the table has no peak: fp16 is the nearest.
    precision: Precision = "fp16"
    if kind in ("FLOAT", "DOUBLE"):
        precision = "tf32" if TF32.get(provider) and "tf32" in card.peaks else "fp32"
    if precision not in card.peaks:
        return None
    named = Machine(f"this machine ({card.name})", card.peaks, card.bandwidth)
    return Here(named, precision, f"published for {card.name}")


def this_cpu(provider: str, kind: str, threads: int, before: Here | None = None) -> Here:
    """What bounds this CPU, measured in PyTorch with this many threads: a matrix product and a large copy.

    kind: as in `this_gpu`. before: an earlier answer. Something else that the machine does makes it look slower than it
    is, so the better figures of both count.
    """
    is_16_bit = provider.endswith("-bf16") or kind == "BFLOAT16"
    precision: Precision = "fp16" if is_16_bit else "fp32"
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        peak, begun = 0.0, time.perf_counter()
        while time.perf_counter() - begun < _PEAK_SECONDS:
            peak = max(peak, peak_flops(torch.device("cpu"), "bf16" if is_16_bit else "fp32"))
        bandwidth = _copy_rate()
    finally:
        torch.set_num_threads(usual)
    if before is not None:
        peak, bandwidth = max(peak, before.peak), max(bandwidth, before.machine.bandwidth)
    side, name = MATMUL["cpu"], "bfloat16" if is_16_bit else "float32"
    source = f"measured: the fastest {name} product of two {side}×{side} matrices, and copy of memory, in PyTorch"
    return Here(Machine("this machine", {precision: peak}, bandwidth), precision, source)


def _copy_rate() -> float:
    """Bytes per second of a large copy in host memory, the best of several; bytes read and written both count."""
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8)
    target = torch.ones_like(source)
    best = 0.0
    for _ in range(_COPIES):
        begun = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * _COPIED_BYTES / (time.perf_counter() - begun))
    return best


def physical_cores() -> int:
    """Cores that this process may use; the hardware threads of one core count once."""
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text(encoding="utf-8").strip() if siblings.is_file() else str(cpu))
    return min(len(cores), machine.cores())
