"""Opening ONNX models: the only file that imports ONNX Runtime. No silent change of provider, no silent fallback."""

import contextlib
import ctypes
import io
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, get_args

# The wheels for GPUs send telemetry from the moment of their import, with an id that they keep in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from likeness import engine_cache, machine
from likeness.array import Array
from likeness.bound_run import BoundRun
from likeness.command import BadInput
from likeness.disk import require_readable
from likeness.gpu import require_gpu
from likeness.names import for_libraries

Provider = Literal["cpu", "cuda", "cuda-tf32", "tensorrt"]

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cuda-tf32": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
MEMORY: Mapping[str, str] = {"cuda": "cuda", "cuda-tf32": "cuda", "tensorrt": "cuda"}
"""The device whose memory inputs and outputs are bound to, of providers that do not compute in the host's."""
TF32: Mapping[str, bool] = {"cuda": False, "cuda-tf32": True}
"""Whether tensor cores may round the float32 inputs of products to 10 bits of mantissa. ONNX Runtime would do so
unasked wherever a GPU can, and pictures would not be those of float32 (60 dB from them instead of 100)."""
CUDA_OPSET = 21
"""The newest operator set that the CUDA provider has kernels for: from 22 on it lacks Pad and InstanceNormalization,
and with them all of bfloat16, which begins there."""
VERSION: str = onnxruntime.__version__
"""Of ONNX Runtime."""

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
TENSORRT_LIBRARY = "libnvinfer.so.10"
NO_KERNELS = (
    f"ONNX Runtime has no CUDA kernels for bfloat16, nor for Pad and InstanceNormalization after opset {CUDA_OPSET}: "
    "export another precision without --opset, or run an engine with --provider tensorrt"
)
"""Why the CUDA provider does not take a model, and what to do."""
_NOTHING = (
    b'\x08\x08:=\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x07nothingZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x12"
)
"""A model of one Identity on one float, in opset 18; serving has no package that writes models."""
_WARNING, _FATAL = 2, 4
# A context variable, because whoever knows that nothing else goes on beside a session is far from who opens it.
_SPINNING: ContextVar[bool] = ContextVar("spinning", default=False)


@contextlib.contextmanager
def spinning() -> Iterator[None]:
    """The threads of sessions that are opened meanwhile spin when they wait, as is ONNX Runtime's default.

    All others sleep: a run takes a little longer so, but threads that decode and encode beside it, and other
    processes, get the processors sooner. For measurements of a model that has the machine to itself.
    """
    token = _SPINNING.set(True)
    try:
        yield
    finally:
        _SPINNING.reset(token)


def start(
    model: Path,
    provider: Provider = "cpu",
    threads: int | None = None,
    remedy: str = "use another one",
    engines: Path | None = None,
    device: int | None = None,
) -> Any:
    """An inference session that runs on `provider` and nowhere else.

    `cuda` computes float32 models in float32, `cuda-tf32` lets tensor cores round them.
    threads: CPU threads within one run, None for one per core. remedy: what a person does about a broken model.
    engines: for `tensorrt`, the cache of `python -m export engine`; only an engine from there runs. For its gate it is
    the file of an engine that is not there yet. device: the number of the GPU, as CUDA counts those that this process
    sees; None for the first.

    Raises BadInput when the file is missing or no model, when the provider cannot run it here, when it has no devices
    to choose from, or when no engine was built of the model for this machine; OSError when the file cannot be read.
    """
    _check(model, provider, remedy)
    options = provider_options(provider, device)
    if provider != "tensorrt":
        return _open(model, provider, options, threads, remedy)
    # Given a model, the provider would build its engine when it starts, and again when a shape comes that the engine
    # does not take: minutes in which nobody is served. What opens here instead is a file with one node, which names the
    # engine beside it. It has neither weights nor graph, so that there is nothing to build from: an engine that does
    # not load, or a shape outside its profile, is an error.
    if engines is None:
        raise BadInput(
            f"provider 'tensorrt' runs only engines that were built ahead of time, and no folder of them was given for "
            f"{model}: build one with `{engine_cache.build_command(Path('engines'), model, 'tensorrt')}`, or use "
            "--provider cpu"
        )
    engine = engines if engines.is_file() else engine_cache.find(engines, model, "tensorrt", tensorrt_version())
    return _open(engine, provider, options, threads, f"remove {engine.parent} and build the engine again")


def provider_options(provider: Provider, device: int | None = None) -> dict[str, str]:
    """What ONNX Runtime tells a provider: on which device it computes, and in which arithmetic.

    device: as `start` takes it. Raises BadInput when the provider computes on the processor, and one is named.
    """
    options = {"use_tf32": str(int(TF32[provider]))} if provider in TF32 else {}
    if device is None:
        return options
    if provider not in MEMORY:
        raise BadInput(no_devices(provider))
    return {**options, "device_id": str(device)}


def no_devices(provider: str) -> str:
    """Why a device cannot be chosen with a provider that computes on the processor, and what to do."""
    return (
        f"provider {provider!r} computes on the processor, where there are no devices to choose from; leave --devices "
        f"off, or use --provider {' or '.join(MEMORY)}"
    )


def tensorrt_version() -> str:
    """The versions of ONNX Runtime and of the TensorRT library that its provider loads.

    Raises BadInput when that library is not found.
    """
    try:
        number = int(ctypes.CDLL(TENSORRT_LIBRARY).getInferLibVersion())
    except OSError as error:
        # Without a GPU there is more to mend than a library.
        require_gpu()
        raise BadInput(
            f"provider 'tensorrt' needs {TENSORRT_LIBRARY} ({error}): pip install 'tensorrt-cu13==10.16.*', put its "
            "folder tensorrt_libs on LD_LIBRARY_PATH, or use --provider cpu"
        ) from error
    # Written as major * 10000 + minor * 100 + patch.
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}, ONNX Runtime {VERSION}"


def build_engine(model: Path, out: Path, profile: engine_cache.Profile, precisions: Sequence[str] = ()) -> None:
    """Builds a TensorRT engine on this machine's GPU: `out`, a model whose one node names the engine beside it.

    precisions: `fp16`, `bf16` or `int8`, those that the model's own tensors have; TensorRT refuses them unasked.
    Float32 stays float32: TF32 is off.

    Raises BadInput when the file is no model, or when TensorRT cannot run all of it here.
    """
    _check(model, "tensorrt", "export it again")
    shapes = {
        f"trt_profile_{which}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, sizes[number]))}" for name, sizes in profile.items()
        )
        for number, which in enumerate(engine_cache.BOUNDS)
    }
    options = {
        **(shapes if profile else {}),
        **{f"trt_{precision}_enable": "1" for precision in precisions},
        "trt_engine_cache_enable": "1",
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_file_path": str(out),
        # The engine in a file of its own: inside the model it would be read and copied through protobuf.
        "trt_ep_context_embed_mode": "0",
    }
    # TensorRT rounds float32 to TF32 unless told otherwise, and ONNX Runtime has no option that tells it. NVIDIA's
    # libraries read this variable when they are loaded, and it overrides whatever a program asks for.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    _open(model, "tensorrt", options, None, "export it again")


def _check(model: Path, provider: Provider, remedy: str) -> None:
    if provider not in get_args(Provider):
        raise BadInput(f"no provider {provider!r}; choose one of {', '.join(PROVIDERS)}")
    if not model.is_file():
        raise BadInput(f"no model at {model}; {remedy}")
    require_readable(model)
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise BadInput(
            f"this build of ONNX Runtime has no provider {provider!r}; install onnxruntime-gpu instead of onnxruntime, "
            "or use --provider cpu"
        )


def _open(
    model: Path, provider: Provider, provider_options: Mapping[str, str], threads: int | None, remedy: str
) -> Any:
    wanted = PROVIDERS[provider]
    log = io.StringIO()
    options = _session_options(provider, threads)
    if provider != "cpu":
        # Which library is missing is printed here; only an error needs it.
        onnxruntime.set_default_logger_severity(_FATAL)
        with contextlib.redirect_stdout(log):
            onnxruntime.preload_dlls()
    try:
        # enable_fallback: the Python class would try again on the CPU when the provider fails.
        session = onnxruntime.InferenceSession(
            for_libraries(model), options, providers=[(wanted, dict(provider_options))], enable_fallback=0
        )
        # A provider whose library does not load is left out with a line in the log, even so.
        if session.get_providers()[0] != wanted:
            raise BadInput(_absent(provider, f"ONNX Runtime started {session.get_providers()[0]} instead"))
    except _BROKEN_FILE as error:
        raise BadInput(f"{model} is not an ONNX model ({one_line(str(error))}); {remedy}") from error
    except BadInput:
        # A ValueError, which is one of REFUSED.
        raise
    except REFUSED as error:
        raise _refusal(model, provider, provider_options, remedy, error, log.getvalue()) from error
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
    return session


def _session_options(provider: Provider, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    # By itself it counts the cores of its affinity and knows nothing of a container's share.
    if threads or machine.cores() < len(os.sched_getaffinity(0)):
        options.intra_op_num_threads = threads or machine.cores()
    if not _SPINNING.get():
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != "cpu":
        # ONNX Runtime would otherwise run on the CPU what the GPU does not take, with a log line at most.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.log_severity_level = _FATAL
    return options


def _refusal(
    model: Path, provider: Provider, provider_options: Mapping[str, str], remedy: str, error: Exception, log: str
) -> BadInput:
    """Why a session did not start, and what to do. log: what ONNX Runtime printed on the way."""
    # Without its first letter, since ONNX Runtime writes it large in some messages and small in others.
    if "xternal data" in str(error):
        return BadInput(
            f"{model} has its weights in a file beside it, {model.stem}.….data, that is missing or cut: copy both, "
            f"or {remedy} ({one_line(str(error))})"
        )
    if provider == "cpu":
        return BadInput(f"ONNX Runtime cannot load {model}: {one_line(str(error))}; {remedy}")
    # ONNX Runtime says the same of a provider that does not start and of one that lacks a kernel.
    if _starts(provider, provider_options):
        cure = NO_KERNELS if provider in TF32 else "`python -m export` names what TensorRT refuses"
        return BadInput(f"provider {provider!r} does not run all of {model} ({one_line(str(error))}); {cure}")
    return BadInput(_absent(provider, next((line for line in log.splitlines() if "ailed to load" in line), str(error))))


def _starts(provider: Provider, provider_options: Mapping[str, str]) -> bool:
    """Whether the provider runs anything on its device: where it does, a model that does not load is to blame."""
    device = {name: value for name, value in provider_options.items() if name == "device_id"}
    try:
        onnxruntime.InferenceSession(
            _NOTHING, _session_options(provider, None), providers=[(PROVIDERS[provider], device)], enable_fallback=0
        )
    except REFUSED:
        return False
    return True


class Model:
    """A loaded model: `run`, and what it says of itself. Several threads may use it.

    The arguments and the errors are those of `start`.
    """

    def __init__(
        self,
        path: Path,
        provider: Provider,
        threads: int | None = None,
        remedy: str = "use another",
        engines: Path | None = None,
        device: int | None = None,
    ) -> None:
        self.native = start(path, provider, threads, remedy, engines, device)
        try:
            self.metadata: dict[str, str] = dict(self.native.get_modelmeta().custom_metadata_map)
            """Its `metadata_props`."""
            self.inputs = {tensor.name: _described(tensor) for tensor in self.native.get_inputs()}
            """Type and shape of each tensor by its name, None for an axis that is free."""
            self.outputs = {tensor.name: _described(tensor) for tensor in self.native.get_outputs()}
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} holds text that is not UTF-8 ({error}); {remedy}") from error
        self._bound = BoundRun(self.native, MEMORY[provider], device or 0) if provider in MEMORY else None
        # Bound memory is there once, so that runs on a device take turns; the CPU's runs need not.
        self._lock = threading.Lock()

    def run(self, feeds: dict[str, Array]) -> Array:
        """The one output. Raises one of `REFUSED` when the model does not take the shapes."""
        if self._bound is not None:
            with self._lock:
                return self._bound(feeds)[0]
        image: Array = self.native.run(None, feeds)[0]
        return image


def _described(tensor: Any) -> tuple[str, list[int | None]]:
    element = tensor.type.removeprefix("tensor(").removesuffix(")")
    sides = [side if isinstance(side, int) else None for side in tensor.shape]
    return {"float": "float32"}.get(element, element), sides


def placement(model: Path, provider: Provider) -> dict[str, str]:
    """Where ONNX Runtime would run each node if it were free to choose: execution provider by the node's name.

    Asks for `provider` first and the CPU second, which `start` never does, to find what the first does not take.
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    wanted = dict.fromkeys((PROVIDERS[provider], PROVIDERS["cpu"]))
    try:
        session = onnxruntime.InferenceSession(for_libraries(model), options, providers=list(wanted))
    except REFUSED as error:
        raise BadInput(f"ONNX Runtime cannot load {model}: {one_line(str(error))}; export it again") from error
    return {
        node.name or f"a {node.op_type} node": subgraph.ep_name
        for subgraph in session.get_provider_graph_assignment_info()
        for node in subgraph.get_nodes()
    }


def quantize(source: Path, target: Path, batches: Iterable[dict[str, Array]], nodes: Sequence[str]) -> None:
    """Writes a model whose convolutions `nodes` compute in int8, with QuantizeLinear and DequantizeLinear around them.

    batches: inputs that the ranges of activations are measured on, as the 99.999th percentile. Everything is symmetric
    and biases stay floats, as TensorRT wants it; weights have one scale per output channel. What a convolution gives
    is not rounded: TensorRT and OpenVINO need no scale there, and pictures gain 2 dB; only ONNX Runtime's own CPU
    kernels would want one, and compute in float32 without.
    """
    # Imported here: it needs onnx, which serving does not.
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize_statically

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, Array] | None:
            return next(self.batches, None)

    level = logging.root.manager.disable
    # It warns of pre-processing that graphs without redundant nodes do not need.
    logging.disable(logging.WARNING)
    try:
        quantize_statically(
            str(source),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=list(nodes),
            calibrate_method=CalibrationMethod.Percentile,
            use_external_data_format=True,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
    finally:
        logging.disable(level)


def _absent(provider: str, reason: str) -> str:
    return (
        f"provider {provider!r} cannot run the model on this machine ({one_line(reason)}); use --provider cpu, or a "
        "machine with an NVIDIA GPU, its driver and libraries (what is missing: `python -c 'import onnxruntime; "
        "onnxruntime.print_debug_info()'`)"
    )


def one_line(text: str) -> str:
    return " ".join(text.split())[:300]
