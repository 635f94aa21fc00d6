"""The session reads everything from the file, and refuses what does not fit, with the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from deploy.metadata import Metadata
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput
from shards.labels import standard_schema
from shards.labels.instance_features import FeatureCentres


def feeds(count: int = 2) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "label": rng.random((count, 15, 32, 32), dtype=np.float32),
        "exemplar_label": rng.random((count, 15, 32, 32), dtype=np.float32),
        "exemplar": rng.random((count, 3, 32, 32), dtype=np.float32) * 2 - 1,
    }


def test_the_file_is_all_it_needs(model: Path) -> None:
    session = Session(model)
    assert session.method == "style_consistent"
    assert session.inputs == ("label", "exemplar_label", "exemplar")
    assert session.schema == standard_schema("sketch", 32, 32)
    image = session.run(**feeds())
    assert image.shape == (2, 3, 32, 32)
    plain = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, feeds())[0]
    np.testing.assert_allclose(image, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("label", lambda x: x[:, :14], r"label has shape \(2, 14, 32, 32\); .* takes \(N, 15, 32, 32\), .*'sketch'"),
        ("label", lambda x: x * 255, r"label has values from .* to 25.*; .* takes \[0, 1\]"),
        ("label", lambda x: x.astype(np.float64), r"label is float64; give float32 in \[0, 1\]"),
        ("exemplar", lambda x: x * np.float32(np.nan), r"exemplar has values from nan"),
        ("exemplar", lambda x: x[:1], r"the inputs have \[1, 2\] pictures"),
        ("exemplar", lambda x: x[0], r"exemplar has shape \(3, 32, 32\)"),
        ("exemplar_label", lambda x: None, r"takes label, exemplar_label, exemplar, but label, exemplar was given"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(model: Path, name: str, change: Any, message: str) -> None:
    given = feeds()
    with pytest.raises(BadInput, match=message):
        Session(model).run(**{**given, name: change(given[name])})


def test_ids_that_the_model_does_not_know_are_named(instanced: Path) -> None:
    session = Session(instanced)
    rng = np.random.default_rng(0)
    label = rng.choice(np.array(session.schema.ids, np.uint8), (1, 64, 128))
    given = {
        "label": label,
        "instances": np.zeros((1, 64, 128), np.int32),
        "features": np.zeros((1, *session.metadata.specs()["features"].shape), np.float32),
    }
    session.check(given)
    label[0, 3, 5] = 200
    with pytest.raises(BadInput, match=r"label holds the id 200; .* takes the ids"):
        session.run(**given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_no_picture(model: Path, value: float) -> None:
    image = np.zeros((1, 3, 32, 32), np.float32)
    session = Session(model)
    assert session.checked(image) is image
    image[0, 2, 31, 31] = value
    with pytest.raises(BadInput, match="gave values that are not finite"):
        session.checked(image)


@pytest.mark.parametrize("provider", ["cuda", "cuda-tf32", "tensorrt"])
def test_an_absent_provider_is_an_error_never_a_silent_cpu_run(model: Path, provider: Any) -> None:
    if list(Path("/proc/driver/nvidia/gpus").glob("*")):
        pytest.skip("this machine has an NVIDIA GPU")
    with pytest.raises(BadInput, match=f"provider '{provider}' .*use --provider cpu"):
        Session(model, provider)


def test_models_that_are_not_ours_are_refused(model: Path, tmp_path: Path) -> None:
    foreign = onnx.load(model)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    (tmp_path / "broken.onnx").write_bytes(model.read_bytes()[:1000])
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(BadInput, match="not one of ours"):
        Session(tmp_path / "foreign.onnx")
    for name in ("broken.onnx", "empty.onnx"):
        with pytest.raises(BadInput, match=name):
            Session(tmp_path / name)
    with pytest.raises(BadInput, match="no model at"):
        Session(tmp_path / "none.onnx")


def painting(path: Path, output: Any, *nodes: Any, **changes: str) -> Path:
    """A model of one input, the exemplar, whose graph is `nodes`; by its metadata it paints pictures of 32×32."""
    exemplar = helper.make_tensor_value_info("exemplar", TensorProto.FLOAT, ("N", 3, 32, 32))
    nodes = nodes or (helper.make_node("Identity", ["exemplar"], ["image"]),)
    constants = [numpy_helper.from_array(np.arange(32) % 2 == 0, "every_second")]
    graph = helper.make_graph([*nodes], "paint", [exemplar], [output], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    facts = Metadata("m", standard_schema("sketch", 32, 32), "untrained", None, 0, "none")
    helper.set_model_props(made, {**facts.to_props(), **changes})
    path.write_bytes(made.SerializeToString())
    return path


def pictured(*shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info("image", kind, shape)


def test_an_output_that_is_not_what_the_file_says_is_refused(tmp_path: Path) -> None:
    file, photo = tmp_path / "model.onnx", np.zeros((2, 3, 32, 32), np.float32)
    assert Session(painting(file, pictured("N", 3, 32, 32))).run(exemplar=photo).shape == (2, 3, 32, 32)
    assert Session(painting(file, pictured("N", 3, "H", "W"))).run(exemplar=photo).shape == (2, 3, 32, 32)
    double = helper.make_node("Cast", ["exemplar"], ["image"], to=TensorProto.DOUBLE)
    flat = helper.make_node("Flatten", ["exemplar"], ["image"])
    half = helper.make_node("MaxPool", ["exemplar"], ["image"], kernel_shape=[2, 2], strides=[2, 2])
    for output, node in (
        (pictured("N", 3, 32, 32, kind=TensorProto.DOUBLE), double),
        (pictured("N", 3072), flat),
        (pictured("N", 3, 16, 16), half),
    ):
        with pytest.raises(
            BadInput, match=rf"{file} has an output of .* by its own metadata it is float32, \(N, 3, 32"
        ):
            Session(painting(file, output, node))
    # What the graph leaves open shows when it has run.
    some = helper.make_node("Compress", ["exemplar", "every_second"], ["image"], axis=2)
    session = Session(painting(file, pictured("N", "C", "H", "W"), some))
    with pytest.raises(BadInput, match=r"gave float32 of shape \(2, 3, 16, 32\) for a batch of 2, not float32"):
        session.run(exemplar=photo)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("images_seen", "size_multiple", "style_length", "feature_channels", "reach")
          for value in ("-1", "x", "", "1.5", "²", "9" * 5000, str(2**64), " 1", "1_0")),
        ("size_multiple", "0"),
        ("dynamic_size", "2"),
        ("dynamic_size", '"yes"'),
        ("options", "[]"),
        ("options", '{"base": NaN}'),
        ("options", "[" * 100_000),
        ("gates", "{}"),
        ("label_schema", "[" * 100_000),
        ("label_schema", "7"),
        ("method", "x" * 100_000),
        ("method", "a\x1b[2J\nb"),
        ("precision", "y" * 100_000),
    ],
)  # fmt: skip
def test_metadata_of_another_type_or_size_are_refused(name: str, value: str) -> None:
    props = Metadata("m", standard_schema("sketch", 32, 32), "untrained", None, 0, "none").to_props()
    with pytest.raises(BadInput, match=r"^model.onnx has damaged metadata .*; export it again$") as refused:
        Metadata.from_props({**props, f"likeness.{name}": value}, "model.onnx")
    assert len(str(refused.value)) < 400


def test_text_that_is_not_utf8_in_a_file(tmp_path: Path) -> None:
    file = painting(tmp_path / "model.onnx", pictured("N", 3, 32, 32), **{"likeness.method": "MARKED"})
    file.write_bytes(file.read_bytes().replace(b"MARKED", b"caf\xe9\xff\xff"[:6]))
    with pytest.raises(BadInput, match=rf"{file} holds text that is not UTF-8"):
        Session(file)


def test_weights_are_read_from_beside_the_file_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.ones(1, np.float32).tobytes())
    (tmp_path / "models").mkdir()
    node = helper.make_node("Add", ["exemplar", "weight"], ["image"])
    file = painting(tmp_path / "models" / "model.onnx", pictured("N", 3, 32, 32), node)
    made = onnx.load(file)
    for location in ("../secret", str(tmp_path / "secret")):
        weight = numpy_helper.from_array(np.zeros(1, np.float32), "weight")
        external_data_helper.set_external_data(weight, location)
        weight.ClearField("raw_data")
        del made.graph.initializer[1:]
        made.graph.initializer.append(weight)
        file.write_bytes(made.SerializeToString())
        with pytest.raises(BadInput, match=r"model\.onnx"):
            Session(file)


def test_metadata_survive_the_round_trip() -> None:
    gates = ({"name": "parity", "passed": True, "figures": {"max_abs": 1e-6}, "remedy": ""},)
    before = Metadata(
        "m", standard_schema("classes", 144, 256), "abc", None, 7, "download", "uint8", "int8", True, {"base": 4}, gates
    )
    assert Metadata.from_props(before.to_props(), "test") == before
    assert len(before.to_props()) == 13, "models without centres, of sizes that are multiples of 16, are as before"
    centres = FeatureCentres("abc", "instances", {13: [[0.5, -1.0, 0.25]]}, {13: [4]})
    full = replace(before, size_multiple=32, feature_centres=centres)
    assert Metadata.from_props(full.to_props(), "test") == full
    assert full.specs()["label"].multiple == 32
    with pytest.raises(BadInput, match="damaged metadata"):
        Metadata.from_props({**before.to_props(), "likeness.label_schema": "{"}, "test")
    with pytest.raises(BadInput, match="test: the centres of class 13"):
        Metadata.from_props(
            {**full.to_props(), "likeness.feature_centres": centres.dumps().replace("0.5", "5")}, "test"
        )
