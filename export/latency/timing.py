"""Times of an exported model's runs, alone or in turns with eager PyTorch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ValueInfoProto, helper

from deploy.metadata import Metadata
from deploy.runtime import Session
from export.latency.bound_run import BoundRun
from export.latency.costs import Costs
from export.latency.eager import Eager
from export.latency.graph import Graph
from likeness.array import Array
from likeness.bound_run import Seconds
from likeness.command import BadInput
from likeness.onnx_runtime import MEMORY

Feeds = dict[str, Array]
GPU_PROVIDERS = tuple(MEMORY)
SAME_MODEL = 0.01
"""Relative difference that the arithmetic of a graph and of the PyTorch module may have, if they are one model."""
REST = 0.01
"""Seconds between turns of PyTorch and ONNX Runtime: idle worker threads of both spin for a while after a run."""


@dataclass(frozen=True)
class Request:
    """What to measure."""

    batches: tuple[int, ...]
    """Pictures in one run, 1 among them."""
    runs: int
    """Measured runs of each batch."""
    warmup: int
    """Runs of each batch that are not counted, after the first."""
    threads: int
    """CPU threads in one run."""
    target_ms: float
    """What p95 of a run at batch 1 is judged by, in milliseconds."""


@dataclass
class Timings:
    """Seconds of the measured runs of one batch."""

    first: float
    """Of the very first run, in which a provider may make its plan."""
    runs: list[Seconds] = field(default_factory=list)
    """Of each measured run, in order."""
    eager: list[float] = field(default_factory=list)
    """Of eager PyTorch's turns, in order."""


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


def shapes_of(graph: Graph, facts: Metadata, batch: int) -> dict[str, Sequence[int]]:
    """The shape of each input. Raises BadInput when the graph does not take the batch."""
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
