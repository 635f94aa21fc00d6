"""Which device and which arithmetic a provider is told to use, and who is to blame when a model does not load."""

import os
from pathlib import Path
from typing import Any

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as native

from likeness import machine, onnx_runtime
from likeness.command import BadInput

FELL_BACK = native.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the default CPU EP, but "
    "fallback to CPU EP has been explicitly disabled by the user."
)
"""What ONNX Runtime 1.31 says where the CUDA provider lacks a kernel, and where it does not start."""


def test_float32_is_float32_unless_rounding_is_asked_for() -> None:
    """ONNX Runtime's own default is TF32 wherever a GPU has it."""
    assert onnx_runtime.provider_options("cuda") == {"use_tf32": "0"}
    assert onnx_runtime.provider_options("cuda-tf32") == {"use_tf32": "1"}
    assert onnx_runtime.provider_options("cuda", 3) == {"use_tf32": "0", "device_id": "3"}
    assert onnx_runtime.provider_options("tensorrt", 1) == {"device_id": "1"}
    assert onnx_runtime.provider_options("cpu") == {}
    with pytest.raises(BadInput, match="'cpu' computes on the processor, where there are no devices to choose from"):
        onnx_runtime.provider_options("cpu", 0)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        (True, "does not run all of face.onnx .*no CUDA kernels for bfloat16, nor for Pad and InstanceNormalization"),
        (False, "cannot run the model on this machine .*print_debug_info"),
    ],
)
def test_a_model_without_kernels_is_no_fault_of_the_machine(
    starts: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine with a GPU, and one without, would find it out."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise FELL_BACK

    def session(*_: Any, **__: Any) -> Any:
        return None

    monkeypatch.setattr(onnx_runtime.onnxruntime, "InferenceSession", session if starts else refuse)
    refusal = onnx_runtime._refusal(Path("face.onnx"), "cuda", {}, "export it again", FELL_BACK, "")
    with pytest.raises(BadInput, match=message):
        raise refusal


def test_threads_are_as_many_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nothing.onnx").write_bytes(onnx_runtime._NOTHING)

    def threads(asked: int | None) -> int:
        session = onnx_runtime.start(tmp_path / "nothing.onnx", threads=asked)
        return int(session.get_session_options().intra_op_num_threads)

    assert threads(3) == 3
    # In a container with a share of the cores that affinity does not show; 0 is ONNX Runtime's own choice.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(machine, "cores", lambda: 5)
    assert (threads(None), threads(2)) == (5, 2)
    monkeypatch.setattr(machine, "cores", lambda: 64)
    assert threads(None) == 0


def test_the_model_that_tells_whether_a_provider_starts_is_one() -> None:
    assert onnx_runtime._starts("cpu", {})


def test_threads_spin_only_where_somebody_asks_for_it() -> None:
    """Between runs: what decodes and encodes beside a model wants the same cores."""
    key = "session.intra_op.allow_spinning"
    assert onnx_runtime._session_options("cpu", None).get_session_config_entry(key) == "0"
    with onnx_runtime.spinning():
        spinning = onnx_runtime._session_options("cpu", None)
    with pytest.raises(RuntimeError, match=key):
        spinning.get_session_config_entry(key)
    assert onnx_runtime._session_options("cpu", None).get_session_config_entry(key) == "0"
