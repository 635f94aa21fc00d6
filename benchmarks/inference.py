"""ONNX Runtime against eager PyTorch: milliseconds per picture for one generator, interleaved on one machine.

    python benchmarks/inference.py                                       the demo's generator, untrained
    python benchmarks/inference.py --config trainer/configs/face.yaml    the paper's (182.5 M parameters)

Prints one JSON object, with the hardware and the versions that the figures belong to.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

from deploy.batch import device
from deploy.metadata import Metadata
from deploy.runtime import Session
from export.compare import feeds
from export.graph import save, to_onnx
from export.samples import LEAST, real_samples
from trainer.checkpoint import untrained


def milliseconds(body: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    body()
    return 1000 * (time.perf_counter() - started_at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("trainer/configs/demo.yaml"))
    parser.add_argument("--runs", type=int, default=15, help="measured runs of each, after two that are not counted")
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()

    synthesis = untrained(options.config)
    samples = real_samples(synthesis, None, max(options.batch, LEAST))[: options.batch]
    inputs = samples.expanded(synthesis.schema)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        synthesis.module(*inputs)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        metadata = Metadata(synthesis.method, synthesis.schema, "untrained", None, 0, synthesis.perceptual)
        save(to_onnx(synthesis).model, metadata.to_props(), file)
        session = Session(file)
        given = feeds(session, samples)

        def eager() -> torch.Tensor:
            with torch.inference_mode():
                image: torch.Tensor = synthesis.module(*inputs)
            return image

        pairs = [(milliseconds(eager), milliseconds(lambda: session.run(**given))) for _ in range(options.runs + 2)][2:]
    eager_ms, onnx_ms = (statistics.median(column) / options.batch for column in zip(*pairs, strict=True))
    gflop = counter.get_total_flops() / options.batch / 1e9
    figures = {
        "config": str(options.config),
        "size": [synthesis.schema.width, synthesis.schema.height],
        "batch": options.batch,
        "runs": options.runs,
        "eager_ms": round(eager_ms, 3),
        "onnxruntime_ms": round(onnx_ms, 3),
        "speedup_over_eager": round(statistics.median(first / second for first, second in pairs), 2),
        "gflop_per_picture": round(gflop, 3),
        "onnxruntime_gflop_per_s": round(gflop / onnx_ms * 1000, 1),
        "hardware": device("cpu"),
        "versions": {
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "python": platform.python_version(),
        },
    }
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
