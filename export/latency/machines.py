"""Peaks of cards, as published, and how fast a model could be on them at best."""

from dataclasses import dataclass
from typing import Any, Literal

from export.latency.costs import Costs

Precision = Literal["fp32", "tf32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "fp16")
WIDTHS: dict[Precision, int] = {"fp32": 4, "tf32": 4, "fp16": 2}
"""Bytes of a value in memory; tf32 rounds fp32 values inside the tensor cores only, and bf16 counts as fp16."""


@dataclass(frozen=True)
class Machine:
    """What bounds a run."""

    name: str
    """For people."""
    peaks: dict[Precision, float]
    """Floating-point operations per second, by precision."""
    bandwidth: float
    """Bytes per second of its memory."""


def _card(name: str, fp32: float, tf32: float | None, fp16: float | None, bandwidth: float) -> Machine:
    """Peaks in TFLOP/s, bandwidth in GB/s."""
    published: dict[Precision, float | None] = {"fp32": fp32, "tf32": tf32, "fp16": fp16}
    peaks = {precision: peak * 1e12 for precision, peak in published.items() if peak is not None}
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
    """A machine's prediction for one run."""

    machine: str
    """Its name."""
    precision: Precision
    """Of the arithmetic."""
    floor_ms: float
    """All arithmetic at the peak, or the least memory traffic at full bandwidth, whichever takes longer."""
    limit: Literal["arithmetic", "memory"]
    """Which of both that is."""
    unfused_ms: float
    """The sum of the same over nodes that each read and write memory."""

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "precision": self.precision,
            "floor_ms": round(self.floor_ms, 4),
            "limit": self.limit,
            "unfused_ms": round(self.unfused_ms, 4),
        }


def bound(costs: Costs, machine: Machine, precision: Precision) -> Bound:
    """The roofline of a run (Williams et al., 2009): max(operations / peak, bytes / bandwidth)."""
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
