"""A model repository for NVIDIA's Triton Inference Server: the model's files and a `config.pbtxt`."""

import re
import shutil
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from deploy import trial
from deploy.metadata import OUTPUT
from deploy.runtime import Session
from likeness import atomic
from likeness.command import BadInput
from likeness.onnx_runtime import NO_KERNELS
from shards.inputs import Spec

On = Literal["cpu", "cuda", "tensorrt", "openvino"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8", "int32": "TYPE_INT32"}
_ORDERS = {1: "a code", 2: "height, width", 3: "channels first"}
_TENSORRT_MODES = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])")
"""The protobuf entry of an ONNX tensor that lies in another file, up to the length of that file's name."""


def write(session: Session, repository: Path, name: str, on: On = "cuda", max_batch: int = 8) -> Path:
    """Writes `repository/name` with the model as version 1, and returns it. A repository may hold other models.

    session: the model, opened on the CPU. on: what Triton is to run it with: ONNX Runtime's CPU or CUDA provider, or
    its TensorRT or OpenVINO provider. max_batch: requests that Triton may put into one run.
    Raises BadInput when the folder exists, the name does not suit, the model's precision is none of TensorRT's, or the
    copied model does not run on a batch of two.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot name a model of Triton's; use letters, digits, '.', '_' and '-'")
    config = configuration(session, name, on, max_batch)
    folder = repository / name
    with atomic.new_folder(folder) as partial:
        version = partial / "1"
        version.mkdir()
        model = version / "model.onnx"
        shutil.copyfile(session.path, model)
        for weights in weights_of(session.path):
            shutil.copyfile(weights, version / weights.name)
        (partial / "config.pbtxt").write_text(config, encoding="utf-8")
        _check_runs(model, session, min(2, max_batch))
    return folder


def configuration(session: Session, name: str, on: On, max_batch: int) -> str:
    """The text of `config.pbtxt`, a ModelConfig of Triton's `model_config.proto`."""
    facts = session.metadata
    specs = facts.specs()
    lines = [
        f"# {facts.method}, {facts.images_seen:,} images seen, checkpoint {facts.checkpoint_sha256}",
        f"# Label schema of kind {facts.schema.kind!r}, trained at {facts.schema.width}x{facts.schema.height}.",
        f'name: "{name}"',
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {max_batch}",
        *(line for each in session.inputs for line in _tensor("input", each, specs[each])),
        *_tensor("output", OUTPUT, specs[OUTPUT]),
        "# No delay is set: a batch is what waits when an instance is free.",
        "dynamic_batching { }",
        f"instance_group [ {{ count: 1 kind: {'KIND_CPU' if on in ('cpu', 'openvino') else 'KIND_GPU'} }} ]",
    ]
    if on == "cuda" and facts.precision == "bf16":
        raise BadInput(f"{session.path} computes in bf16, which does not run on cuda: {NO_KERNELS}")
    if on == "tensorrt":
        if facts.precision not in _TENSORRT_MODES:
            raise BadInput(
                f"{session.path} computes in {facts.precision}, which Triton's ONNX Runtime cannot ask TensorRT for; "
                f"export it with --precision {' or '.join(_TENSORRT_MODES)}"
            )
        mode = _TENSORRT_MODES[facts.precision]
        lines += _accelerator("gpu", "tensorrt", f' parameters {{ key: "precision_mode" value: "{mode}" }}')
    elif on == "openvino":
        lines += _accelerator("cpu", "openvino", "")
    elif on not in get_args(On):
        raise BadInput(f"no way {on!r} to run a model in Triton; choose one of {', '.join(get_args(On))}")
    return "\n".join(lines) + "\n"


def _tensor(kind: Literal["input", "output"], name: str, spec: Spec) -> list[str]:
    values = f"ids {sorted(spec.ids)}" if spec.ids else f"[{spec.low:g}, {spec.high:g}]"
    dims = ", ".join("-1" if side is None else str(side) for side in spec.shape)
    order = "height, width, RGB" if spec.shape[-1] == 3 else _ORDERS[len(spec.shape)]
    return [
        f"# {name}: {values}, {order}",
        f'{kind} [ {{ name: "{name}" data_type: {_TYPES[spec.dtype]} dims: [ {dims} ] }} ]',
    ]


def _accelerator(device: Literal["cpu", "gpu"], name: str, parameters: str) -> list[str]:
    accelerator = f'{device}_execution_accelerator [ {{ name: "{name}"{parameters} }} ]'
    return [f"optimization {{ execution_accelerators {{ {accelerator} }} }}"]


def weights_of(model: Path) -> list[Path]:
    """The files beside an ONNX model that hold its weights; none where it holds them itself.

    Raises BadInput when one is missing, or would lie elsewhere.
    """
    # The package onnx is not needed to serve. Read as text, a graph with weights elsewhere is small.
    content = model.read_bytes()
    names = {content[entry.end() : entry.end() + entry[1][0]] for entry in _LOCATION.finditer(content)}
    files = []
    for name in sorted(name.decode("utf-8", "replace") for name in names):
        file = model.parent / name
        if Path(name).name != name or not file.is_file():
            raise BadInput(f"{model} has weights in {name!r}, which is not beside it; copy both, or export it again")
        files.append(file)
    return files


def _check_runs(model: Path, original: Session, batch: int) -> None:
    copy = Session(model)
    feeds = trial.inputs(copy, batch)
    image = copy.run(**feeds)
    if not np.array_equal(image, original.run(**feeds)):
        raise BadInput(f"the copy of {original.path} does not paint what it paints; was it replaced meanwhile?")
