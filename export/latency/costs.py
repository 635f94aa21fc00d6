"""What one run of an ONNX graph costs: arithmetic and memory traffic, node by node, from shapes alone."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, shape_inference

from likeness.command import BadInput

FLOATS = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE))
VIEWS = frozenset(("Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"))
"""Operators that move no data: they give a tensor, or what is known of it beforehand, another name or shape."""
NOT_COUNTED = frozenset(
    (
        "Attention",
        "ConvInteger",
        "DeformConv",
        "Einsum",
        "GRU",
        "If",
        "LSTM",
        "Loop",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "RNN",
        "Scan",
    )
)
"""Operators with sums of products of their own that no rule here counts. A graph that has one is said to have it."""
_LARGE = 1024
"""Constants of more elements are weights: shape inference needs none of their values."""


@dataclass(frozen=True)
class Traffic:
    """Values moved: floating-point ones, whose width depends on the precision, and bytes of all others."""

    floats: int = 0
    other_bytes: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.floats + other.floats, self.other_bytes + other.other_bytes)

    def size(self, width: int) -> int:
        """In bytes, at `width` bytes per floating-point value."""
        return self.floats * width + self.other_bytes


@dataclass(frozen=True)
class NodeCosts:
    """One node: its name and operator, its floating-point operations, the type that they are made in (an ONNX name
    such as FLOAT), and the values that it reads and writes when each of its tensors lies in memory.
    """

    name: str
    operator: str
    flops: int
    kind: str
    traffic: Traffic


@dataclass(frozen=True)
class Costs:
    """One run at one batch.

    least: what any runtime has to move: the weights, the graph's inputs and its output, once each. width: bytes of a
    floating-point value in the file's own precision. not_counted: operators whose arithmetic is missing in `flops`.
    """

    nodes: tuple[NodeCosts, ...]
    least: Traffic
    weights: Traffic
    width: int
    not_counted: tuple[str, ...]

    @property
    def flops(self) -> int:
        """A multiplication and an addition are two; only convolutions and matrix products are counted."""
        return sum(node.flops for node in self.nodes)

    @property
    def traffic(self) -> Traffic:
        """Values moved when every node reads its inputs from memory and writes its outputs there."""
        return sum((node.traffic for node in self.nodes), Traffic())

    @property
    def flops_by_kind(self) -> dict[str, int]:
        """By the type that the arithmetic is made in, the largest share first."""
        found: dict[str, int] = defaultdict(int)
        for node in self.nodes:
            if node.flops:
                found[node.kind] += node.flops
        return dict(sorted(found.items(), key=lambda item: -item[1]))


@dataclass
class _Shapes:
    dims: dict[str, tuple[int, ...]] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)

    def traffic(self, name: str) -> Traffic:
        kind, count = self.kinds[name], math.prod(self.dims[name])
        if kind in FLOATS:
            return Traffic(floats=count)
        bits = _BITS.get(kind) or 8 * helper.tensor_dtype_to_np_dtype(kind).itemsize
        return Traffic(other_bytes=math.ceil(count * bits / 8))


_BITS: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4}
"""Types that NumPy has only in a wider form."""


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
        nodes = tuple(_costs_of(node, known, made_of_int8) for node in graph.node)
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

    def _heaviest(self, known: _Shapes) -> list[str]:
        """The floating-point weights, the largest first."""
        floats = (name for name in self._weights if known.kinds.get(name) in FLOATS)
        return sorted(floats, key=lambda name: (-math.prod(known.dims[name]), name))

    def _inferred(self, shapes: dict[str, Sequence[int]]) -> tuple[GraphProto, _Shapes]:
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
        known = _Shapes()
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


def _costs_of(node: NodeProto, known: _Shapes, made_of_int8: set[str]) -> NodeCosts:
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    flops = rule(node, known) if rule else 0
    traffic = Traffic()
    if node.op_type not in VIEWS:
        tensors: Iterator[str] = (name for name in (*node.input, *node.output) if name)
        traffic = sum((known.traffic(name) for name in tensors), Traffic())
    kind = TensorProto.DataType.Name(known.kinds.get(node.output[0], 0)) if node.output else "UNDEFINED"
    if flops and set(node.input[:2]) <= made_of_int8:
        kind = "INT8"
    return NodeCosts(node.name or (node.output[0] if node.output else ""), node.op_type, flops, kind, traffic)


def _convolution(node: NodeProto, known: _Shapes) -> int:
    # weight: (C_out, C_in / groups, *kernel); every value of the output is a sum over the last ones.
    output, weight = known.dims[node.output[0]], known.dims[node.input[1]]
    return 2 * math.prod(output) * math.prod(weight[1:])


def _transposed_convolution(node: NodeProto, known: _Shapes) -> int:
    # weight: (C_in, C_out / groups, *kernel); every value of the input is spread over the last ones.
    values, weight = known.dims[node.input[0]], known.dims[node.input[1]]
    return 2 * math.prod(values) * math.prod(weight[1:])


def _gemm(node: NodeProto, known: _Shapes) -> int:
    transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
    inner = known.dims[node.input[0]][0 if transposed else 1]
    return 2 * math.prod(known.dims[node.output[0]]) * inner


def _matmul(node: NodeProto, known: _Shapes) -> int:
    return 2 * math.prod(known.dims[node.output[0]]) * known.dims[node.input[0]][-1]


_RULES: dict[str, Callable[[NodeProto, _Shapes], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
