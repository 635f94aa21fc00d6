"""OpenVINO behind the same session: exact when asked to be, and never silently in another precision."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput


def feeds(count: int) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "label": rng.random((count, 15, 32, 32), dtype=np.float32),
        "exemplar_label": rng.random((count, 15, 32, 32), dtype=np.float32),
        "exemplar": rng.random((count, 3, 32, 32), dtype=np.float32) * 2 - 1,
    }


def test_it_paints_what_onnx_runtime_paints(model: Path) -> None:
    plain = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    session = Session(model, "openvino", threads=1)
    assert session.metadata == Session(model).metadata
    for count in (1, 3):
        given = feeds(count)
        np.testing.assert_allclose(session.run(**given), plain.run(None, given)[0], atol=1e-4)


def test_pictures_of_one_run_outlive_the_next(model: Path) -> None:
    session = Session(model, "openvino", threads=1)
    first = session.run(**feeds(1))
    kept = first.copy()
    other = feeds(1)
    session.run(**{**other, "exemplar": -other["exemplar"]})
    np.testing.assert_array_equal(first, kept)


def test_bfloat16_only_when_asked_for(model: Path) -> None:
    given = feeds(2)
    exact = Session(model, "openvino", threads=1).run(**given)
    try:
        rounded = Session(model, "openvino-bf16", threads=1).run(**given)
    except BadInput as error:
        assert "does not compute in bf16" in str(error)
        pytest.skip("this CPU has no bfloat16")
    difference = np.abs(rounded - exact).max()
    assert 1e-4 < difference < 0.2


def test_refusals_are_the_sessions_own(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"label has shape \(1, 14, 32, 32\)"):
        Session(model, "openvino").run(**{**feeds(1), "label": feeds(1)["label"][:, :14]})
    (tmp_path / "broken.onnx").write_bytes(model.read_bytes()[:1000])
    with pytest.raises(BadInput, match=r"OpenVINO cannot load .*broken\.onnx"):
        Session(tmp_path / "broken.onnx", "openvino")


def test_absent_it_says_how_to_get_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BadInput, match=r"pip install 'likeness\[openvino\]', or use --provider cpu"):
        Session(model, "openvino")
