"""Peaks of machines, published or measured, and how fast a model could be on them at best."""

import csv
import io
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from export.latency.costs import Costs
from trainer.estimate import MATMUL, peak_flops

Precision = Literal["fp32", "tf32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "fp16")
WIDTHS: dict[Precision, int] = {"fp32": 4, "tf32": 4, "fp16": 2}
"""Bytes of a value in memory; tf32 rounds fp32 values inside the tensor cores only, and bf16 counts as fp16."""
_COPIED_BYTES = 2**28
_COPIES = 4
_PEAK_SECONDS = 0.3


@dataclass(frozen=True)
class Machine:
    """What bounds a run: floating-point operations per second, by precision, and bytes per second."""

    name: str
    peaks: dict[Precision, float]
    bandwidth: float


def _card(name: str, fp32: float, tf32: float | None, fp16: float | None, bandwidth: float) -> Machine:
    """Peaks in TFLOP/s, bandwidth in GB/s."""
    given: dict[Precision, float | None] = {"fp32": fp32, "tf32": tf32, "fp16": fp16}
    peaks = {precision: peak * 1e12 for precision, peak in given.items() if peak is not None}
    return Machine(name, peaks, bandwidth * 1e9)


# NVIDIA's figures at boost clock, dense (without 2:4 sparsity); fp16 on tensor cores where the card has them, and bf16,
# where it has that, is as fast. Each line's source:
#   GTX 1080 Ti  product page. Its fp16 runs at 1/64 of the rate of fp32, so nobody uses it.
#   V100         V100 SXM2 data sheet.
#   T4           T4 data sheet and product brief (256 bit at 10 Gbit/s: 320 GB/s).
#   A100         A100 80 GB SXM data sheet.
#   L4           L4 data sheet, whose figures for tensor cores are with sparsity: halved.
#   RTX 4090     Ada architecture white paper, appendix A; fp16 with fp16 accumulation (fp32 accumulation: 165.2).
#   H100, H200   Hopper architecture white paper for SXM5, H200 data sheet for its memory.
CARDS = (
    _card("GTX 1080 Ti", 11.3, None, None, 484),
    _card("V100", 15.7, None, 125, 900),
    _card("T4", 8.1, None, 65, 320),
    _card("A100", 19.5, 156, 312, 2039),
    _card("L4", 30.3, 60, 121, 300),
    _card("RTX 4090", 82.6, 82.6, 330.3, 1008),
    _card("H100", 66.9, 494.7, 989.4, 3350),
    _card("H200", 66.9, 494.7, 989.4, 4800),
)


def card_named(name: str) -> Machine | None:
    """The card that a driver's name such as `NVIDIA H100 80GB HBM3` means, None for one that is not in the table.

    Variants with other peaks or other memory under the same name (PCIe, NVL, mobile) are taken for none.
    """
    words = name.replace("-", " ").split()
    if {"PCIe", "PCIE", "NVL", "Laptop", "Max", "D", "MIG", "40GB"} & set(words):
        return None
    for card in CARDS:
        parts = card.name.split()
        if any(words[start : start + len(parts)] == parts for start in range(len(words))):
            return card
    return None


@dataclass(frozen=True)
class Bound:
    """A machine's prediction for one run, in milliseconds.

    floor: all arithmetic at the peak, or the least memory traffic at full bandwidth, whichever takes longer.
    unfused: the sum of the same over nodes that each read and write memory.
    """

    machine: str
    precision: Precision
    floor_ms: float
    limit: Literal["arithmetic", "memory"]
    unfused_ms: float

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "precision": self.precision,
            "floor_ms": round(self.floor_ms, 4),
            "limit": self.limit,
            "unfused_ms": round(self.unfused_ms, 4),
        }


def bound(costs: Costs, machine: Machine, precision: Precision) -> Bound:
    """The roofline of a run: max(operations / peak, bytes / bandwidth)."""
    peak, bandwidth, width = machine.peaks[precision], machine.bandwidth, WIDTHS[precision]
    arithmetic, memory = costs.flops / peak, costs.least.size(width) / bandwidth
    unfused = sum(max(node.flops / peak, node.traffic.size(width) / bandwidth) for node in costs.nodes)
    return Bound(
        machine.name,
        precision,
        1000 * max(arithmetic, memory),
        "arithmetic" if arithmetic >= memory else "memory",
        1000 * unfused,
    )


def budget(costs: Costs, machines: tuple[Machine, ...] = CARDS) -> list[Bound]:
    """Every machine's bounds, in every precision that it computes in."""
    return [
        bound(costs, machine, precision)
        for machine in machines
        for precision in PRECISIONS
        if precision in machine.peaks
    ]


# nvidia-smi's names of what is asked, and ours.
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


@dataclass(frozen=True)
class Here:
    """The machine that measures: its bounds, the precision that the model's arithmetic has on it, and where the
    figures are from, in words.
    """

    machine: Machine
    precision: Precision
    source: str

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


def this_gpu(state: Mapping[str, str | float] | None, kind: str) -> Here | None:
    """What bounds the card that `gpu_state` describes; None when it, or its peak for the arithmetic, is unknown.

    kind: ONNX's name of the type that most of the arithmetic is in.
    """
    card = card_named(str(state["name"])) if state else None
    if card is None:
        return None
    # ONNX Runtime's providers let tensor cores round fp32 to tf32. For int8 the table has no peak: fp16 is the nearest.
    precision: Precision = "fp16"
    if kind in ("FLOAT", "DOUBLE"):
        precision = "tf32" if "tf32" in card.peaks else "fp32"
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
    dtype = torch.bfloat16 if is_16_bit else torch.float32
    precision: Precision = "fp16" if is_16_bit else "fp32"
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        peak, begun = 0.0, time.perf_counter()
        while time.perf_counter() - begun < _PEAK_SECONDS:
            peak = max(peak, peak_flops(torch.device("cpu"), dtype))
        bandwidth = _copy_rate()
    finally:
        torch.set_num_threads(usual)
    if before is not None:
        peak, bandwidth = max(peak, before.peak), max(bandwidth, before.machine.bandwidth)
    side, name = MATMUL["cpu"], str(dtype).removeprefix("torch.")
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
        cores.add(siblings.read_text().strip() if siblings.is_file() else str(cpu))
    return len(cores)
