"""The one ONNX Runtime session. Every picture that is served, or measured by a gate, comes from here."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from deploy.metadata import INPUTS, OUTPUT, Metadata
from shards.command import BadInput
from shards.records import LabelSchema

Array = np.ndarray[Any, Any]
Provider = Literal["cpu", "cuda", "tensorrt"]

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
TOLERANCE = 1e-3
VERSION: str = onnxruntime.__version__

_BROKEN_FILE = (native.InvalidProtobuf, native.InvalidGraph, native.NoSuchFile, native.NoModel)
_REFUSED = (
    native.EPFail,
    native.EngineError,
    native.Fail,
    native.InvalidArgument,
    native.NotImplemented,
    native.RuntimeException,
    RuntimeError,
    ValueError,
)
_WARNING, _FATAL = 2, 4


class Session:
    """A loaded model.

    model: a file that `python -m export` wrote. provider: where it runs; never anywhere else. threads: CPU threads
    within one run, None for one per core.

    Raises BadInput when the file is missing, broken or not one of ours, or when the provider cannot run it here.
    """

    def __init__(self, model: Path, provider: Provider = "cpu", threads: int | None = None) -> None:
        self.path = Path(model)
        self.provider = provider
        self._session = _start(self.path, provider, threads)
        self.metadata = Metadata.from_props(self._session.get_modelmeta().custom_metadata_map, str(self.path))
        self._shapes = self._checked_shapes()

    @property
    def schema(self) -> LabelSchema:
        return self.metadata.schema

    @property
    def method(self) -> str:
        return self.metadata.method

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the tensors that `run` takes, in the order of the graph."""
        return tuple(self._shapes)

    def run(
        self, label: Array | None = None, exemplar_label: Array | None = None, exemplar: Array | None = None
    ) -> Array:
        """Makes pictures: float32 (N, 3, H, W) RGB in [-1, 1].

        label, exemplar_label: float32 (N, C_L, H, W) in [0, 1]. exemplar: float32 (N, 3, H, W) RGB in [-1, 1].
        Exactly the ones named in `inputs` must be given.
        Raises BadInput naming tensor, shape, type or value when one does not fit the model's schema.
        """
        given = {"label": label, "exemplar_label": exemplar_label, "exemplar": exemplar}
        feeds = {name: value for name, value in given.items() if value is not None}
        if set(feeds) != set(self.inputs):
            raise BadInput(
                f"{self.path} ({self.method}) takes {', '.join(self.inputs)}, but {', '.join(feeds) or 'nothing'} "
                "was given"
            )
        for name, value in feeds.items():
            self._check(name, value)
        if len(counts := {len(value) for value in feeds.values()}) != 1:
            raise BadInput(f"the inputs have {sorted(counts)} pictures; give each the same number")
        try:
            image: Array = self._session.run([OUTPUT], feeds)[0]
        except _REFUSED as error:
            raise BadInput(f"{self.path} cannot run a batch of {counts.pop()}: {_line(str(error))}") from error
        if not np.isfinite(image).all():
            raise BadInput(f"{self.path} gave values that are not finite; the model is broken: train or export it anew")
        return image

    def _check(self, name: str, value: Array) -> None:
        channels = self._shapes[name]
        height, width = self.schema.height, self.schema.width
        low, high = self.metadata.value_ranges[name]
        if value.ndim != 4 or value.shape[1:] != (channels, height, width) or len(value) == 0:
            raise BadInput(
                f"{name} has shape {value.shape}; {self.path} takes (N, {channels}, {height}, {width}), "
                f"by its label schema of kind {self.schema.kind!r}"
            )
        if value.dtype != np.float32:
            raise BadInput(f"{name} is {value.dtype}; give float32 in [{low:g}, {high:g}]")
        # Written so that a value that is not a number fails, too.
        lowest, highest = float(value.min()), float(value.max())
        if not (low - TOLERANCE <= lowest and highest <= high + TOLERANCE):
            raise BadInput(f"{name} has values from {lowest:g} to {highest:g}; {self.path} takes [{low:g}, {high:g}]")

    def _checked_shapes(self) -> dict[str, int]:
        """The channels of each input. Raises BadInput when the graph is not what its own metadata says."""
        schema = self.schema
        shapes = {}
        for tensor in self._session.get_inputs():
            channels = 3 if tensor.name == "exemplar" else schema.channels
            wanted: Sequence[object] = [channels, schema.height, schema.width]
            if tensor.name not in INPUTS or tensor.type != "tensor(float)" or list(tensor.shape[1:]) != wanted:
                raise BadInput(
                    f"{self.path} has an input {tensor.name} of {tensor.type}, shape {tensor.shape}, which its own "
                    "metadata do not describe; export it again"
                )
            shapes[tensor.name] = channels
        if [tensor.name for tensor in self._session.get_outputs()] != [OUTPUT]:
            raise BadInput(f"{self.path} does not have the one output {OUTPUT!r}; export it again")
        return shapes


def _start(model: Path, provider: Provider, threads: int | None) -> Any:
    if provider not in get_args(Provider):
        raise BadInput(f"no provider {provider!r}; choose one of {', '.join(PROVIDERS)}")
    if not model.is_file():
        raise BadInput(f"no model at {model}; write one with `python -m export`")
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
        raise BadInput(
            f"{model} is not an ONNX model ({_line(str(error))}); write one with `python -m export`"
        ) from error
    except BadInput:
        raise
    except _REFUSED as error:
        if provider == "cpu":
            raise BadInput(f"ONNX Runtime cannot load {model}: {_line(str(error))}; export it again") from error
        reason = next((line for line in said.getvalue().splitlines() if "ailed to load" in line), str(error))
        raise BadInput(_absent(provider, reason)) from error
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
    return session


def _absent(provider: str, reason: str) -> str:
    return (
        f"provider {provider!r} cannot run the model on this machine ({_line(reason)}); use --provider cpu, or a "
        "machine with an NVIDIA GPU, its driver and libraries (what is missing: `python -c 'import onnxruntime; "
        "onnxruntime.print_debug_info()'`)"
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
