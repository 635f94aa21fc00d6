"""Opening ONNX models: the only file that imports ONNX Runtime. No silent change of provider, no silent fallback."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from shards.command import BadInput

Provider = Literal["cpu", "cuda", "tensorrt"]

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
VERSION: str = onnxruntime.__version__

_BROKEN_FILE = (native.InvalidProtobuf, native.InvalidGraph, native.NoSuchFile, native.NoModel)
REFUSED = (
    native.EPFail,
    native.EngineError,
    native.Fail,
    native.InvalidArgument,
    native.NotImplemented,
    native.RuntimeException,
    RuntimeError,
    ValueError,
)
"""What ONNX Runtime raises when it will not load or run a model."""
_WARNING, _FATAL = 2, 4


def start(model: Path, provider: Provider = "cpu", threads: int | None = None, remedy: str = "use another one") -> Any:
    """An inference session that runs on `provider` and nowhere else.

    threads: CPU threads within one run, None for one per core. remedy: what a person does about a broken model.

    Raises BadInput when the file is missing or no model, or when the provider cannot run it here.
    """
    if provider not in get_args(Provider):
        raise BadInput(f"no provider {provider!r}; choose one of {', '.join(PROVIDERS)}")
    if not model.is_file():
        raise BadInput(f"no model at {model}; {remedy}")
    wanted = PROVIDERS[provider]
    if wanted not in onnxruntime.get_available_providers():
        raise BadInput(
            f"this build of ONNX Runtime has no provider {provider!r}; install onnxruntime-gpu instead of onnxruntime, "
            "or use --provider cpu"
        )
    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    said = io.StringIO()
    if provider != "cpu":
        # ONNX Runtime would otherwise run on the CPU what the GPU does not take, with a log line at most.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.log_severity_level = _FATAL
        onnxruntime.set_default_logger_severity(_FATAL)
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=[wanted], enable_fallback=0)
        if session.get_providers()[0] != wanted:
            raise BadInput(_absent(provider, f"ONNX Runtime started {session.get_providers()[0]} instead"))
    except _BROKEN_FILE as error:
        raise BadInput(f"{model} is not an ONNX model ({one_line(str(error))}); {remedy}") from error
    except BadInput:
        raise
    except REFUSED as error:
        if provider == "cpu":
            raise BadInput(f"ONNX Runtime cannot load {model}: {one_line(str(error))}; {remedy}") from error
        reason = next((line for line in said.getvalue().splitlines() if "ailed to load" in line), str(error))
        raise BadInput(_absent(provider, reason)) from error
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
    return session


def _absent(provider: str, reason: str) -> str:
    return (
        f"provider {provider!r} cannot run the model on this machine ({one_line(reason)}); use --provider cpu, or a "
        "machine with an NVIDIA GPU, its driver and libraries (what is missing: `python -c 'import onnxruntime; "
        "onnxruntime.print_debug_info()'`)"
    )


def one_line(text: str) -> str:
    return " ".join(text.split())[:300]
