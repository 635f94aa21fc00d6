"""A generator as an ONNX graph, by PyTorch's dynamo exporter."""

import contextlib
import hashlib
import io
import logging
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import ModelProto
from torch.export import Dim, ExportedProgram

from deploy.metadata import OUTPUT
from export.served import Recipe, Served, example_inputs, specs_of
from export.weights import weights_of
from likeness import atomic
from likeness.command import BadInput
from trainer.checkpoints.synthesis import Synthesis

LARGEST_BATCH = 64
LARGEST_SIZE = 2048
TRACED_BATCH = 2
"""The exporter takes a batch of 1 for a constant."""
EXTERNAL_BYTES = 64 * 2**20
"""Weights of more than this lie beside the graph: a runtime then maps them instead of parsing them, twice."""
_NORMED = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class Exported:
    """A graph, and where it comes from."""

    model: ModelProto
    """The graph."""
    program: ExportedProgram
    """What it was made of: every operation of the program names its output in the graph."""
    recipe: Recipe
    """What was asked for."""


def to_onnx(synthesis: Synthesis, recipe: Recipe | None = None) -> Exported:
    """Exports with named inputs, the output `image`, and a dynamic axis `batch` from 1 to 64.

    Batch 2 is traced: the exporter takes a batch of 1 for a constant.
    Raises BadInput when a dynamic size is asked for and the network does not work at every size.
    """
    recipe = recipe or Recipe()
    served = Served(synthesis, recipe).eval()
    inputs = example_inputs(synthesis, recipe.io, TRACED_BATCH)
    try:
        with _quiet():
            program = torch.onnx.export(
                served,
                inputs,
                dynamo=True,
                opset_version=recipe.opset,
                input_names=list(synthesis.inputs),
                output_names=[OUTPUT],
                # The module takes its inputs as *inputs, which the exporter sees as one argument.
                dynamic_shapes=(tuple(_dynamic_axes(synthesis, recipe, name) for name in synthesis.inputs),),
                optimize=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        if not recipe.dynamic_size:
            raise
        raise BadInput(
            f"{synthesis.method} cannot be exported with --dynamic-size: a part of it is made for one size "
            f"({_cause(error)}); export it without"
        ) from error
    assert program is not None and program.exported_program is not None
    model: ModelProto = program.model_proto
    _strip(model)
    remove_dead_biases(model)
    return Exported(model, program.exported_program, recipe)


def _dynamic_axes(synthesis: Synthesis, recipe: Recipe, name: str) -> dict[int, object]:
    axes: dict[int, object] = {0: Dim("batch", min=1, max=LARGEST_BATCH)}
    free = [
        axis
        for axis, side in enumerate(specs_of(synthesis, recipe.io, recipe.dynamic_size)[name].shape, 1)
        if side is None
    ]
    largest = LARGEST_SIZE // synthesis.size_multiple
    for axis, side in zip(free, ("height", "width"), strict=False):
        axes[axis] = synthesis.size_multiple * Dim(f"{side}_{synthesis.size_multiple}", min=2, max=largest)
    return axes


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200]


def _strip(model: ModelProto) -> None:
    """Takes out what the exporter notes about the source files of this machine, and the shapes that it claims.

    The checker's gate then has to infer every shape itself.
    """
    del model.graph.metadata_props[:], model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]


def remove_dead_biases(model: ModelProto) -> int:
    """Drops the bias of every convolution that only an instance norm reads, which subtracts it again.

    Returns how many there were.
    """
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    dead = [
        node
        for node in model.graph.node
        if node.op_type in _NORMED and len(node.input) == 3 and readers.get(node.output[0]) == ["InstanceNormalization"]
    ]
    for node in dead:
        del node.input[2]
    used = {name for node in model.graph.node for name in node.input}
    remaining = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(remaining)
    return len(dead)


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operator set that a model uses."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def nodes_by_operator(model: ModelProto) -> dict[str, int]:
    """How many nodes of each operator, most frequent first."""
    operators = [node.op_type for node in model.graph.node]
    return {name: operators.count(name) for name in sorted(set(operators), key=operators.count, reverse=True)}


def parameters_of(model: ModelProto) -> int:
    """The number of weights in the graph."""
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)


def set_metadata(model: ModelProto, props: dict[str, str]) -> None:
    """Replaces the model's `metadata_props`."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, props)


def save(model: ModelProto, props: dict[str, str], file: Path) -> None:
    """Writes the model with its metadata and flushes it to the disk.

    Weights of more than 64 MiB go into a file beside it, and out of `model`: saved once more, only the graph is
    written. The weights' file bears their hash in its name, so that a graph never meets another's weights.
    """
    set_metadata(model, props)
    weights = [tensor for tensor in model.graph.initializer if tensor.HasField("raw_data")]
    if sum(len(tensor.raw_data) for tensor in weights) > EXTERNAL_BYTES:
        digest = hashlib.sha256()
        for tensor in weights:
            digest.update(tensor.raw_data)
        name = f"{file.stem}.{digest.hexdigest()[:8]}.data"
        onnx.external_data_helper.convert_model_to_external_data(model, location=name)
        (file.parent / name).unlink(missing_ok=True)
    onnx.save_model(model, file)
    for written in (file, *weights_of(model, file)):
        # Weights are written for their owner only, unlike the graph beside them.
        atomic.settle(written)


def move(model: ModelProto, file: Path, out: Path) -> list[Path]:
    """Moves a saved model to where it is wanted, its weights first, and removes the weights of what it replaces.

    Returns its files, the graph first.
    """
    replaced = _weights_in(out)
    for each in weights_of(model, file):
        os.replace(each, out.parent / each.name)
    os.replace(file, out)
    atomic.sync(out.parent)
    weights = weights_of(model, out)
    for stale in replaced:
        if stale not in weights:
            stale.unlink(missing_ok=True)
    return [out, *weights]


def _weights_in(out: Path) -> list[Path]:
    """The files beside an earlier model that hold its weights; none where there is no model of ours."""
    try:
        earlier = onnx.load(out, load_external_data=False)
    except (OSError, DecodeError):
        return []
    return [file for file in weights_of(earlier, out) if file.name.startswith(f"{out.stem}.")]


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
