"""What a graph must pass before anybody may use it. Each gate runs the very session that serves."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor

from deploy.runtime import Session
from export.graph import opset_of
from export.tensorrt import problems
from shards.command import BadInput
from trainer.checkpoint import Synthesis

Array = np.ndarray[Any, Any]
PARITY_MAX_ABS = 1e-3
PARITY_PSNR_DB = 60.0
PICTURE_RANGE = 2.0
BATCH_MAX_ABS = 1e-4
BATCHES = (1, 3)
LEAST_SAMPLES = max(BATCHES)


@dataclass(frozen=True)
class GateResult:
    """What a gate found: its name, whether it was passed, its figures, and what to do if it was not."""

    name: str
    passed: bool
    figures: dict[str, Any]
    remedy: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """For people: one line."""
        figures = ", ".join(f"{name} {_short(value)}" for name, value in self.figures.items())
        return f"{'passed' if self.passed else 'FAILED'}  {self.name:<14}{figures}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def run_gates(
    model: ModelProto, file: Path, synthesis: Synthesis, inputs: Sequence[Tensor], opset: int
) -> list[GateResult]:
    """All gates in order, up to the first that fails. `file` holds `model`; `inputs` are real samples."""
    results: list[GateResult] = []
    in_order: tuple[Callable[[], GateResult], ...] = (
        lambda: check_graph(model),
        lambda: check_opset(model, opset),
        lambda: check_tensorrt(model),
        lambda: check_batches(file, inputs),
        lambda: check_parity(file, synthesis, inputs),
    )
    for gate in in_order:
        results.append(gate())
        if not results[-1].passed:
            break
    return results


def check_graph(model: ModelProto) -> GateResult:
    """ONNX's checker with full, strict shape inference; every tensor between nodes must get a shape."""
    remedy = "the exporter wrote an invalid graph: export with the pinned versions of torch, onnx and onnxscript"
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return GateResult("checker", False, {"error": " ".join(str(error).split())[:300]}, remedy)
    shaped = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output) if _has_shape(value)}
    unshaped = [name for node in inferred.graph.node for name in node.output if name and name not in shaped]
    figures = {"nodes": len(model.graph.node), "tensors_without_shape": unshaped[:5] or 0}
    return GateResult("checker", not unshaped, figures, remedy)


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def check_opset(model: ModelProto, wanted: int) -> GateResult:
    """The exporter answers some opsets with another one, and says so in a log line at most."""
    found = opset_of(model)
    return GateResult(
        "opset", found == wanted, {"wanted": wanted, "found": found}, f"ask for opset {found}, or use another exporter"
    )


def check_tensorrt(model: ModelProto) -> GateResult:
    """Every node against the table of what TensorRT's ONNX parser takes."""
    refused = problems(model)
    remedy = "write the node's part of the network with operators that TensorRT has (export/tensorrt.py)"
    return GateResult("tensorrt", not refused, {"refused": refused[:5] or 0}, remedy)


def check_batches(file: Path, inputs: Sequence[Tensor]) -> GateResult:
    """The same file runs one picture and three at once, and three at once are three single ones."""
    remedy = "the batch axis is not dynamic, or samples of a batch mix: look for Reshape nodes with constant shapes"
    session = _session(file)
    if isinstance(session, str):
        return GateResult("dynamic_batch", False, {"error": session}, remedy)
    several = _feeds(session, [tensor[: BATCHES[1]] for tensor in inputs])
    singles = [_feeds(session, [tensor[index : index + 1] for tensor in inputs]) for index in range(BATCHES[1])]
    try:
        together = session.run(**several)
        alone = np.concatenate([session.run(**feeds) for feeds in singles])
    except BadInput as error:
        return GateResult("dynamic_batch", False, {"error": str(error)}, remedy)
    if together.shape != alone.shape:
        return GateResult("dynamic_batch", False, {"shape": list(together.shape)}, remedy)
    difference = float(np.abs(together - alone).max())
    figures = {"batches": list(BATCHES), "max_abs": difference}
    return GateResult("dynamic_batch", difference <= BATCH_MAX_ABS, figures, remedy)


def check_parity(file: Path, synthesis: Synthesis, inputs: Sequence[Tensor]) -> GateResult:
    """ONNX Runtime against PyTorch on real samples: largest difference, and PSNR of the worst picture.

    Pictures lie in [-1, 1]; PSNR is 20·log10(2 / root mean square difference).
    """
    remedy = "the graph computes something else than the model: compare layer by layer, and export it again"
    session = _session(file)
    if isinstance(session, str):
        return GateResult("parity", False, {"error": session}, remedy)
    with torch.inference_mode():
        wanted = torch.cat([synthesis.module(*(t[i : i + 1] for t in inputs)) for i in range(len(inputs[0]))]).numpy()
    feeds = [_feeds(session, [tensor[i : i + 1] for tensor in inputs]) for i in range(len(wanted))]
    found = np.concatenate([session.run(**each) for each in feeds])
    difference = np.abs(found.astype(np.float64) - wanted)
    rms = np.sqrt(np.square(difference).mean(axis=(1, 2, 3))).max()
    psnr = float(min(20 * np.log10(PICTURE_RANGE / rms), 200.0)) if rms else 200.0
    figures = {"max_abs": float(difference.max()), "psnr_db": round(psnr, 2), "samples": len(wanted)}
    if len(wanted) < LEAST_SAMPLES:
        remedy = f"name shards of at least {LEAST_SAMPLES} samples with --samples"
        return GateResult("parity", False, {**figures, "least_samples": LEAST_SAMPLES}, remedy)
    passed = figures["max_abs"] <= PARITY_MAX_ABS and psnr >= PARITY_PSNR_DB
    return GateResult("parity", passed, figures, remedy)


def _session(file: Path) -> Session | str:
    try:
        return Session(file)
    except BadInput as error:
        return str(error)


def _feeds(session: Session, tensors: Sequence[Tensor]) -> dict[str, Array]:
    return {name: tensor.numpy() for name, tensor in zip(session.inputs, tensors, strict=True)}
