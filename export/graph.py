"""A generator as an ONNX graph, by PyTorch's dynamo exporter."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from onnx import ModelProto
from torch import Tensor
from torch.export import Dim

from deploy.metadata import OUTPUT
from trainer.checkpoint import Synthesis

OPSETS = range(18, 25)
DEFAULT_OPSET = 20
LARGEST_BATCH = 64
TRACED_BATCH = 2


def example_inputs(synthesis: Synthesis, batch: int = TRACED_BATCH) -> tuple[Tensor, ...]:
    """Zeros of the right shapes: label maps (N, C_L, H, W), photos (N, 3, H, W)."""
    schema = synthesis.schema
    channels = {name: 3 if name == "exemplar" else schema.channels for name in synthesis.inputs}
    return tuple(torch.zeros(batch, channels[name], schema.height, schema.width) for name in synthesis.inputs)


def to_onnx(synthesis: Synthesis, opset: int = DEFAULT_OPSET) -> ModelProto:
    """Exports with named inputs, the output `image`, and a dynamic axis `batch` from 1 to 64.

    Batch 2 is traced: the exporter takes a batch of 1 for a constant.
    """
    batch = Dim("batch", min=1, max=LARGEST_BATCH)
    with _quiet():
        program = torch.onnx.export(
            synthesis.module,
            example_inputs(synthesis),
            dynamo=True,
            opset_version=opset,
            input_names=list(synthesis.inputs),
            output_names=[OUTPUT],
            # The module takes its inputs as *inputs, which the exporter sees as one argument.
            dynamic_shapes=(tuple({0: batch} for _ in synthesis.inputs),),
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model: ModelProto = program.model_proto
    _strip(model)
    return model


def _strip(model: ModelProto) -> None:
    """Takes out what the exporter notes about the source files of this machine, and the shapes that it claims.

    The checker's gate then has to infer every shape itself.
    """
    del model.graph.metadata_props[:], model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operator set that a model uses."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def nodes_by_operator(model: ModelProto) -> dict[str, int]:
    """How many nodes of each operator, most frequent first."""
    operators = [node.op_type for node in model.graph.node]
    return {name: operators.count(name) for name in sorted(set(operators), key=operators.count, reverse=True)}


def parameters_of(model: ModelProto) -> int:
    """The number of weights in the graph."""
    return sum(_elements(tensor.dims) for tensor in model.graph.initializer)


def _elements(dims: Sequence[int]) -> int:
    product = 1
    for dim in dims:
        product *= dim
    return product


def set_metadata(model: ModelProto, props: dict[str, str]) -> None:
    """Replaces the model's `metadata_props`."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, props)


def save(model: ModelProto, props: dict[str, str], file: Path) -> None:
    """Writes the model with its metadata and flushes it to the disk."""
    set_metadata(model, props)
    with file.open("wb") as opened:
        opened.write(model.SerializeToString())
        opened.flush()
        os.fsync(opened.fileno())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of its own internals; neither helps who exports."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
