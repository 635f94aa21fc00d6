"""Every gate passes a good graph and stops the one bad graph that it is there for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from deploy.metadata import Metadata
from export import gates, graph


def written(model: ModelProto, exported: Any, folder: Path) -> Path:
    synthesis = exported.synthesis
    props = Metadata(synthesis.method, synthesis.schema, "untrained", None, 0, "random:0").to_props()
    graph.save(model, props, folder / "model.onnx")
    return folder / "model.onnx"


def changed(model: ModelProto, change: Callable[[ModelProto], None]) -> ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy)
    return copy


def test_a_good_graph_passes_all(exported: Any, tmp_path: Path) -> None:
    file = written(exported.model, exported, tmp_path)
    results = gates.run_gates(exported.model, file, exported.synthesis, exported.inputs, 20)
    assert [(result.name, result.passed) for result in results] == [
        ("checker", True),
        ("opset", True),
        ("tensorrt", True),
        ("dynamic_batch", True),
        ("parity", True),
    ]
    parity = results[-1].figures
    assert parity["samples"] == 12
    assert 60 <= parity["psnr_db"] <= 200


def test_parity_figures_are_the_ones_of_the_definition(exported: Any, tmp_path: Path) -> None:
    """Recomputed from ONNX Runtime alone, without our session."""
    import onnxruntime

    file = written(exported.model, exported, tmp_path)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {n: t.numpy() for n, t in zip(exported.synthesis.inputs, exported.inputs, strict=True)})
    with torch.inference_mode():
        wanted = exported.synthesis.module(*exported.inputs).numpy()
    figures = gates.check_parity(file, exported.synthesis, exported.inputs).figures
    assert figures["max_abs"] == pytest.approx(float(np.abs(found[0] - wanted).max()), abs=5e-6)


def test_parity_stops_a_perturbed_weight(exported: Any, tmp_path: Path) -> None:
    def perturb(model: ModelProto) -> None:
        largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
        weight = numpy_helper.to_array(largest).copy()
        weight.flat[0] += 0.5
        largest.CopyFrom(numpy_helper.from_array(weight, largest.name))

    file = written(changed(exported.model, perturb), exported, tmp_path)
    result = gates.check_parity(file, exported.synthesis, exported.inputs)
    assert not result.passed
    assert result.figures["max_abs"] > gates.PARITY_MAX_ABS


def test_the_batch_gate_stops_a_fixed_batch(exported: Any, tmp_path: Path) -> None:
    def fix(model: ModelProto) -> None:
        for tensor in (*model.graph.input, *model.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_value = 1

    result = gates.check_batches(written(changed(exported.model, fix), exported, tmp_path), exported.inputs)
    assert not result.passed
    assert "batch of 3" in result.figures["error"]


def test_the_batch_gate_stops_samples_that_mix(exported: Any, tmp_path: Path) -> None:
    def mix(model: ModelProto) -> None:
        axes = numpy_helper.from_array(np.array([0], dtype=np.int64), "batch_axis")
        model.graph.initializer.append(axes)
        last = model.graph.node[-1]
        last.output[0] = "unmixed"
        model.graph.node.append(onnx.helper.make_node("ReduceMean", ["unmixed", "batch_axis"], ["mean"], keepdims=1))
        model.graph.node.append(onnx.helper.make_node("Mul", ["unmixed", "mean"], ["image"]))

    result = gates.check_batches(written(changed(exported.model, mix), exported, tmp_path), exported.inputs)
    assert not result.passed


def test_the_opset_gate_stops_another_opset(exported: Any) -> None:
    assert graph.opset_of(exported.model) == 20
    assert gates.check_opset(exported.model, 20).passed
    result = gates.check_opset(exported.model, 17)
    assert not result.passed
    assert result.figures == {"wanted": 17, "found": 20}


@pytest.mark.parametrize("defect", ["unknown operator", "wrong output shape", "dangling input"])
def test_the_checker_stops_a_broken_graph(exported: Any, defect: str) -> None:
    def damage(model: ModelProto) -> None:
        if defect == "unknown operator":
            model.graph.node[3].op_type = "Imaginary"
        elif defect == "wrong output shape":
            model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
        else:
            model.graph.node[2].input[0] = "nowhere"

    assert not gates.check_graph(changed(exported.model, damage)).passed


def test_the_file_says_nothing_of_the_machine_that_wrote_it(exported: Any, tmp_path: Path) -> None:
    content = written(exported.model, exported, tmp_path).read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content and b"stack_trace" not in content


def test_the_checker_infers_every_shape_itself(exported: Any) -> None:
    assert not exported.model.graph.value_info
    assert gates.check_graph(exported.model).passed


def test_parity_on_too_few_samples_is_no_parity(exported: Any, tmp_path: Path) -> None:
    file = written(exported.model, exported, tmp_path)
    few = [tensor[: gates.LEAST_SAMPLES - 1] for tensor in exported.inputs]
    result = gates.check_parity(file, exported.synthesis, few)
    assert not result.passed
    assert (result.figures["samples"], result.figures["least_samples"]) == (2, 3)
