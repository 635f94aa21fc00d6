"""int8: the convolutions of residual blocks, calibrated on real samples."""

import contextlib
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from deploy.runtime import Session
from export.gates import compare
from export.gates.samples import CALIBRATION, Samples
from export.graph import Exported
from likeness import onnx_runtime
from likeness.command import BadInput

LONGEST_BRANCH = 16
"""Nodes between a skip connection's ends; what is longer is no residual block."""


def to_int8(exported: Exported, file: Path, samples: Samples) -> Exported:
    """The same graph with int8 convolutions in its residual blocks, and float32 everywhere else.

    There most of the arithmetic is, and what rounding loses a block's skip connection carries past it. Quantised
    everywhere, the face preset's pictures lose 8 dB more. samples: at least 16 that the gates do not look at, to
    measure ranges on. file: holds `exported.model`.
    Raises BadInput when there are too few samples, or no residual block.
    """
    if len(samples) < CALIBRATION:
        raise BadInput(
            f"{samples.where} has {len(samples)} samples left to calibrate int8 on, but needs {CALIBRATION} beside "
            "those of the gates; name larger shards with --samples"
        )
    convolutions = residual_convolutions(exported.model)
    if not convolutions:
        raise BadInput("--precision int8 quantises residual blocks, but this model has none; export it as fp16")
    session = Session(file)
    batches = (compare.feeds(session, samples[number : number + 1]) for number in range(len(samples)))
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        target = Path(folder) / "int8.onnx"
        with contextlib.redirect_stdout(io.StringIO()):
            onnx_runtime.quantize(file, target, batches, convolutions)
        model = onnx.load(target)
    del model.metadata_props[:], model.graph.value_info[:]
    return replace(exported, model=model)


def residual_convolutions(model: ModelProto) -> list[str]:
    """The names of the convolutions between a tensor and the addition that adds something to that very tensor."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type == "Add":
            for skip, branch in (tuple(node.input), tuple(reversed(node.input))):
                names += _convolutions_up_to(skip, branch, made_by)
    return names


def _convolutions_up_to(skip: str, branch: str, made_by: dict[str, NodeProto]) -> list[str]:
    """Those of the chain of first inputs from `branch` back to `skip`; none when it does not lead there."""
    chain: list[NodeProto] = []
    while branch != skip:
        if branch not in made_by or len(chain) == LONGEST_BRANCH:
            return []
        chain.append(made_by[branch])
        branch = chain[-1].input[0] if chain[-1].input else ""
    return [node.name for node in chain if node.op_type == "Conv"]
