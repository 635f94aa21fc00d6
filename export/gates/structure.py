"""Gates that read a graph without running it: is it valid, lean, and what providers and TensorRT take?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from deploy.runtime import Provider
from export.gates.result import GateResult
from export.graph import Exported, opset_of
from export.tensorrt import rtx as tensorrt_rtx
from export.tensorrt.engine import BATCHES, profile_of
from export.tensorrt.rules import problems
from likeness import onnx_runtime
from likeness.command import BadInput
from likeness.names import for_libraries

PLUMBING = (
    *("Cast", "Concat", "Constant", "Expand", "Gather", "Identity"),
    *("Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that exporters leave behind around a network's own."""


def check_graph(model: ModelProto, file: Path) -> GateResult:
    """ONNX's checker with full, strict shape inference; every tensor between nodes must get a shape."""
    remedy = "the exporter wrote an invalid graph: export with the pinned versions of torch, onnx and onnxscript"
    try:
        onnx.checker.check_model(for_libraries(file), full_check=True)
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
    actual = opset_of(model)
    return GateResult(
        "opset",
        actual == wanted,
        {"wanted": wanted, "found": actual},
        f"ask for opset {actual}, or use another exporter",
    )


def check_nodes(exported: Exported) -> GateResult:
    """The budget: no plumbing that no operation of the network stands behind, and norms in one piece.

    The program's operations name their outputs in the graph; a Shape, Slice, Reshape or Cast with another name was
    added on the way.
    """
    operations = [node for node in exported.program.graph.nodes if node.op == "call_function"]
    own = {node.name for node in operations} | {value.name for value in exported.model.graph.output}
    nodes = exported.model.graph.node
    added = [
        f"{node.name} ({node.op_type})" for node in nodes if node.op_type in PLUMBING and not own & set(node.output)
    ]
    norms = sum("instance_norm" in str(node.target) for node in operations)
    whole = sum(node.op_type == "InstanceNormalization" for node in nodes)
    counted = [node for node in nodes if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    figures = {"nodes": len(counted), "operations": len(operations), "debris": added[:5] or 0, "whole_norms": whole}
    remedy = "write the named part of the network without shape arithmetic, or export with the pinned versions"
    if exported.recipe.dynamic_size:
        remedy = "the named part of the network computes with the picture's size; export it without --dynamic-size"
    return GateResult("nodes", not added and whole == norms, figures, remedy)


def check_tensorrt(model: ModelProto) -> GateResult:
    """Every node against the table of what TensorRT's ONNX parser takes."""
    refused = problems(model)
    remedy = "write the node's part of the network with operators that TensorRT has (export/tensorrt/rules.py)"
    return GateResult("tensorrt", not refused, {"refused": refused[:5] or 0}, remedy)


def check_tensorrt_rtx(model: ModelProto, file: Path) -> GateResult:
    """The optional second opinion: TensorRT-RTX parses the file and builds an engine of it, without a GPU."""
    remedy = "write the node's part of the network with operators that TensorRT has (export/tensorrt/rules.py)"
    refused = tensorrt_rtx.refusals(file)
    figures: dict[str, Any] = {"version": tensorrt_rtx.version(), "refused": refused[:5] or 0}
    if refused:
        return GateResult("tensorrt_rtx", False, figures, remedy)
    try:
        engine = tensorrt_rtx.build(file, profile_of(model, file, BATCHES))
    except BadInput as error:
        return GateResult("tensorrt_rtx", False, {**figures, "error": str(error)}, remedy)
    return GateResult("tensorrt_rtx", True, {**figures, "engine_mb": round(len(engine) / 1e6, 1)}, remedy)


def check_placement(file: Path, provider: Provider) -> GateResult:
    """No node falls from the provider that was asked for to another one.

    OpenVINO refuses what it cannot run, and has no other device to fall to.
    """
    remedy = (
        f"write the node's part of the network with operators that {provider} has: each fall to the CPU costs two "
        "copies over the bus"
    )
    if provider == "openvino" or provider == "openvino-bf16":
        return GateResult("placement", True, {"provider": provider}, remedy)
    return judge_placement(onnx_runtime.placement(file, provider), provider, remedy)


def judge_placement(placed: Mapping[str, str], provider: Provider, remedy: str) -> GateResult:
    """Whether all nodes, by name, are on the provider."""
    wanted = onnx_runtime.PROVIDERS[provider]
    elsewhere = [f"{name} on {where}" for name, where in placed.items() if where != wanted]
    figures = {"provider": provider, "nodes": len(placed), "elsewhere": elsewhere[:5] or 0}
    return GateResult("placement", not elsewhere, figures, remedy)
