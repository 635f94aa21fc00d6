"""The description of a measured model, for people."""

from collections.abc import Callable
from typing import Any

from export.latency.machines import PRECISIONS


def table(described: dict[str, Any]) -> str:
    """What `--json` holds, for people."""
    model, costs, peak = described["model"], described["costs"], described["peak"]
    width, height = model["size"]
    rates = f"{peak['gflop_per_s']:,.0f} GFLOP/s in {peak['precision']}, {peak['gb_per_s']:,.0f} GB/s" if peak else ""
    head = [
        f"{model['file']}: {model['method']}, {width}×{height}, on {described['hardware']}, provider "
        f"{described['provider']}, {described['threads']} CPU threads",
        f"one picture: {costs['gflop']:.3f} GFLOP, {costs['weights_mb']:,.1f} MB of weights, "
        f"{costs['unfused_traffic_mb']:,.1f} MB moved when each node reads and writes memory",
        f"peak: {rates}; {peak['source']}" if peak else "peak: unknown for this card",
    ]
    if costs["not_counted"]:
        head.append(f"operators whose arithmetic is not counted: {', '.join(costs['not_counted'])}")
    if gpu := described["gpu"]:
        head.append("GPU: " + ", ".join(f"{name} {_short(value)}" for name, value in gpu.items()))
    tail = [", ".join(f"{name} {version}" for name, version in described["versions"].items())]
    if any((row["share_of_peak"] or 0) > 1 for row in described["batches"]):
        tail.insert(0, "more than the peak: the machine was busy when that was measured, or the model uses fewer bits")
    if described["runs"] < 100:
        tail.insert(0, f"p99 of {described['runs']} runs is hardly more than the slowest of them")
    return "\n".join([*head, "", *_measured(described), "", *_budget(described), "", *tail])


def _short(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _measured(described: dict[str, Any]) -> list[str]:
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "batch": lambda row: f"{row['batch']}",
        "first ms": lambda row: f"{row['first_run_ms']:.1f}",
        "p50 ms": lambda row: f"{row['run_ms']['p50']:.2f}",
        "p95 ms": lambda row: f"{row['run_ms']['p95']:.2f}",
        "p99 ms": lambda row: f"{row['run_ms']['p99']:.2f}",
        "p50/picture": lambda row: f"{row['picture_ms']['p50']:.2f}",
        "p95/picture": lambda row: f"{row['picture_ms']['p95']:.2f}",
        "p99/picture": lambda row: f"{row['picture_ms']['p99']:.2f}",
        "pictures/s": lambda row: f"{row['pictures_per_s']:.2f}",
        "GFLOP/s": lambda row: f"{row['gflop_per_s']:,.0f}",
    }
    if described["peak"]:
        columns["of peak"] = lambda row: f"{row['share_of_peak']:.0%}"
    if any(row["copy_in_ms"]["p50"] for row in described["batches"]):
        columns["copy in ms"] = lambda row: f"{row['copy_in_ms']['p50']:.2f}"
        columns["copy out ms"] = lambda row: f"{row['copy_out_ms']['p50']:.2f}"
    if described["against"]:
        columns["eager p50 ms"] = lambda row: f"{row['eager_ms']['p50']:.2f}"
        columns["times eager"] = lambda row: f"{row['speedup_over_eager']:.2f}"
    grid = [list(columns), *([cell(row) for cell in columns.values()] for row in described["batches"])]
    title = f"measured: {described['runs']} runs of each batch after a first one and {described['warmup']} to warm up"
    return [title, *_aligned(grid)]


def _budget(described: dict[str, Any]) -> list[str]:
    bounds: dict[str, dict[str, dict[str, Any]]] = {}
    for each in (*described["budget"]["cards"], *described["budget"]["here"]):
        bounds.setdefault(each["machine"], {})[each["precision"]] = each
    names = {"fp16": "fp16/bf16"}
    head = ["machine", *(f"{kind} {names.get(each, each)}" for kind in ("floor", "unfused") for each in PRECISIONS)]
    grid = [head]
    for machine, found in bounds.items():
        cells = [machine]
        for figure in ("floor_ms", "unfused_ms"):
            for precision in PRECISIONS:
                cells.append(f"{found[precision][figure]:.3g}" if precision in found else "–")
        grid.append(cells)
    lines = _aligned(grid)
    title = "budget: ms of one picture at best, from published peaks; lower bounds, not measurements (see --help)"
    here = [
        f"{each['machine']}: measured {each['measured_p50_ms']:.4g} ms, "
        f"{each['measured_p50_ms'] / each['floor_ms']:.3g} times its {each['precision']} floor"
        for each in described["budget"]["here"]
    ]
    return [title, *lines, *here]


def _aligned(grid: list[list[str]]) -> list[str]:
    """Rows of cells in columns: the first to the left, figures to the right."""
    widths = [max(len(row[column]) for row in grid) for column in range(len(grid[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in grid
    ]
