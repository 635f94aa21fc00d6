"""Engines built ahead of time: what a cache finds, what it refuses, and what TensorRT-RTX really builds."""

import importlib.util
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.metadata import Metadata
from export.gates import structure
from export.graph import save
from export.tensorrt import engine
from export.tensorrt import rtx as tensorrt_rtx
from export.weights import weights_of
from likeness import engine_cache, onnx_runtime
from likeness.command import BadInput
from likeness.engine_cache import Facts, Record
from likeness.gpu import Gpu, visible_gpu

VERSION = "10.16.0, ONNX Runtime 1.31.1"
H200 = "0, GPU-aaaa, NVIDIA H200, 9.0, 570.133.20"
RTX_5090 = "1, GPU-bbbb, NVIDIA GeForce RTX 5090, 12.0, 570.133.20"
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is absent: pip install 'likeness[tensorrt]'"
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this a machine with the GPUs that `nvidia-smi` would tell of; with none of them, one without a driver."""

    def of(*rows: str) -> None:
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text("#!/bin/sh\n" + (f"cat <<'EOF'\n{chr(10).join(rows)}\nEOF\n" if rows else "exit 9\n"))
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)

    return of


@pytest.fixture
def model(small: Any, tmp_path: Path) -> Path:
    synthesis = small.synthesis
    metadata = Metadata(synthesis.method, synthesis.schema, synthesis.sha256, None, 0, synthesis.perceptual)
    file = tmp_path / "model.onnx"
    save(small.exported.model, metadata.to_props(), file)
    return file


def beside(model: Path) -> Path:
    """The same model with its weights in a file beside it."""
    file = model.parent / "lean" / "lean.onnx"
    file.parent.mkdir()
    onnx.save(onnx.load(model), file, save_as_external_data=True, location="lean.onnx.data", size_threshold=0)
    return file


def put(cache: Path, model: Path, **facts: Any) -> Path:
    """An engine's folder, as a build leaves it, but without an engine that could run."""
    told: dict[str, Any] = {
        "model_sha256": engine_cache.model_sha256(model),
        "external_data": {},
        "runtime": "tensorrt",
        "version": VERSION,
        "gpu": "NVIDIA H200",
        "compute_capability": "9.0",
        "driver": "570.133.20",
        "batches": (1, 8, 32),
    }
    made = Facts(**{**told, **facts})
    folder = cache / made.key
    folder.mkdir(parents=True)
    (folder / "engine.onnx").write_bytes(b"engine")
    shapes = {"label": tuple((batch, 15, 32, 32) for batch in made.batches)}
    engine_cache.write(folder, Record(made, shapes, model.name, "engine.onnx", {"engine.onnx": 6}, 1.5, None))  # type: ignore[arg-type]
    return folder / "engine.onnx"


def test_the_gpu_is_the_one_that_cuda_uses(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    machine(H200)
    assert visible_gpu() == Gpu("NVIDIA H200", "9.0", "570.133.20")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpu() is None
    machine(H200, RTX_5090)
    with pytest.raises(
        BadInput, match=r"several kinds of GPU \(0: NVIDIA H200, 1: NVIDIA GeForce RTX 5090\); name one"
    ):
        visible_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    with pytest.raises(BadInput, match="several kinds of GPU"):
        visible_gpu()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert visible_gpu() == Gpu("NVIDIA GeForce RTX 5090", "12.0", "570.133.20")
    machine()
    assert visible_gpu() is None


def test_an_engine_is_found_on_its_own_machine_only(machine: Callable[..., None], model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "engines"
    machine(H200)
    command = f"python -m export engine --model {model} --cache {cache} --runtime tensorrt"
    with pytest.raises(BadInput, match=f"holds no tensorrt engine of {model}; build it: `{command}`"):
        engine_cache.find(cache, model, "tensorrt", VERSION)
    put(cache, model, batches=(1, 1, 4))
    largest = put(cache, model)
    put(cache, model, batches=(2, 4, 8))
    assert engine_cache.find(cache, model, "tensorrt", VERSION) == largest
    with pytest.raises(BadInput, match=f"one has version {VERSION}, here 10.17.0; build it: `{command}`"):
        engine_cache.find(cache, model, "tensorrt", "10.17.0")
    machine(H200.replace("570.133", "580.95"))
    with pytest.raises(BadInput, match=f"one has driver 570.133.20, here 580.95.20; build it: `{command}`"):
        engine_cache.find(cache, model, "tensorrt", VERSION)
    machine(RTX_5090)
    with pytest.raises(
        BadInput, match=r"one has GPU NVIDIA H200, here NVIDIA GeForce RTX 5090, compute capability 9.0"
    ):
        engine_cache.find(cache, model, "tensorrt", VERSION)
    machine(H200)
    with model.open("ab") as opened:
        opened.write(b"\0")
    with pytest.raises(BadInput, match=f"holds no tensorrt engine of {model}; build it"):
        engine_cache.find(cache, model, "tensorrt", VERSION)


def test_weights_beside_the_model_count(machine: Callable[..., None], model: Path, tmp_path: Path) -> None:
    machine(H200)
    lean = beside(model)
    weights = lean.parent / "lean.onnx.data"
    assert weights_of(onnx.load(lean, load_external_data=False), lean) == [lean.parent / "lean.onnx.data"]
    found = put(tmp_path, lean, external_data={"lean.onnx.data": engine_cache.model_sha256(weights)})
    assert engine_cache.find(tmp_path, lean, "tensorrt", VERSION) == found
    with weights.open("r+b") as opened:
        opened.write(b"other")
    with pytest.raises(BadInput, match=r"one has lean.onnx.data "):
        engine_cache.find(tmp_path, lean, "tensorrt", VERSION)


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "b"},
        {"external_data": {"model.onnx.data": "b"}},
        {"runtime": "tensorrt-rtx"},
        {"version": "b"},
        {"gpu": "b"},
        {"compute_capability": "b"},
        {"driver": "b"},
        {"batches": (1, 8, 33)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_fact_makes_another_engine(change: dict[str, Any]) -> None:
    facts = Facts("a", {"model.onnx.data": "a"}, "tensorrt", "a", "a", "a", "a", (1, 8, 32))
    assert replace(facts, **change).key != facts.key
    assert replace(facts).key == facts.key


def test_a_damaged_engine_is_named(machine: Callable[..., None], model: Path, tmp_path: Path) -> None:
    machine(H200)
    found = put(tmp_path, model)
    found.write_bytes(b"eng")
    with pytest.raises(BadInput, match=f"in {found.parent} is damaged .engine.onnx has 3 bytes instead of 6.; remove"):
        engine_cache.find(tmp_path, model, "tensorrt", VERSION)
    (found.parent / "record.json").write_text("{}")
    with pytest.raises(BadInput, match=f"in {found.parent} is damaged"):
        engine_cache.find(tmp_path, model, "tensorrt", VERSION)


def test_no_engine_of_rtx_for_a_gpu_that_it_does_not_run_on(
    machine: Callable[..., None], model: Path, tmp_path: Path
) -> None:
    facts = {"runtime": "tensorrt-rtx", "version": "1.7", "gpu": "any", "driver": "any"}
    found = put(tmp_path, model, **facts, compute_capability=engine_cache.RTX_RUNS_ON)
    for rows in ((), (RTX_5090,)):
        machine(*rows)
        assert engine_cache.find(tmp_path, model, "tensorrt-rtx", "1.7") == found
    machine(H200)
    with pytest.raises(BadInput, match=r"H200 has compute capability 9.0, .* --runtime tensorrt`"):
        engine_cache.find(tmp_path, model, "tensorrt-rtx", "1.7")


def test_service_never_builds(
    machine: Callable[..., None], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match=r"'tensorrt' runs only engines that were built .*`python -m export engine"):
        onnx_runtime.start(model, "tensorrt")
    machine()
    with pytest.raises(BadInput, match="no NVIDIA GPU with a driver"):
        onnx_runtime.start(model, "tensorrt", engines=tmp_path)
    machine(H200)
    # The one thing that a machine without TensorRT cannot tell.
    monkeypatch.setattr(onnx_runtime, "tensorrt_version", lambda: VERSION)
    with pytest.raises(BadInput, match=f"build it: `python -m export engine --model {model} --cache {tmp_path} "):
        onnx_runtime.start(model, "tensorrt", engines=tmp_path)
    found = put(tmp_path, model)
    monkeypatch.setattr(onnx_runtime, "_open", lambda file, provider, options, *rest: (file, provider, options))
    assert onnx_runtime.start(model, "tensorrt", engines=tmp_path) == (found, "tensorrt", {})


def test_what_tensorrt_wrote_must_be_the_whole_model(small: Any, tmp_path: Path) -> None:
    file = tmp_path / "engine.onnx"
    metadata = Metadata("m", small.synthesis.schema, "untrained", None, 0, "none")
    model = with_input(TensorProto.FLOAT, "batch", 15, 48, 80, **metadata.to_props())
    nodes = [helper.make_node("EPContext", ["label"], ["image"], domain="com.microsoft", embed_mode=0)]
    for operators, complete in ((nodes, True), (nodes * 2, False)):
        written = with_input(TensorProto.FLOAT, "batch", 15, 48, 80)
        del written.graph.node[:]
        written.graph.node.extend(operators)
        onnx.save(written, file)
        if complete:
            engine._complete(file, model, Path("model.onnx"))
            props = {prop.key: prop.value for prop in onnx.load(file).metadata_props}
            assert Metadata.from_props(props, "it").schema == metadata.schema
        else:
            with pytest.raises(BadInput, match=r"the whole of model.onnx: its engine would be 2 nodes"):
                engine._complete(file, model, Path("model.onnx"))


def with_input(kind: int, *sizes: int | str, **props: str) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["label"], ["image"], to=TensorProto.FLOAT)],
        "test",
        [helper.make_tensor_value_info("label", kind, sizes)],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    helper.set_model_props(model, props)
    return model


def test_shapes_are_read_from_the_model(small: Any) -> None:
    schema = small.synthesis.schema
    props = Metadata("m", schema, "untrained", None, 0, "none").to_props()
    height, width = schema.height, schema.width
    where = Path("model.onnx")
    floats = engine.profile_of(with_input(TensorProto.FLOAT, "batch", 15, 48, 80), where, (1, 2, 4))
    assert floats == {"label": ((1, 15, 48, 80), (2, 15, 48, 80), (4, 15, 48, 80))}
    fixed = engine.profile_of(with_input(TensorProto.FLOAT, 3, 15, 48, 80), where, (1, 2, 4))
    assert fixed == {"label": ((3, 15, 48, 80),) * 3}
    sized = with_input(TensorProto.FLOAT, "batch", 15, "16*h16", "16*w16", **props)
    assert engine.profile_of(sized, where, (1, 2, 4))["label"][2] == (4, 15, height, width)
    pixels = with_input(TensorProto.UINT8, "batch", "h", "w", 3, **props)
    assert engine.profile_of(pixels, where, (1, 2, 4))["label"][1] == (2, height, width, 3)
    with pytest.raises(BadInput, match=r"model.onnx: input label has 1 dynamic axes beside the batch"):
        engine.profile_of(with_input(TensorProto.FLOAT, "batch", "channels", 48, 80, **props), where, (1, 2, 4))


def test_tensorrt_is_told_of_the_types_in_the_graph(small: Any) -> None:
    assert engine.precisions_of(small.exported.model) == []
    halves = onnx.ModelProto()
    halves.CopyFrom(small.exported.model)
    halves.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float16), "half"))
    halves.graph.node.append(helper.make_node("DequantizeLinear", ["q", "scale"], ["x"]))
    assert engine.precisions_of(halves) == ["fp16", "int8"]


@pytest.mark.parametrize("text", ["", "1", "0,1,2", "1,2", "4,2,1", "1,2,x", "1,2,3,4", "1,2,,3"])
def test_batches_are_three_growing_numbers(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        engine.main(["--model", "m.onnx", "--cache", "engines", "--batch", text])
    assert "smallest, usual and largest batch such as 1,8,32" in capsys.readouterr().err


def test_an_absent_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BadInput, match=r"pip install 'likeness\[tensorrt\]'"):
        tensorrt_rtx.refusals(b"")


@needs_rtx
def test_the_real_parser_names_what_it_refuses(small: Any) -> None:
    assert tensorrt_rtx.refusals(small.exported.model.SerializeToString()) == []
    changed = onnx.ModelProto()
    changed.CopyFrom(small.exported.model)
    node = next(node for node in changed.graph.node if node.op_type == "Tanh")
    node.op_type = "Det"
    (refused,) = tensorrt_rtx.refusals(changed.SerializeToString())
    assert refused.startswith(f"{node.name} (Det, in checkDet): unsupported_node")
    with pytest.raises(BadInput, match=r"TensorRT-RTX refuses the model: .*Det"):
        tensorrt_rtx.build(changed.SerializeToString(), {})


@needs_rtx
def test_the_command_builds_once_and_then_finds(
    machine: Callable[..., None], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine()
    lean, cache = beside(model), tmp_path / "engines"
    version = tensorrt_rtx.version()
    with pytest.raises(BadInput) as missing:
        engine_cache.find(cache, lean, "tensorrt-rtx", version)
    # What the error says is what a person runs.
    command = shlex.split(str(missing.value).split("`")[1])
    assert command[:4] == ["python", "-m", "export", "engine"]
    assert engine.main(command[4:]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("built in ") and "any GPU" in said[0] and "batch 1,8,32" in said[0]
    built = Path(said[-1])
    assert built == engine_cache.find(cache, lean, "tensorrt-rtx", version)
    # Weights are in the engine: it was parsed with the data file.
    assert built.stat().st_size > (lean.parent / "lean.onnx.data").stat().st_size
    record = json.loads((built.parent / "record.json").read_text())
    assert (record["gpu"], record["driver"], record["version"]) == ("any", "any", version)
    assert record["profile"]["exemplar"] == {"min": "1x3x32x32", "opt": "8x3x32x32", "max": "32x3x32x32"}
    stamp, started = built.stat().st_mtime_ns, time.perf_counter()
    assert engine.main(command[4:]) == 0
    assert time.perf_counter() - started < 1
    assert capsys.readouterr().out.startswith("found, built before: ")
    assert built.stat().st_mtime_ns == stamp
    assert engine.main([*command[4:], "--batch", "1,1,2"]) == 0
    assert Path(capsys.readouterr().out.splitlines()[-1]).parent != built.parent
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


@needs_rtx
def test_a_model_that_is_refused_leaves_nothing(model: Path, tmp_path: Path) -> None:
    changed = onnx.load(model)
    next(node for node in changed.graph.node if node.op_type == "Tanh").op_type = "Det"
    onnx.save(changed, model)
    cache = tmp_path / "engines"
    arguments = ["--model", str(model), "--cache", str(cache), "--runtime", "tensorrt-rtx"]
    with pytest.raises(BadInput, match=r"TensorRT-RTX refuses .*model.onnx: .*\(Det, in checkDet\)"):
        engine.main(arguments)
    assert list(cache.iterdir()) == []
    model.write_bytes(b"junk")
    with pytest.raises(BadInput, match=r"model.onnx is not an ONNX model"):
        engine.main(arguments)


@needs_rtx
def test_the_gate_stops_what_the_real_parser_refuses(small: Any, model: Path) -> None:
    assert structure.check_tensorrt_rtx(small.exported.model, model).passed
    changed = onnx.ModelProto()
    changed.CopyFrom(small.exported.model)
    next(node for node in changed.graph.node if node.op_type == "Tanh").op_type = "Det"
    onnx.save(changed, model)
    result = structure.check_tensorrt_rtx(changed, model)
    assert not result.passed
    assert "(Det, in checkDet)" in result.figures["refused"][0]


@needs_rtx
def test_dynamic_sizes_and_pixels_build(small: Any, tmp_path: Path) -> None:
    props = Metadata("m", small.synthesis.schema, "untrained", None, 0, "none").to_props()
    file = tmp_path / "pixels.onnx"
    onnx.save(with_input(TensorProto.UINT8, "batch", "16*h16", "16*w16", 3, **props), file)
    shapes = engine.profile_of(onnx.load(file), file, (1, 2, 4))
    assert tensorrt_rtx.build(file, shapes)
    with pytest.raises(BadInput, match=r"builds no engine of .*pixels.onnx: .*label"):
        tensorrt_rtx.build(file, {"label": ((1, 32, 32, 4),) * 3})
