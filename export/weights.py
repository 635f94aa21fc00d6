"""Where the weights of an ONNX model lie: inside its graph, in its nodes, or in files beside it."""

from pathlib import Path

from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data


def tensors_of(model: ModelProto) -> list[TensorProto]:
    """Weights and constants, those in nodes included."""
    inside = [entry.t for node in model.graph.node for entry in node.attribute if entry.HasField("t")]
    return [*model.graph.initializer, *inside]


def weights_of(model: ModelProto, file: Path) -> list[Path]:
    """The files beside `file` that hold weights of the model; none where it holds them itself."""
    names = {ExternalDataInfo(tensor).location for tensor in tensors_of(model) if uses_external_data(tensor)}
    return [file.parent / name for name in sorted(names)]
