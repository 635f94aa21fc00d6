"""The graph of a model file, and what a run of it costs."""

import math
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto, helper, shape_inference

from export.latency.costs import FLOATS, NOT_COUNTED, VIEWS, Costs, Shapes, Traffic, costs_of
from likeness.command import BadInput

_LARGE = 1024
"""Constants of more elements are weights: shape inference needs none of their values."""


class Graph:
    """The graph of a model file, without its weights' values.

    Raises BadInput when the file is no ONNX model.
    """

    def __init__(self, model: ModelProto, where: str) -> None:
        self.where = where
        light = _without_weights(model)
        self._model = onnx.inliner.inline_local_functions(light) if light.functions else light
        self._weights = frozenset(tensor.name for tensor in model.graph.initializer)
        self.inputs = tuple(value for value in model.graph.input if value.name not in self._weights)
        """The graph's inputs, as ONNX declares them."""

    @classmethod
    def read(cls, file: Path) -> "Graph":
        if not file.is_file():
            raise BadInput(f"no model at {file}; write one with `python -m export`")
        try:
            return cls(onnx.load(file, load_external_data=False), str(file))
        except DecodeError as error:
            raise BadInput(f"{file} is not an ONNX model ({error}); export it again") from error

    def costs(self, shapes: dict[str, Sequence[int]]) -> Costs:
        """The costs of a run whose inputs have these shapes. Raises BadInput when a tensor's shape cannot be told."""
        graph, known = self._inferred(shapes)
        made_of_int8 = {
            output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output if output
        }
        nodes = tuple(costs_of(node, known, made_of_int8) for node in graph.node)
        widths = [helper.tensor_dtype_to_np_dtype(known.kinds[name]).itemsize for name in self._heaviest(known)]
        used = {name for node in graph.node for name in node.input}
        weights = sum((known.traffic(name) for name in self._weights & used), Traffic())
        ends = (*(value.name for value in self.inputs), *(value.name for value in graph.output))
        foreign = {
            node.op_type
            for node in graph.node
            if node.op_type in NOT_COUNTED or node.domain not in ("", "ai.onnx", "ai.onnx.ml")
        }
        return Costs(
            nodes=nodes,
            least=sum((known.traffic(name) for name in ends), weights),
            weights=weights,
            width=widths[0] if widths else 4,
            not_counted=tuple(sorted(foreign)),
        )

    def _heaviest(self, known: Shapes) -> list[str]:
        """The floating-point weights, the largest first."""
        floats = (name for name in self._weights if known.kinds.get(name) in FLOATS)
        return sorted(floats, key=lambda name: (-math.prod(known.dims[name]), name))

    def _inferred(self, shapes: dict[str, Sequence[int]]) -> tuple[GraphProto, Shapes]:
        model = ModelProto()
        model.CopyFrom(self._model)
        for value in model.graph.input:
            if value.name in shapes:
                _set_shape(value, shapes[value.name])
        # What is declared of the output and between nodes may still hold the symbols that are numbers now.
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        try:
            graph = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
        except shape_inference.InferenceError as error:
            raise BadInput(
                f"{self.where}: shapes {dict(shapes)} do not fit the graph: {' '.join(str(error).split())[:300]}"
            ) from error
        known = Shapes()
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
                known.dims[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
                known.kinds[value.name] = kind.elem_type
        for tensor in graph.initializer:
            known.dims[tensor.name], known.kinds[tensor.name] = tuple(tensor.dims), tensor.data_type
        for node in graph.node:
            for name in (*node.input, *node.output):
                if name and name not in known.dims and node.op_type not in VIEWS:
                    raise BadInput(
                        f"{self.where}: the shape of {name}, of the node {node.name or node.op_type}, cannot be told "
                        "before a run, so its costs cannot be counted; export the model again"
                    )
        return graph, known


def _without_weights(model: ModelProto) -> ModelProto:
    """A copy whose large constants are inputs: shapes and types stay, gigabytes do not."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    large = [
        tensor
        for tensor in graph.initializer
        if math.prod(tensor.dims) > _LARGE or tensor.data_location == TensorProto.EXTERNAL
    ]
    shaped = [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in large]
    names = {tensor.name for tensor in large}
    light = helper.make_graph(
        list(graph.node),
        graph.name or "graph",
        [*(value for value in graph.input if value.name not in constants), *shaped],
        list(graph.output),
        [tensor for tensor in graph.initializer if tensor.name not in names],
    )
    return helper.make_model(
        light, ir_version=model.ir_version, opset_imports=model.opset_import, functions=list(model.functions)
    )


def _set_shape(value: onnx.ValueInfoProto, shape: Sequence[int]) -> None:
    kind = value.type.tensor_type
    kind.ClearField("shape")
    for size in shape:
        kind.shape.dim.add().dim_value = size
