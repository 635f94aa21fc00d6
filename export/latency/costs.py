"""What one run of an ONNX graph costs: arithmetic and memory traffic, node by node, from shapes alone."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from onnx import NodeProto, TensorProto, helper

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
_BITS: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4}
"""Types that NumPy has only in a wider form."""


@dataclass(frozen=True)
class Traffic:
    """What is moved between memory and processor."""

    floats: int = 0
    """Floating-point values, whose width depends on the precision."""
    other_bytes: int = 0
    """Bytes of all other values."""

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.floats + other.floats, self.other_bytes + other.other_bytes)

    def size(self, width: int) -> int:
        """In bytes, at `width` bytes per floating-point value."""
        return self.floats * width + self.other_bytes


@dataclass(frozen=True)
class NodeCosts:
    """What one node costs."""

    name: str
    """The node's, or that of its output."""
    operator: str
    """Such as "Conv"."""
    flops: int
    """Its floating-point operations."""
    kind: str
    """The type that they are made in, an ONNX name such as FLOAT."""
    traffic: Traffic
    """What it reads and writes when each of its tensors lies in memory."""


@dataclass(frozen=True)
class Costs:
    """What one run at one batch costs."""

    nodes: tuple[NodeCosts, ...]
    """Every node's part, in the order of the graph."""
    least: Traffic
    """What any runtime has to move: the weights, the graph's inputs and its output, once each."""
    weights: Traffic
    """The weights alone."""
    width: int
    """Bytes of a floating-point value in the file's own precision."""
    not_counted: tuple[str, ...]
    """Operators whose arithmetic is missing in `flops`."""

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
        kinds: dict[str, int] = defaultdict(int)
        for node in self.nodes:
            if node.flops:
                kinds[node.kind] += node.flops
        return dict(sorted(kinds.items(), key=lambda item: -item[1]))


@dataclass
class Shapes:
    """What shape inference knows of a graph's tensors, by name."""

    dims: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """The sizes of the axes."""
    kinds: dict[str, int] = field(default_factory=dict)
    """ONNX's number of the type."""

    def traffic(self, name: str) -> Traffic:
        """One reading or writing of a tensor."""
        kind, count = self.kinds[name], math.prod(self.dims[name])
        if kind in FLOATS:
            return Traffic(floats=count)
        bits = _BITS.get(kind) or 8 * helper.tensor_dtype_to_np_dtype(kind).itemsize
        return Traffic(other_bytes=math.ceil(count * bits / 8))


def costs_of(node: NodeProto, known: Shapes, made_of_int8: set[str]) -> NodeCosts:
    """What a node costs. made_of_int8: tensors that are int8 but for a DequantizeLinear, which providers fuse with the
    convolution after it."""
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


def _convolution(node: NodeProto, known: Shapes) -> int:
    # weight: (C_out, C_in / groups, *kernel); every value of the output is a sum over the last ones.
    output, weight = known.dims[node.output[0]], known.dims[node.input[1]]
    return 2 * math.prod(output) * math.prod(weight[1:])


def _transposed_convolution(node: NodeProto, known: Shapes) -> int:
    # weight: (C_in, C_out / groups, *kernel); every value of the input is spread over the last ones.
    values, weight = known.dims[node.input[0]], known.dims[node.input[1]]
    return 2 * math.prod(values) * math.prod(weight[1:])


def _gemm(node: NodeProto, known: Shapes) -> int:
    transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
    inner = known.dims[node.input[0]][0 if transposed else 1]
    return 2 * math.prod(known.dims[node.output[0]]) * inner


def _matmul(node: NodeProto, known: Shapes) -> int:
    return 2 * math.prod(known.dims[node.output[0]]) * known.dims[node.input[0]][-1]


_RULES: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
