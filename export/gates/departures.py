"""What the nodes of a graph give: where it leaves the model, and how large its values are."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from deploy.runtime import Session
from export.gates.compare import feeds
from export.gates.samples import Samples
from export.graph import Exported, save
from export.weights import weights_of
from likeness import onnx_runtime
from likeness.array import Array
from likeness.command import BadInput
from likeness.disk import link_or_copy


def first_departure(exported: Exported, file: Path, samples: Samples, tolerance: float) -> str:
    """Names the first node, in order, that gives values that are not finite, or other ones than the program.

    file: holds `exported.model`. samples: one, as a batch. tolerance: of differences, as a part of the largest
    value. "" when there is none, or the graph does not run on the CPU at all.
    """
    nodes = {name: node for node in exported.model.graph.node for name in node.output}
    try:
        values = _intermediates(exported, file, samples, list(nodes))
    except BadInput:
        return ""
    for name, value in values.items():
        if not np.isfinite(value).all():
            return _named(nodes[name])
    normed = {node.input[0] for node in exported.model.graph.node if node.op_type == "InstanceNormalization"}
    recorder = _Recorder(exported.program.graph_module, values, normed, tolerance)
    inputs = [torch.from_numpy(value) for value in feeds(Session(file), samples).values()]
    with torch.inference_mode():
        recorder.run(*arguments_of(exported.program, inputs))
    return _named(nodes[recorder.departed]) if recorder.departed else ""


def largest_values(exported: Exported, file: Path, samples: Samples) -> dict[str, float]:
    """The largest absolute value that each float16 node gives on these samples, by the node's name, in order.

    Each result is asked for as an output of the graph. ONNX Runtime's CPU would otherwise compute in float32, drop
    the conversions in between, and never meet the overflow that a GPU does. Infinite or not a number where it happens.
    """
    nodes = {name: node for node in exported.model.graph.node for name in node.output}
    largest_of: dict[str, float] = {}
    for number in range(len(samples)):
        values = _intermediates(exported, file, samples[number : number + 1], list(nodes))
        for name, value in values.items():
            if value.dtype == np.float16:
                largest = float(np.abs(value.astype(np.float32)).max())
                largest_of[_named(nodes[name])] = float(np.maximum(largest_of.get(_named(nodes[name]), 0.0), largest))
    return largest_of


def _intermediates(exported: Exported, file: Path, samples: Samples, names: list[str]) -> dict[str, Array]:
    """What every node gives for a batch of one, in the order of the graph."""
    # ONNX Runtime gives what is an output of the graph and nothing else, so that every result is made one.
    bare = onnx.ModelProto()
    bare.CopyFrom(exported.model)
    del bare.graph.output[:]
    bare.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    # Weights lie in files beside the model and are linked where they can be; hard links need the same file system.
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        whole = Path(folder) / file.name
        for weights in weights_of(bare, file):
            link_or_copy(weights, whole.parent / weights.name)
        save(bare, {}, whole)
        session = onnx_runtime.start(whole)
        inputs = feeds(Session(file), samples)
        try:
            return dict(zip(names, session.run(names, inputs), strict=True))
        except onnx_runtime.REFUSED as error:
            raise BadInput(f"{file} does not run: {onnx_runtime.one_line(str(error))}") from error


def arguments_of(program: ExportedProgram, inputs: list[Tensor]) -> list[Any]:
    """The program's weights and inputs, in the order in which its graph takes them."""
    held = {**program.state_dict, **program.constants}
    remaining = iter(inputs)
    return [
        next(remaining) if spec.kind == InputKind.USER_INPUT else held[str(spec.target)]
        for spec in program.graph_signature.input_specs
    ]


class _Recorder(fx.Interpreter):
    """Runs the program and notes the first operation whose values depart from those that the graph gave.

    normed: results that an instance norm reads; the graph's lack the biases that the norm would subtract.
    """

    def __init__(self, module: fx.GraphModule, values: dict[str, Array], normed: set[str], tolerance: float) -> None:
        super().__init__(module)
        self.values, self.normed, self.tolerance = values, normed, tolerance
        self.departed = ""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        # Exported tensors keep the names of the program's nodes, by which the two are laid beside each other.
        actual = self.values.get(n.name)
        if not self.departed and isinstance(value, Tensor) and actual is not None:
            wanted, actual = value.float().numpy(), actual.astype(np.float32)
            # The exporter drops biases that a norm subtracts again; without their means both are the same.
            if n.name in self.normed:
                wanted, actual = (each - each.mean((2, 3), keepdims=True) for each in (wanted, actual))
            # At least 1: where all values are tiny, rounding alone is a large part of them.
            largest = max(1.0, float(np.abs(wanted).max()))
            if wanted.shape != actual.shape or np.abs(wanted - actual).max() > self.tolerance * largest:
                self.departed = n.name
        return value


def _named(node: onnx.NodeProto) -> str:
    return f"{node.name or node.output[0]} ({node.op_type})"
