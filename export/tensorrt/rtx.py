"""TensorRT-RTX: NVIDIA's parser and builder that need no GPU. The optional extra `tensorrt`; its licence is its own."""

import functools
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from likeness.command import BadInput
from likeness.engine_cache import Profile

REMEDY = "pip install 'likeness[tensorrt]'"
_LONGEST = 300


def version() -> str:
    """The installed version. Raises BadInput when there is none."""
    try:
        return importlib.metadata.version("tensorrt-rtx")
    except importlib.metadata.PackageNotFoundError as error:
        raise BadInput(f"TensorRT-RTX is not installed; {REMEDY}") from error


def installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("tensorrt_rtx") is not None


def refusals(model: Path | bytes) -> list[str]:
    """What TensorRT-RTX's parser refuses, one line per node: its name, its operator and the reason.

    model: a file, or a serialised model without external data. It takes a few things that TensorRT does not: an empty
    list does not stand for `export.tensorrt.rules.problems`.

    Raises BadInput when the package is absent.
    """
    library = _library()
    parser, _ = _parser(library)
    if isinstance(model, Path):
        accepted = parser.supports_model_v2(model.read_bytes(), str(model))
    else:
        accepted = parser.supports_model_v2(model)
    return [] if accepted else _errors(parser) or ["the parser refuses the model without naming a node"]


def build(model: Path | bytes, profile: Profile) -> bytes:
    """A serialised engine that takes the shapes of `profile`, on any GPU that TensorRT-RTX runs on.

    model: a file, with external data beside it or not, or a serialised model without external data. Weights and
    arithmetic keep the model's types: TF32, which TensorRT would use for float32, is off.

    Raises BadInput when the package is absent, or when it refuses the model or the profile.
    """
    library = _library()
    parser, network = _parser(library)
    # The parser owns the weights: it has to live until the engine is built.
    parsed = parser.parse_from_file(str(model)) if isinstance(model, Path) else parser.parse(model)
    named = str(model) if isinstance(model, Path) else "the model"
    if not parsed:
        raise BadInput(f"TensorRT-RTX refuses {named}: {'; '.join(_errors(parser)) or _last_error()}")
    builder = _builder(library)
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in profile.items():
        shapes.set_shape(name, smallest, usual, largest)
    config.add_optimization_profile(shapes)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise BadInput(f"TensorRT-RTX builds no engine of {named}: {_last_error()}")
    return bytes(built)


def _library() -> Any:
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise BadInput(f"TensorRT-RTX cannot be imported ({error}); {REMEDY}") from error
    return tensorrt_rtx


@functools.cache
def _logger(library: Any) -> Any:
    """Keeps what the library says, for errors. There is one for the process: later ones would be ignored."""

    class Logger(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= library.ILogger.Severity.ERROR:
                self.errors.append(message)

    return Logger()


@functools.cache
def _builder(library: Any) -> Any:
    return library.Builder(_logger(library))


def _parser(library: Any) -> tuple[Any, Any]:
    """A parser, and the empty network that it fills."""
    logger = _logger(library)
    logger.errors.clear()
    network = _builder(library).create_network(0)
    return library.OnnxParser(network, logger), network


def _errors(parser: Any) -> list[str]:
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    return [f"{_place(error)}: {error.code().name.lower()}, {_one_line(error.desc())}" for error in errors]


def _place(error: Any) -> str:
    if error.node() < 0:
        return "the model"
    return f"{error.node_name() or f'node {error.node()}'} ({error.node_operator()}, in {error.func()})"


def _last_error() -> str:
    errors = _logger(_library()).errors
    return _one_line(errors[-1]) if errors else "it gives no reason"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
