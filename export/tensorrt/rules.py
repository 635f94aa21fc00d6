"""What TensorRT's ONNX parser takes, as a table: no TensorRT is needed to know that a graph will not parse.

The operators and restrictions are those that onnx-tensorrt documents for TensorRT 8.4 (its docs/operators.md), which
later ones keep, and the few that TensorRT 10 added and exporters of networks use. What it says of uint8 and of
transposed convolutions in bfloat16 was seen with TensorRT-RTX 1.7, which parses the one and builds the other not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool
GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GRU HardSigmoid Identity If InstanceNormalization IsNaN
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max
MaxPool Mean Min Mul Neg Not OneHot Or Pad Pow PRelu QuantizeLinear Range ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RNN
Round Scan ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Where Xor
"""
OPERATORS = frozenset(_NAMES.split())
TYPES = frozenset(
    (
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
    )
)
PAD_MODES = ("constant", "edge", "reflect")
RESIZE_MODES = ("nearest", "linear")


@dataclass
class Graph:
    """What the rules look up, by a tensor's name."""

    constants: dict[str, TensorProto]
    """Weights, and what Constant nodes give."""
    ends: set[str]
    """The graph's inputs and outputs."""
    types: dict[str, int] = field(default_factory=dict)
    """ONNX's number of the type, where it is known."""
    ranks: dict[str, int] = field(default_factory=dict)
    """The number of axes, where it is known."""


def problems(model: ModelProto) -> list[str]:
    """What TensorRT's parser would refuse, one line per node: its name, its operator and the reason."""
    graph = _graph_of(model)
    return [
        f"{node.name or node.output[0]} ({node.op_type}): {reason}"
        for node in _nodes(model.graph)
        for reason in _refusals(node, graph)
    ]


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Those in the bodies of If, Loop and Scan, too."""
    for node in graph.node:
        yield node
        for entry in node.attribute:
            if entry.HasField("g"):
                yield from _nodes(entry.g)


def _graph_of(model: ModelProto) -> Graph:
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    constants = {tensor.name: tensor for tensor in inferred.initializer}
    for node in inferred.node:
        if node.op_type == "Constant":
            for entry in node.attribute:
                if entry.name == "value":
                    constants[node.output[0]] = entry.t
    graph = Graph(constants, {value.name for value in (*inferred.input, *inferred.output)})
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        graph.types[value.name] = value.type.tensor_type.elem_type
        if value.type.tensor_type.HasField("shape"):
            graph.ranks[value.name] = len(value.type.tensor_type.shape.dim)
    for name, tensor in constants.items():
        graph.types[name], graph.ranks[name] = tensor.data_type, len(tensor.dims)
    return graph


def _refusals(node: NodeProto, graph: Graph) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx"):
        yield f"operators of the domain {node.domain} need a plug-in"
        return
    if node.op_type not in OPERATORS:
        yield "the parser has no such operator"
        return
    kinds = {graph.types.get(name, 0) for name in (*node.input, *node.output)} - {0}
    for kind in sorted(kinds - TYPES):
        yield f"TensorRT does not compute with {TensorProto.DataType.Name(kind)}"
    pixels = {name for name in (*node.input, *node.output) if graph.types.get(name) == TensorProto.UINT8}
    # Quantised tensors have a rule, and a reason, of their own.
    if (
        pixels
        and node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        and not (node.op_type == "Cast" and pixels <= graph.ends)
    ):
        yield "uint8 may only enter and leave the graph, through a Cast at its very ends"
    rule = _RULES.get(node.op_type)
    if rule is not None:
        yield from rule(node, graph)


def _attribute(node: NodeProto, name: str, default: object) -> object:
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _must_be_constant(position: int, what: str) -> Callable[[NodeProto, Graph], Iterator[str]]:
    def rule(node: NodeProto, graph: Graph) -> Iterator[str]:
        name = node.input[position] if len(node.input) > position else ""
        if name and name not in graph.constants:
            yield f"{what} must be a constant"

    return rule


def _convolution(node: NodeProto, graph: Graph) -> Iterator[str]:
    rank = graph.ranks.get(node.input[1])
    if rank is not None and rank not in (4, 5):
        yield f"only 2-D and 3-D convolutions, but the weight has {rank} axes"


def _transposed_convolution(node: NodeProto, graph: Graph) -> Iterator[str]:
    yield from _convolution(node, graph)
    if graph.types.get(node.input[0]) == TensorProto.BFLOAT16:
        yield "no transposed convolution in bfloat16: leave it float32"


def _instance_norm(node: NodeProto, graph: Graph) -> Iterator[str]:
    kinds = {graph.types[name] for name in node.input if graph.types.get(name)}
    if len(kinds) > 1:
        names = ", ".join(sorted(TensorProto.DataType.Name(kind) for kind in kinds))
        yield f"input, scale and bias must have one type, but they have {names}"
    if any(name not in graph.constants for name in node.input[1:]):
        yield "scale and bias must be constants"
    rank = graph.ranks.get(node.input[0])
    if rank is not None and not 3 <= rank <= 5:
        yield f"the input must have 3 to 5 axes, not {rank}"


def _pad(node: NodeProto, graph: Graph) -> Iterator[str]:
    mode = _attribute(node, "mode", "constant")
    if mode not in PAD_MODES:
        yield f"mode {mode} is none of {', '.join(PAD_MODES)}"
    yield from _must_be_constant(3, "axes")(node, graph)


def _resize(node: NodeProto, graph: Graph) -> Iterator[str]:
    mode = _attribute(node, "mode", "nearest")
    if mode not in RESIZE_MODES:
        yield f"mode {mode} is none of {', '.join(RESIZE_MODES)}"
    if _attribute(node, "antialias", 0):
        yield "antialias must be 0"


def _quantisation(node: NodeProto, graph: Graph) -> Iterator[str]:
    name = node.input[2] if len(node.input) > 2 else ""
    zero_point = graph.constants.get(name)
    if name and (zero_point is None or np.any(numpy_helper.to_array(zero_point))):
        yield "the zero point must be the constant 0: quantise symmetrically"
        return
    if zero_point is not None:
        kind = zero_point.data_type
    elif node.op_type == "DequantizeLinear":
        kind = graph.types.get(node.input[0], TensorProto.UINT8)
    else:
        # What ONNX quantises to where nothing is said.
        kind = TensorProto.UINT8
    if kind == TensorProto.INT32:
        yield "int32 is no quantised type there: leave biases in floating point"
    elif kind == TensorProto.UINT8:
        yield "uint8 is no quantised type there: quantise symmetrically, to int8"


def _max_pool(node: NodeProto, graph: Graph) -> Iterator[str]:
    if len(node.output) > 1:
        yield "the output of indices is not supported"


_RULES: dict[str, Callable[[NodeProto, Graph], Iterator[str]]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "CumSum": _must_be_constant(1, "axis"),
    "DequantizeLinear": _quantisation,
    "InstanceNormalization": _instance_norm,
    "MaxPool": _max_pool,
    "OneHot": _must_be_constant(1, "depth"),
    "Pad": _pad,
    "QuantizeLinear": _quantisation,
    "Resize": _resize,
    "Slice": _must_be_constant(3, "axes"),
    "Squeeze": _must_be_constant(1, "axes"),
    "TopK": _must_be_constant(1, "k"),
    "Unsqueeze": _must_be_constant(1, "axes"),
}
