"""One network in every runtime and precision: how far its pictures are from eager PyTorch's, and how fast they come.

    python benchmarks/parity.py                                       the demo's generator, untrained
    python benchmarks/parity.py --config trainer/configs/face.yaml    the paper's (182.5 M parameters)
    python benchmarks/parity.py --checkpoint runs/demo/train          trained weights

Every row paints the same samples. Times are taken in turns, one picture at a time, so that a busy machine slows all
rows alike; the ratio is the median over turns. PyTorch is timed in processes of its own, with the memory that a program
of its own would have. Prints one JSON object, or a table with --table.
"""

import argparse
import contextlib
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deploy.metadata import Precision
from deploy.runtime import Provider, Session
from export import graph, quantise
from export.gates import behaviour, compare, rounding
from export.gates.result import THRESHOLDS
from export.gates.samples import CALIBRATION, Samples, real_samples
from export.latency.eager import Source, eager_pytorch
from export.latency.here import physical_cores
from export.served import BF16_OPSET, Recipe, metadata_of
from likeness.arguments import count
from likeness.array import Array
from likeness.machine import device, versions
from likeness.onnx_runtime import spinning
from trainer.checkpoints.synthesis import Synthesis, load_for_synthesis, untrained

Paint = Callable[[int], Array]

ROUNDED: Mapping[str, Precision] = {"fp16, every operation rounded": "fp16", "bf16, every operation rounded": "bf16"}
"""What GPUs compute; here in float32 PyTorch, so that there is no time to tell."""
PYTORCH = ("eager PyTorch fp32", "eager PyTorch fp32, freed memory kept", "compiled PyTorch fp32")
REST = 0.02
SERVED: Mapping[str, tuple[Precision, Provider]] = {
    "ONNX Runtime fp32": ("fp32", "cpu"),
    "ONNX Runtime fp16": ("fp16", "cpu"),
    "ONNX Runtime int8": ("int8", "cpu"),
    "OpenVINO fp32": ("fp32", "openvino"),
    "OpenVINO bf16": ("fp32", "openvino-bf16"),
    "OpenVINO int8": ("int8", "openvino"),
    "OpenVINO int8 and bf16": ("int8", "openvino-bf16"),
}
"""The precision of the exported graph, and the provider that runs it."""


def exported(synthesis: Synthesis, precision: Precision, real: Samples, folder: Path) -> Path:
    made = graph.to_onnx(synthesis, Recipe(precision=precision))
    props = metadata_of(synthesis, made.recipe).to_props()
    file = folder / precision / "model.onnx"
    file.parent.mkdir()
    graph.save(made.model, props, file)
    if precision == "int8":
        made = quantise.to_int8(made, file, real)
        graph.save(made.model, props, file)
    return file


def rounded(synthesis: Synthesis, precision: Precision, file: Path, real: Samples) -> list[Array]:
    made = graph.to_onnx(synthesis, Recipe(opset=BF16_OPSET, precision=precision))
    return list(rounding.pictures(made, Session(file), real))


def in_pytorch(synthesis: Synthesis, real: Samples) -> dict[str, Paint]:
    compiled = torch.compile(synthesis.module)

    def paint(module: Callable[..., torch.Tensor], number: int) -> Array:
        with torch.inference_mode():
            return module(*real[number : number + 1].expanded(synthesis.schema))[0].numpy()

    eager = functools.partial(paint, synthesis.module)
    return dict(zip(PYTORCH, (eager, eager, functools.partial(paint, compiled)), strict=True))


def served(file: Path, provider: Provider, real: Samples) -> Paint:
    with spinning():
        session = Session(file, provider, physical_cores())
    return lambda number: session.run(**compare.feeds(session, real[number : number + 1]))[0]


def seconds_of(paint: Paint) -> Callable[[], float]:
    def run() -> float:
        begun = time.perf_counter()
        paint(0)
        return time.perf_counter() - begun

    return run


def turns(rows: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Seconds of each row's pictures, in turns, after two that are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(-2, count):
        # Whoever comes after a given row changes from turn to turn.
        for name in rows if turn % 2 else reversed(list(rows)):
            taken = rows[name]()
            # Idle worker threads spin for a while after a run.
            time.sleep(REST)
            if turn >= 0:
                seconds[name].append(taken)
    return seconds


def against(eager: list[float], seconds: list[float]) -> dict[str, float]:
    ratios = [first / second for first, second in zip(eager, seconds, strict=True)]
    return {
        "speedup_over_eager": round(statistics.median(ratios), 3),
        "p50_ms": round(1000 * statistics.median(seconds), 2),
    }


def table(figures: Mapping[str, Any]) -> str:
    lines = [
        "| | times eager | worst PSNR, dB | mean PSNR, dB | mean SSIM | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in figures["rows"].items():
        lines.append(
            f"| {name} | {row.get('speedup_over_eager', '')} | {row['psnr_db']:.1f} | {row['mean_psnr_db']:.1f} | "
            f"{row['mean_ssim']:.4f} | {row['max_abs']:.2g} |"
        )
    return "\n".join(lines)


def distances_of(
    synthesis: Synthesis, rows: Mapping[str, Paint], judged: Samples, fp32: Path
) -> dict[str, list[compare.Distance]]:
    """How far each row's pictures are from eager PyTorch's. fp32: the exported graph that rounding is measured on."""
    wanted = [rows[PYTORCH[0]](number) for number in range(len(judged))]
    distances = {
        name: [compare.distance(wanted[number], paint(number)) for number in range(len(judged))]
        for name, paint in rows.items()
    }
    for name, precision in ROUNDED.items():
        pictures = rounded(synthesis, precision, fp32, judged)
        distances[name] = [compare.distance(*pair) for pair in zip(wanted, pictures, strict=True)]
    return distances


def timed(synthesis: Synthesis, rows: Mapping[str, Paint], count: int) -> dict[str, list[float]]:
    """Seconds of each row's pictures, PyTorch's in processes of their own. count: turns that are measured."""
    known = metadata_of(synthesis, Recipe())
    source = Source(method=known.method, options=known.options, schema=known.schema, inputs=synthesis.inputs)
    runs = {name: seconds_of(paint) for name, paint in rows.items()}
    with contextlib.ExitStack() as stack:
        # Memory that a pass frees goes back to the system or not, as it comes; kept, there is nothing to chance.
        for name in PYTORCH:
            process = stack.enter_context(
                eager_pytorch(source, physical_cores(), compiled="compiled" in name, keep="kept" in name)
            )
            runs[name] = functools.partial(process.seconds, 1)
        return turns(runs, count)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("trainer/configs/demo.yaml"))
    parser.add_argument("--checkpoint", type=Path, help="trained weights, instead of a config")
    parser.add_argument("--samples", type=count, default=16, help="pictures that are compared")
    parser.add_argument("--turns", type=count, default=9, help="measured pictures of each row, after two")
    parser.add_argument("--table", action="store_true", help="a Markdown table instead of JSON")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    synthesis = load_for_synthesis(options.checkpoint) if options.checkpoint else untrained(options.config)
    real = real_samples(synthesis, None, options.samples + CALIBRATION)
    judged = real[: options.samples]
    with tempfile.TemporaryDirectory() as folder:
        files = {
            precision: exported(synthesis, precision, real[options.samples :], Path(folder))
            for precision in dict.fromkeys(precision for precision, _ in SERVED.values())
        }
        rows = in_pytorch(synthesis, judged)
        for name, (precision, provider) in SERVED.items():
            rows[name] = served(files[precision], provider, judged)
        distances = distances_of(synthesis, rows, judged, files["fp32"])
        seconds = timed(synthesis, rows, options.turns)
    eager = seconds[PYTORCH[0]]
    figures = {
        "weights": str(options.checkpoint or f"{options.config}, untrained"),
        "size": [synthesis.schema.width, synthesis.schema.height],
        "samples": f"{len(judged)} from {judged.where}",
        "turns": options.turns,
        "rows": {
            name: {
                **(against(eager, seconds[name]) if name in seconds else {}),
                **behaviour.summary(measured, int(np.argmin([each.psnr_db for each in measured]))),
            }
            for name, measured in distances.items()
        },
        "thresholds": {name: asdict(threshold) for name, threshold in THRESHOLDS.items()},
        "hardware": device("cpu"),
        "versions": {**versions(), "torch": torch.__version__},
    }
    if options.table:
        print(table(figures))
    else:
        json.dump(figures, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
