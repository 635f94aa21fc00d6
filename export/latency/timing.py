"""Times of an exported model's runs, alone or in turns with eager PyTorch, and what bounds them."""

import contextlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import numpy as np
from onnx import ValueInfoProto, helper
from tqdm import tqdm

from deploy.metadata import Metadata
from deploy.runtime import Session
from export.latency import machines
from export.latency.bound_run import BoundRun
from export.latency.costs import Costs, Graph
from export.latency.eager import Eager
from likeness.array import Array
from likeness.command import BadInput
from likeness.machine import device
from likeness.onnx_runtime import Seconds
from shards.records import sha256_of

Feeds = dict[str, Array]

GPU_PROVIDERS = ("cuda", "tensorrt")
PERCENTILES = (50, 95, 99)
SAME_MODEL = 0.01
"""Relative difference that the arithmetic of a graph and of the PyTorch module may have, if they are one model."""
REST = 0.01
"""Seconds between turns of PyTorch and ONNX Runtime: idle worker threads of both spin for a while after a run."""
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "openvino", "torch", "onnx", "numpy")


@dataclass(frozen=True)
class Request:
    """What to measure: the batches, how many runs of each, on how many CPU threads, against which target."""

    batches: tuple[int, ...]
    runs: int
    warmup: int
    threads: int
    target_ms: float


@dataclass
class Timings:
    """Seconds of the measured runs of one batch, in order. first: of the very first run. eager: PyTorch's turns."""

    first: float
    runs: list[Seconds] = field(default_factory=list)
    eager: list[float] = field(default_factory=list)


def check_same(eager: Eager, session: Session, costs: Costs) -> None:
    """Raises BadInput unless both are one model: method, label schema and arithmetic are the same."""
    ours = eager.facts
    remedy = "name the checkpoint or the config that it was exported from, with the same settings"
    if ours.method != session.method:
        raise BadInput(f"{eager.where} is {ours.method}, but {session.path} is {session.method}; {remedy}")
    if difference := session.schema.difference(ours.schema):
        raise BadInput(
            f"{eager.where} has another label schema than {session.path}: {difference} (the model's first); {remedy}"
        )
    if not costs.not_counted and abs(ours.flops - costs.flops) > SAME_MODEL * ours.flops:
        raise BadInput(
            f"{eager.where} needs {ours.flops / 1e9:.3f} GFLOP per picture, but {session.path} "
            f"{costs.flops / 1e9:.3f}; {remedy}"
        )


def _shapes(graph: Graph, facts: Metadata, batch: int) -> dict[str, Sequence[int]]:
    return {value.name: _shape(value, facts, batch, graph.where) for value in graph.inputs}


def _shape(value: ValueInfoProto, facts: Metadata, batch: int, where: str) -> tuple[int, ...]:
    """An input's shape: the batch first, then what the graph declares; sides that it leaves open are the schema's."""
    first, *others = value.type.tensor_type.shape.dim
    if first.HasField("dim_value") and first.dim_value != batch:
        raise BadInput(
            f"{where} takes batches of {first.dim_value} only, not {batch}; export it with a dynamic batch, or give "
            f"--batch {first.dim_value}"
        )
    sides = iter((facts.schema.height, facts.schema.width))
    return (batch, *(dim.dim_value if dim.HasField("dim_value") else next(sides) for dim in others))


def example_feeds(graph: Graph, facts: Metadata, batch: int) -> Feeds:
    """Random inputs that the model takes: by name, in the type and the shape that its graph declares."""
    rng = np.random.default_rng(0)
    feeds: Feeds = {}
    specs = facts.specs()
    for value in graph.inputs:
        shape = _shape(value, facts, batch, graph.where)
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if np.issubdtype(kind, np.integer):
            ids = specs[value.name].ids
            drawn = rng.integers(0, 256, shape) if ids is None else rng.choice(ids, shape)
        else:
            drawn = rng.uniform(*facts.value_ranges[value.name], shape)
        feeds[value.name] = drawn.astype(kind)
    return feeds


def measure(
    session: Session, feeds: Feeds, request: Request, eager: Eager | None, progress: Callable[[], object]
) -> Timings:
    """Times the runs of one batch, in turns with eager PyTorch where that is given; `progress` is told of each."""
    begun = time.perf_counter()
    session.run(**feeds)  # checks inputs and output, and makes an engine or plan where the provider has one
    timings = Timings(time.perf_counter() - begun)
    if session.provider in GPU_PROVIDERS:
        bound = BoundRun(session, "cuda")

        def run() -> Seconds:
            return bound(feeds)[1]

    else:

        def run() -> Seconds:
            begun = time.perf_counter()
            session.run(**feeds)
            return Seconds(0.0, time.perf_counter() - begun, 0.0)

    batch = len(next(iter(feeds.values())))
    for turn in range(-request.warmup, request.runs):
        taken, eager_taken = None, None
        # Whoever comes second finds the other's data in the caches: take turns at that, too.
        for ours in (True, False) if turn % 2 else (False, True):
            if ours:
                taken = run()
            elif eager:
                eager_taken = eager.seconds(batch)
            if eager:
                time.sleep(REST)
        if turn >= 0 and taken is not None:
            timings.runs.append(taken)
            if eager_taken is not None:
                timings.eager.append(eager_taken)
        progress()
    return timings


def describe(session: Session, graph: Graph, request: Request, eager: Eager | None) -> dict[str, Any]:
    """Measures every batch and returns what `--json` prints.

    Raises BadInput when the model does not take a batch, or `eager` is another model.
    """
    costs = {size: graph.costs(_shapes(graph, session.metadata, size)) for size in request.batches}
    if eager is not None:
        check_same(eager, session, costs[1])
    load = round(os.getloadavg()[0], 2)
    on_gpu = session.provider in GPU_PROVIDERS
    kind = next(iter(costs[1].flops_by_kind), "FLOAT")
    here = None if on_gpu else machines.this_cpu(session.provider, kind, request.threads)
    rows: list[dict[str, Any]] = []
    gpu = None
    with tqdm(total=len(request.batches) * (request.warmup + request.runs), unit="run", file=sys.stderr) as progress:
        for size in request.batches:
            progress.set_description(f"batch {size}")
            feeds = example_feeds(graph, session.metadata, size)
            timings = measure(session, feeds, request, eager, progress.update)
            gpu = machines.gpu_state() if on_gpu else None
            rows.append(_row(size, timings, costs[size], gpu))
            here = (
                machines.this_gpu(gpu, kind)
                if on_gpu
                else machines.this_cpu(session.provider, kind, request.threads, here)
            )
    peak = here.peak if here else None
    for row in rows:
        row["share_of_peak"] = round(row["gflop_per_s"] * 1e9 / peak, 3) if peak else None
    one = next(row for row in rows if row["batch"] == 1)
    bounds = machines.budget(costs[1])
    own = [machines.bound(costs[1], here.machine, here.precision)] if here else []
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
        "peak": here.to_json() if here else None,
        "batches": rows,
        "against": eager.where if eager else None,
        "speedup_over_eager": one["speedup_over_eager"],
        "target": _target(one["run_ms"]["p95"], request.target_ms),
        "budget": {
            "what": "lower bounds of one run at batch 1, from arithmetic and traffic; not measurements"
            + ("; int8 arithmetic may be faster" if "INT8" in costs[1].flops_by_kind else ""),
            "here": [{**each.to_json(), "measured_p50_ms": one["run_ms"]["p50"]} for each in own],
            "cards": [each.to_json() for each in bounds],
        },
        "versions": _versions(),
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
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
