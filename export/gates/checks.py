"""All gates in order. Each runs the very session that serves."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx

from deploy import openvino_model
from deploy.runtime import Provider
from export.gates.behaviour import check_batches, check_parity, check_range, check_sizes
from export.gates.result import Candidate, GateResult, Verdict
from export.gates.structure import (
    check_graph,
    check_nodes,
    check_opset,
    check_placement,
    check_tensorrt,
    check_tensorrt_rtx,
)
from export.served import Recipe
from export.tensorrt import rtx as tensorrt_rtx
from likeness import onnx_runtime
from likeness.command import BadInput


def check_provider(provider: Provider) -> None:
    """Raises BadInput when a provider cannot run anything here, before minutes are spent on a model."""
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "nothing", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nothing.onnx"
        onnx.save_model(model, file)
        if provider == "openvino" or provider == "openvino-bf16":
            openvino_model.Model(file, provider, None)
        else:
            onnx_runtime.start(file, provider)


def check_kernels(provider: Provider, recipe: Recipe) -> None:
    """Raises BadInput when no machine's provider would run what is to be exported."""
    if provider not in onnx_runtime.TF32:
        return
    if recipe.precision == "bf16" or recipe.opset > onnx_runtime.CUDA_OPSET:
        raise BadInput(
            f"--precision {recipe.precision} in opset {recipe.opset} does not run with --provider {provider}: "
            f"{onnx_runtime.NO_KERNELS}; --provider openvino judges bf16"
        )


def run_gates(candidate: Candidate, opset: int, report: Callable[[GateResult], None] = lambda result: None) -> Verdict:
    """All gates in order, up to the first that fails. report: is given each result as it comes."""
    exported, file = candidate.exported, candidate.file
    results: list[GateResult] = []
    in_order: tuple[Callable[[], GateResult], ...] = (
        lambda: check_graph(exported.model, file),
        lambda: check_opset(exported.model, opset),
        lambda: check_nodes(exported),
        lambda: check_tensorrt(exported.model),
        *((lambda: check_tensorrt_rtx(exported.model, file),) if tensorrt_rtx.installed() else ()),
        lambda: check_placement(file, candidate.provider),
        lambda: check_batches(candidate),
        *((lambda: check_sizes(candidate),) if exported.recipe.dynamic_size else ()),
        *((lambda: check_range(candidate),) if exported.recipe.precision == "fp16" else ()),
    )
    for gate in in_order:
        results.append(gate())
        report(results[-1])
        if not results[-1].passed:
            return Verdict(results)
    result, distances, worst = check_parity(candidate)
    report(result)
    return Verdict([*results, result], distances, worst)
