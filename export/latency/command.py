"""`python -m export latency`: how long an exported model takes, on this machine and at best on others."""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.arguments import count, positive, whole
from likeness.command import DONE, BadInput
from likeness.names import in_one_line, quoted

if TYPE_CHECKING:
    from deploy.runtime import Session
    from export.latency.eager import Source

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

On a CPU, and with --against, eager PyTorch (float32, or TF32 beside cuda-tf32, the same number of threads, in a process
of its own) takes turns with the model; what is printed as "times eager" is the median of the ratios of neighbouring
turns, which a busy machine distorts least.

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
        choices=("cpu", "cuda", "cuda-tf32", "tensorrt", "openvino", "openvino-bf16"),
        default="cpu",
        help="where it runs; an error when it cannot run there; cuda computes fp32 in float32, cuda-tf32 lets tensor "
        "cores round it, eager PyTorch as well (default: %(default)s)",
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
        type=positive,
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
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} lacks batch 1, which the target is judged by; give 1,{in_one_line(text, 80)}"
        )
    return sizes


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns 0, or 3 when the target is missed. Raises BadInput for what a person can mend."""
    options, overrides = _parser().parse_known_args(arguments)
    if overrides and not _is_config(options.against):
        raise BadInput(
            f"unknown option {overrides[0]}; settings of a config can be overridden only with --against CONFIG.yaml"
        )
    # Imported here, so that help and bad arguments need not wait for torch and ONNX Runtime.
    from export.latency.here import physical_cores
    from export.latency.table import table

    described = _described(options, overrides)
    load = described["load_average_before"]
    if load > BUSY * physical_cores():
        print(
            f"warning: something else was running here (load average {load:g} before the first run): times are longer "
            "than on an idle machine; measure again there",
            file=sys.stderr,
        )
    print(json.dumps(described, indent=1, ensure_ascii=False) if options.json else table(described))
    # One line in any case; on stderr where stdout holds JSON alone.
    print(described["target"]["verdict"], file=sys.stderr if options.json else sys.stdout)
    return DONE if described["target"]["met"] else TARGET_MISSED


def _is_config(against: Path | None) -> bool:
    return against is not None and against.suffix in (".yaml", ".yml")


def _described(options: argparse.Namespace, overrides: Sequence[str]) -> dict[str, Any]:
    """Loads what is to be measured, and measures it."""
    from deploy.runtime import Session
    from export.latency import here, timing
    from export.latency.description import describe
    from export.latency.eager import eager_pytorch
    from export.latency.graph import Graph
    from likeness.onnx_runtime import TF32, spinning

    on_gpu = options.provider in timing.GPU_PROVIDERS
    kind = "gpu" if on_gpu else "cpu"
    request = timing.Request(
        batches=options.batch or DEFAULT_BATCHES[kind],
        runs=options.runs or DEFAULT_RUNS[kind],
        warmup=options.warmup,
        threads=options.threads or here.physical_cores(),
        target_ms=options.target_ms,
    )
    _say("reading the graph")
    graph = Graph.read(options.model)
    _say(f"loading the model for {options.provider}")
    # Measured is the model with the machine to itself.
    with spinning():
        session = Session(options.model, options.provider, request.threads, engines=options.engines)
    source = _source(options, overrides, session, on_gpu)
    with contextlib.ExitStack() as stack:
        eager = None
        if source is not None:
            _say(f"starting eager PyTorch: {source.where}")
            eager = stack.enter_context(
                eager_pytorch(source, request.threads, on_gpu, tf32=TF32.get(options.provider, False))
            )
        return describe(session, graph, request, eager)


def _source(options: argparse.Namespace, overrides: Sequence[str], session: "Session", on_gpu: bool) -> "Source | None":
    """The network of eager PyTorch; on a GPU there is none unless one is asked for."""
    from export.latency.eager import Source

    if options.against is not None:
        return Source(options.against, tuple(overrides) if _is_config(options.against) else None)
    if on_gpu:
        return None
    known = session.metadata
    return Source(
        method=known.method,
        options=known.options,
        schema=session.schema,
        images=None if known.checkpoint_sha256 == "untrained" else known.images_seen,
        inputs=session.inputs,
    )


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr)
