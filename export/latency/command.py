"""`python -m export latency`: how long an exported model takes, on this machine and at best on others."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from likeness.arguments import count, whole
from likeness.command import BadInput

TARGET_MISSED = 3
BUSY = 0.5
"""Load average per core from which on a machine counts as busy."""
DEFAULT_BATCHES = {"gpu": (1, 2, 4, 8, 16, 32), "cpu": (1, 2, 4)}
DEFAULT_RUNS = {"gpu": 200, "cpu": 20}

DESCRIPTION = """\
Measures an exported model and judges it by a target: p50, p95 and p99 of the time of one run and of one picture,
pictures per second, and the share of the machine's peak that the model's arithmetic reaches. On a GPU the inputs and
the picture are bound to its memory, every time is taken after the GPU has finished, and the copies in and out stand
apart; on a CPU there are none. Inputs are random values of the model's own shapes and ranges.

On a CPU, and with --against, eager PyTorch (float32, the same number of threads, in a process of its own) takes turns
with the model; what is printed as "times eager" is the median of the ratios of neighbouring turns, which a busy machine
distorts least.

It ends with a budget: how fast one picture could be on other cards at best, from the operations and the bytes that
the graph needs and the cards' published peaks. These are bounds, not measurements:
  floor    all arithmetic at the peak, or weights, inputs and picture moved once at full bandwidth, whichever is
           longer. No kernel that computes convolutions directly is faster; Winograd kernels, which multiply less in
           3×3 convolutions, may be.
  unfused  the same for each node by itself, each reading and writing memory: what fusing nodes, and caches, can save
           lies between the two.
"""

EXAMPLES = """\
examples:
  python -m export latency --model face.onnx
  python -m export latency --model face.onnx --batch 1 --runs 50
  python -m export latency --model face.onnx --json > face.json
  python -m export latency --model face.onnx --provider cuda --batch 1,8,32 --target-ms 8

Measure an untrained architecture by exporting it first:
  python -m export --config trainer/configs/face.yaml --untrained --out untrained.onnx
  python -m export latency --model untrained.onnx
Settings of a config are overridden after --against CONFIG: --data.width 512.

Exit codes: 0 p95 of a run at batch 1 is within --target-ms, 3 it is not (one line says by how much), 2 bad input (one
line on stderr says what to do).
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export latency",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="MODEL.onnx", help="a model that `python -m export` wrote")
    add(
        "--provider",
        choices=("cpu", "cuda", "tensorrt", "openvino", "openvino-bf16"),
        default="cpu",
        help="where it runs; an error when it cannot run there (default: %(default)s)",
    )
    add(
        "--batch",
        type=_batches,
        metavar="N,N,…",
        help="pictures in one run, 1 among them (default: 1,2,4,8,16,32 on a GPU, 1,2,4 on the CPU)",
    )
    add("--runs", type=count, metavar="N", help="measured runs of each batch (default: 200 on a GPU, 20 on the CPU)")
    add(
        "--warmup",
        type=whole,
        default=3,
        metavar="N",
        help="runs of each batch that are not counted, after the first, which is reported apart (default: %(default)s)",
    )
    add("--threads", type=count, metavar="N", help="CPU threads in one run (default: one per physical core)")
    add(
        "--target-ms",
        type=_milliseconds,
        default=10.0,
        metavar="MS",
        help="what p95 of a run at batch 1, without copies, is judged by (default: %(default)g)",
    )
    add(
        "--against",
        type=Path,
        metavar="CHECKPOINT|CONFIG",
        help="the eager PyTorch to compare with: a run's folder, one checkpoint, or a training config (default: on the "
        "CPU the same network with random weights, on a GPU none)",
    )
    add("--engines", type=Path, metavar="DIR", help="what `python -m export engine` built, for --provider tensorrt")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    return parser


def _batches(text: str) -> tuple[int, ...]:
    sizes = tuple(dict.fromkeys(count(part.strip()) for part in text.split(",")))
    if 1 not in sizes:
        raise argparse.ArgumentTypeError(f"{text!r} lacks batch 1, which the target is judged by; give 1,{text}")
    return sizes


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in milliseconds, above 0")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns 0, or 3 when the target is missed. Raises BadInput for what a person can mend."""
    options, overrides = _parser().parse_known_args(arguments)
    is_config = options.against is not None and options.against.suffix in (".yaml", ".yml")
    if overrides and not is_config:
        raise BadInput(
            f"unknown option {overrides[0]}; settings of a config can be overridden only with --against CONFIG.yaml"
        )
    # Imported here, so that help and bad arguments need not wait for torch and ONNX Runtime.
    from deploy.runtime import Session
    from export.latency import machines, timing
    from export.latency.costs import Graph
    from export.latency.eager import Source, eager_pytorch

    on_gpu = options.provider in timing.GPU_PROVIDERS
    kind = "gpu" if on_gpu else "cpu"
    request = timing.Request(
        batches=options.batch or DEFAULT_BATCHES[kind],
        runs=options.runs or DEFAULT_RUNS[kind],
        warmup=options.warmup,
        threads=options.threads or machines.physical_cores(),
        target_ms=options.target_ms,
    )
    _say("reading the graph")
    graph = Graph.read(options.model)
    _say(f"loading the model for {options.provider}")
    session = Session(options.model, options.provider, request.threads, engines=options.engines)
    source = None
    if options.against is not None:
        source = Source(options.against, tuple(overrides) if is_config else None)
    elif not on_gpu:
        known = session.metadata
        source = Source(
            method=known.method,
            options=known.options,
            schema=session.schema,
            images=None if known.checkpoint_sha256 == "untrained" else known.images_seen,
            inputs=session.inputs,
        )
    with contextlib.ExitStack() as stack:
        eager = None
        if source is not None:
            _say(f"starting eager PyTorch: {source.where}")
            eager = stack.enter_context(eager_pytorch(source, request.threads, on_gpu))
        described = timing.describe(session, graph, request, eager)
    load = described["load_average_before"]
    if load > BUSY * machines.physical_cores():
        print(
            f"warning: something else was running here (load average {load:g} before the first run): times are longer "
            "than on an idle machine; measure again there",
            file=sys.stderr,
        )
    print(json.dumps(described, indent=1, ensure_ascii=False) if options.json else table(described))
    # One line in any case; on stderr where stdout holds JSON alone.
    print(described["target"]["verdict"], file=sys.stderr if options.json else sys.stdout)
    return 0 if described["target"]["met"] else TARGET_MISSED


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
    from export.latency.machines import PRECISIONS

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


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr)
