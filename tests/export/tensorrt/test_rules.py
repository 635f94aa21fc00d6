"""What TensorRT's parser would refuse is found without it, and named; what we export it takes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.gates import structure
from export.graph import to_onnx
from export.tensorrt.rules import problems
from trainer.checkpoints.synthesis import untrained

ROOT = Path(__file__).parents[3]


def model_of(*nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT, **constants: Any) -> onnx.ModelProto:
    """A model `x` (1, 4, 8, 8) → `y` of these nodes."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info("x", kind, [1, 4, 8, 8]),
            helper.make_tensor_value_info("some_axes", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    )


def node(operator: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), ["y"], name=f"the_{operator}", **attributes)


ONES, ZEROS = np.ones(4, np.float32), np.zeros(4, np.float32)
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (model_of(node("Det", "x")), "no such operator"),
        (model_of(node("Gelu", "x", domain="com.microsoft")), "domain com.microsoft need a plug-in"),
        (model_of(node("Relu", "x"), kind=TensorProto.DOUBLE), "does not compute with DOUBLE"),
        (model_of(node("Pad", "x", "pads", "", "some_axes"), pads=PADS[:2]), "axes must be a constant"),
        (model_of(node("Pad", "x", "pads", mode="wrap"), pads=PADS), "mode wrap is none of constant"),
        (
            model_of(node("InstanceNormalization", "x", "scale", "bias"), scale=ONES.astype(np.float16), bias=ZEROS),
            "must have one type, but they have FLOAT, FLOAT16",
        ),
        (model_of(node("InstanceNormalization", "x", "x", "bias"), bias=ZEROS), "scale and bias must be constants"),
        (
            model_of(node("Resize", "x", "", "scales", mode="cubic"), scales=np.array([1, 1, 2, 2], np.float32)),
            "mode cubic is none of nearest, linear",
        ),
        (
            model_of(node("QuantizeLinear", "x", "scale", "zero"), scale=np.float32(0.1), zero=np.array(128, np.uint8)),
            "quantise symmetrically",
        ),
        (model_of(node("QuantizeLinear", "x", "scale"), scale=np.float32(0.1)), "uint8 is no quantised type"),
        (
            model_of(node("QuantizeLinear", "x", "scale", "zero"), scale=np.float32(0.1), zero=np.array(0, np.uint8)),
            "uint8 is no quantised type",
        ),
        (
            model_of(node("DequantizeLinear", "bias", "scale"), scale=np.float32(0.1), bias=np.zeros(4, np.int32)),
            "leave biases in floating point",
        ),
        (
            model_of(
                node("Conv", "flat", "w"),
                flat=np.zeros((1, 2, 8), np.float32),
                w=np.zeros((2, 2, 3), np.float32),
            ),
            "the weight has 3 axes",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_not_parse_is_named(model: onnx.ModelProto, reason: str) -> None:
    (problem,) = problems(model)
    assert problem.startswith(f"the_{model.graph.node[0].op_type} ({model.graph.node[0].op_type}): ")
    assert reason in problem


def test_its_allowed_neighbours_pass() -> None:
    assert problems(model_of(node("Pad", "x", "pads", mode="reflect"), pads=PADS)) == []
    assert problems(model_of(node("InstanceNormalization", "x", "s", "b"), s=ONES, b=ZEROS)) == []
    scales = np.array([1, 1, 2, 2], np.float32)
    assert problems(model_of(node("Resize", "x", "", "scales", mode="linear"), scales=scales)) == []
    zero = np.array(0, np.int8)
    assert problems(model_of(node("QuantizeLinear", "x", "scale", "zero"), scale=np.float32(0.1), zero=zero)) == []


@pytest.mark.parametrize("preset", ["demo", "face", "street"])
def test_what_we_export_parses(preset: str) -> None:
    small = ["--options.generator_base=4", "--options.generator_blocks=1", "--data.height=64", "--data.width=64"]
    synthesis = untrained(ROOT / "trainer" / "configs" / f"{preset}.yaml", small)
    assert problems(to_onnx(synthesis).model) == []


def test_bodies_of_branches_are_looked_into() -> None:
    inner = helper.make_graph(
        [helper.make_node("Det", ["x"], ["d"], name="inside")],
        "branch",
        [],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, None)],
    )
    branch = helper.make_node("If", ["yes"], ["y"], name="outside", then_branch=inner, else_branch=inner)
    found = problems(model_of(branch, yes=np.array(True)))
    assert found == ["inside (Det): the parser has no such operator"] * 2


def test_the_gate_fails_with_the_node(small: Any) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(small.exported.model)
    for entry in model.graph.node:
        if entry.op_type == "Tanh":
            entry.op_type = "Det"
    result = structure.check_tensorrt(model)
    assert not result.passed
    assert "(Det): the parser has no such operator" in result.figures["refused"][0]
    assert structure.check_tensorrt(small.exported.model).passed
