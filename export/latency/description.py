"""A measured model in one description: what `--json` prints."""

import contextlib
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from tqdm import tqdm

from deploy.runtime import Session
from export.latency import machines
from export.latency.costs import Costs
from export.latency.eager import Eager
from export.latency.graph import Graph
from export.latency.here import Here, gpu_state, this_cpu, this_gpu
from export.latency.timing import GPU_PROVIDERS, Request, Timings, check_same, example_feeds, measure, shapes_of
from likeness.checksums import sha256_of
from likeness.machine import device

PERCENTILES = (50, 95, 99)
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "openvino", "torch", "onnx", "numpy")


def describe(session: Session, graph: Graph, request: Request, eager: Eager | None) -> dict[str, Any]:
    """Measures every batch and returns what `--json` prints.

    Raises BadInput when the model does not take a batch, or `eager` is another model.
    """
    costs = {size: graph.costs(shapes_of(graph, session.metadata, size)) for size in request.batches}
    if eager is not None:
        check_same(eager, session, costs[1])
    load = round(os.getloadavg()[0], 2)
    on_gpu = session.provider in GPU_PROVIDERS
    rows, bounds_here, gpu = _measured(session, graph, request, costs, eager)
    one = next(row for row in rows if row["batch"] == 1)
    return {
        "model": {
            "file": session.path.name,
            "sha256": sha256_of(session.path),
            "method": session.method,
            "checkpoint_sha256": session.metadata.checkpoint_sha256,
            "size": [session.schema.width, session.schema.height],
        },
        "provider": session.provider,
        "hardware": device(session.provider if on_gpu else "cpu"),
        "gpu": gpu,
        "threads": request.threads,
        "load_average_before": load,
        "warmup": request.warmup,
        "runs": request.runs,
        "costs": _costs(costs[1]),
        "peak": bounds_here.to_json() if bounds_here else None,
        "batches": rows,
        "against": eager.where if eager else None,
        "speedup_over_eager": one["speedup_over_eager"],
        "target": _target(one["run_ms"]["p95"], request.target_ms),
        "budget": _budget(costs[1], bounds_here, one["run_ms"]["p50"]),
        "versions": _versions(),
    }


def _measured(
    session: Session, graph: Graph, request: Request, costs: Mapping[int, Costs], eager: Eager | None
) -> tuple[list[dict[str, Any]], Here | None, dict[str, str | float] | None]:
    """The figures of every batch, what bounds this machine, and the state of its GPU after the last run."""
    on_gpu = session.provider in GPU_PROVIDERS
    kind = next(iter(costs[1].flops_by_kind), "FLOAT")
    bounds = None if on_gpu else this_cpu(session.provider, kind, request.threads)
    rows: list[dict[str, Any]] = []
    gpu = None
    with tqdm(total=len(request.batches) * (request.warmup + request.runs), unit="run", file=sys.stderr) as progress:
        for size in request.batches:
            progress.set_description(f"batch {size}")
            feeds = example_feeds(graph, session.metadata, size)
            timings = measure(session, feeds, request, eager, progress.update)
            gpu = gpu_state() if on_gpu else None
            rows.append(_row(size, timings, costs[size], gpu))
            # Again after each batch: a card's clocks change, and what else a CPU does makes it look slower.
            bounds = (
                this_gpu(gpu, session.provider, kind)
                if on_gpu
                else this_cpu(session.provider, kind, request.threads, bounds)
            )
    peak = bounds.peak if bounds else None
    for row in rows:
        row["share_of_peak"] = round(row["gflop_per_s"] * 1e9 / peak, 3) if peak else None
    return rows, bounds, gpu


def _budget(costs: Costs, bounds_here: Here | None, measured_p50_ms: float) -> dict[str, Any]:
    """Lower bounds of one picture, here and on other cards."""
    own = [machines.bound(costs, bounds_here.machine, bounds_here.precision)] if bounds_here else []
    return {
        "what": "lower bounds of one run at batch 1, from arithmetic and traffic; not measurements"
        + ("; int8 arithmetic may be faster" if "INT8" in costs.flops_by_kind else ""),
        "here": [{**each.to_json(), "measured_p50_ms": measured_p50_ms} for each in own],
        "cards": [each.to_json() for each in machines.budget(costs)],
    }


def _row(size: int, timings: Timings, costs: Costs, gpu: Mapping[str, str | float] | None) -> dict[str, Any]:
    runs = [each.run for each in timings.runs]
    run_ms = _percentiles(runs)
    pairs = zip(timings.eager, runs, strict=False)
    return {
        "batch": size,
        "first_run_ms": round(1000 * timings.first, 3),
        "run_ms": run_ms,
        "picture_ms": {name: round(value / size, 4) for name, value in run_ms.items()},
        "pictures_per_s": round(size * len(runs) / sum(runs), 3),
        "copy_in_ms": _percentiles([each.copy_in for each in timings.runs]),
        "copy_out_ms": _percentiles([each.copy_out for each in timings.runs]),
        "gflop_per_picture": round(costs.flops / size / 1e9, 3),
        "gflop_per_s": round(costs.flops / statistics.median(runs) / 1e9, 1),
        "eager_ms": _percentiles(timings.eager) if timings.eager else None,
        "speedup_over_eager": (
            round(statistics.median(eager / ours for eager, ours in pairs), 2) if timings.eager else None
        ),
        "sm_mhz": gpu.get("sm_mhz") if gpu else None,
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(1000 * float(np.percentile(seconds, percent)), 4) for percent in PERCENTILES}


def _costs(costs: Costs) -> dict[str, Any]:
    """Of one picture."""
    return {
        "gflop": round(costs.flops / 1e9, 3),
        "gflop_by_type": {kind: round(flops / 1e9, 3) for kind, flops in costs.flops_by_kind.items()},
        "weights_mb": round(costs.weights.size(costs.width) / 1e6, 1),
        "least_traffic_mb": round(costs.least.size(costs.width) / 1e6, 1),
        "unfused_traffic_mb": round(costs.traffic.size(costs.width) / 1e6, 1),
        "not_counted": list(costs.not_counted),
    }


def _target(p95: float, target_ms: float) -> dict[str, Any]:
    met = p95 <= target_ms
    begin = f"p95 of a run at batch 1 is {p95:.4g} ms: "
    missed = (
        f"missed the target of {target_ms:g} ms by {p95 - target_ms:.4g} ms ({p95 / target_ms:.3g} times the target)"
    )
    return {
        "ms": target_ms,
        "p95_ms": p95,
        "met": met,
        "verdict": begin + (f"within the target of {target_ms:g} ms" if met else missed),
    }


def _versions() -> dict[str, str]:
    known = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            known[name] = metadata.version(name)
    return known
