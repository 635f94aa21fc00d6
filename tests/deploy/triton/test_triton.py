"""Triton's model repository: the layout, and a configuration that its schema accepts and that fits the model."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from deploy import trial
from deploy.__main__ import main
from deploy.runtime import Session
from deploy.triton.repository import configuration, weights_of
from likeness.command import BadInput

STRING, INT32, INT64, ENUM, MESSAGE = 9, 5, 3, 14, 11
TYPES = {"TYPE_UINT8": 2, "TYPE_INT32": 8, "TYPE_FP32": 11}
KINDS = {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2}
SCHEMA: dict[str, dict[str, Any]] = {
    "ModelConfig": {
        "name": STRING,
        "backend": STRING,
        "default_model_filename": STRING,
        "max_batch_size": INT32,
        "input": ["Tensor"],
        "output": ["Tensor"],
        "dynamic_batching": "Batching",
        "instance_group": ["Group"],
        "optimization": "Policy",
    },
    "Tensor": {"name": STRING, "data_type": "DataType", "dims": [INT64]},
    "Batching": {},
    "Group": {"count": INT32, "kind": "Kind"},
    "Policy": {"execution_accelerators": "Accelerators"},
    "Accelerators": {"gpu_execution_accelerator": ["Accelerator"], "cpu_execution_accelerator": ["Accelerator"]},
    "Accelerator": {"name": STRING, "parameters": ["Parameter"]},
    "Parameter": {"key": STRING, "value": STRING},
}
"""What a `config.pbtxt` of ours may hold, of Triton's model_config.proto; its text parser knows no other fields."""


def parsed(text: str) -> Any:
    """Raises ParseError for any field, type or value that is not Triton's."""
    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="t", syntax="proto3")
    for name, values in (("DataType", {"TYPE_INVALID": 0, **TYPES}), ("Kind", KINDS)):
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            added = message.field.add(name=field, number=number, label=3 if isinstance(kind, list) else 1)
            kind = kind[0] if isinstance(kind, list) else kind
            if isinstance(kind, str):
                added.type, added.type_name = (ENUM if kind in ("DataType", "Kind") else MESSAGE), f".t.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.ModelConfig"))()
    return text_format.Parse(text, config)


def test_the_repository_holds_a_model_that_paints_the_same(model: Path, tmp_path: Path) -> None:
    assert main(["triton", "--model", str(model), "--out", str(tmp_path / "repository"), "--max-batch", "4"]) == 0
    folder = tmp_path / "repository" / "likeness"
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    assert files == ["1/model.onnx", "config.pbtxt"]
    session, copy = Session(model), Session(folder / "1" / "model.onnx")
    feeds = trial.inputs(session, 4)
    np.testing.assert_array_equal(session.run(**feeds), copy.run(**feeds))

    text = (folder / "config.pbtxt").read_text()
    config = parsed(text)
    assert (config.name, config.backend, config.max_batch_size) == ("likeness", "onnxruntime", 4)
    assert config.default_model_filename == "model.onnx"
    assert config.HasField("dynamic_batching")
    graph = onnx.load(model).graph
    for found, wanted in ((config.input, graph.input), (config.output, graph.output)):
        assert [(tensor.name, list(tensor.dims)) for tensor in found] == [
            (tensor.name, [dim.dim_value for dim in tensor.type.tensor_type.shape.dim][1:]) for tensor in wanted
        ]
        assert {tensor.data_type for tensor in found} == {TYPES["TYPE_FP32"]}
    assert "# exemplar: [-1, 1], channels first" in text.splitlines()


@pytest.mark.parametrize(
    ("on", "kind", "accelerators"),
    [
        ("cpu", "KIND_CPU", []),
        ("cuda", "KIND_GPU", []),
        ("tensorrt", "KIND_GPU", ["tensorrt"]),
        ("openvino", "KIND_CPU", ["openvino"]),
    ],
)
def test_it_runs_where_it_is_told_to(on: str, kind: str, accelerators: list[str], model: Path, tmp_path: Path) -> None:
    assert main(["triton", "--model", str(model), "--out", str(tmp_path), "--name", on, "--on", on]) == 0
    config = parsed((tmp_path / on / "config.pbtxt").read_text())
    assert [group.kind for group in config.instance_group] == [KINDS[kind]]
    found = config.optimization.execution_accelerators
    assert [a.name for a in (*found.gpu_execution_accelerator, *found.cpu_execution_accelerator)] == accelerators
    for accelerator in found.gpu_execution_accelerator:
        assert [(each.key, each.value) for each in accelerator.parameters] == [("precision_mode", "FP32")]


def test_weights_beside_the_model_come_along(model: Path, tmp_path: Path) -> None:
    apart = tmp_path / "face.onnx"
    onnx.save_model(onnx.load(model), apart, save_as_external_data=True, location="face.0a1b.data", size_threshold=256)
    (tmp_path / "face.stale.data").write_bytes(b"an older model's")
    assert main(["triton", "--model", str(apart), "--out", str(tmp_path / "out"), "--name", "face"]) == 0
    version = tmp_path / "out" / "face" / "1"
    assert sorted(file.name for file in version.iterdir()) == ["face.0a1b.data", "model.onnx"]
    feeds = trial.inputs(Session(model), 2)
    np.testing.assert_array_equal(Session(version / "model.onnx").run(**feeds), Session(model).run(**feeds))

    made = onnx.load(apart, load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../face.0a1b.data"
    (tmp_path / "below").mkdir()
    onnx.save_model(made, tmp_path / "below" / "model.onnx")
    with pytest.raises(BadInput, match=r"'\.\./face\.0a1b\.data', which is not beside it"):
        weights_of(tmp_path / "below" / "model.onnx")


def test_what_cannot_be_written_is_refused_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["triton", "--model", str(model), "--out", str(out)]) == 0
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    for options in (["--out", str(out)], ["--out", str(out), "--name", "../x"], ["--out", str(out), "--name", ""]):
        assert main(["triton", "--model", str(model), *options]) == 2
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_it_needs_no_onnx(model: Path, tmp_path: Path) -> None:
    """Whoever serves has only what ONNX Runtime needs."""
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['torch'] = sys.modules['google.protobuf'] = None\n"
        "from deploy.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "triton", "--model", str(model), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_what_has_no_cuda_kernels_is_not_served_with_cuda(model: Path) -> None:
    session = Session(model)
    session.metadata = replace(session.metadata, precision="bf16")
    with pytest.raises(BadInput, match="bf16, which does not run on cuda: ONNX Runtime has no CUDA kernels"):
        configuration(session, "face", "cuda", 8)
    with pytest.raises(BadInput, match=r"TensorRT for; export it with --precision fp32 or fp16 or int8$"):
        configuration(session, "face", "tensorrt", 8)
