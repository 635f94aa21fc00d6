"""The session reads everything from the file, and refuses what does not fit, with the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

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
