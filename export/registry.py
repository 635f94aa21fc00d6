"""The exported model in MLflow: in its checkpoint's run, and in the registry. The one file here that imports mlflow."""

import contextlib
import io
import math
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# A tracker that does not answer costs seconds, not MLflow's default of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")

import mlflow
import mlflow.onnx
import numpy as np
import onnx
from mlflow.entities import Metric
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from onnx import ModelProto, ValueInfoProto
from onnx.external_data_helper import load_external_data_for_model

from deploy.metadata import PREFIX, Metadata
from deploy.registry import SCHEME
from export.gates.result import GateResult
from export.graph import opset_of
from export.weights import weights_of
from likeness.array import Array
from likeness.command import BadInput
from likeness.onnx_runtime import PROVIDERS, VERSION
from shards.reading.urls import redacted

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
NAME = "likeness-{method}"
ALIAS = "candidate"
ARTIFACT = "model"
"""The model's name in its run: `runs:/<run>/model`."""
REPORTS = "export"
"""The folder of the reports among the run's artifacts."""
DATA = "model.onnx.data"
"""Beside MLflow's model.onnx: weights that were in files beside ours."""
TAG_LIMIT = 250
"""Characters; longer metadata, such as the label schema, stay in the file."""
SLOWEST_UPLOAD = 5e6
"""Bytes per second; a server may answer only after it has passed a whole file on."""
LONGEST_REGISTRATION_S = 30


def check_names(name: str | None, alias: str) -> None:
    """Raises BadInput for a registered model's name or an alias that MLflow would refuse after the export."""
    if name is not None and (not name.strip() or re.search(r"[/:]", name)):
        raise BadInput(f"the registered model's name {name!r} is empty or has / or : in it; choose another one")
    if not re.fullmatch(r"[\w-]{1,255}", alias, re.ASCII) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise BadInput(
            f"the alias {alias!r} cannot be used: take letters, digits, _ and -, but not 'latest' or a version like v1"
        )


def log_model(
    model: Path,
    gates: Sequence[GateResult],
    run_id: str,
    uri: str,
    *,
    name: str | None = None,
    alias: str = ALIAS,
    example: Mapping[str, Array] | None = None,
    tags: Mapping[str, str] | None = None,
    reports: Sequence[Path] = (),
) -> str | None:
    """Logs a gated model to a run and registers it. Returns why that failed, in one line, or None.

    The model is already written then; a tracker that is away must not cost it, nor more than seconds.

    model: a file that `python -m export` wrote; weights beside it are logged with it. uri: the run's tracking store.
    name: of the registered model, `likeness-<method>` by default. alias: what its new version is then called:
    `models:/<name>@<alias>`; the version that was called so before loses it. example: one sample by input name, each
    (1, …), kept as the input example. tags: what the model's file does not say, such as the provider of the gates; the
    file's method, checkpoint hash, precision and opset become tags by themselves. reports: files kept with the model,
    and with the run.
    """
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        # MLflow would create an empty database there.
        return f"there is no tracking database {uri}"
    try:
        with _quiet(), _tracked_at(uri):
            client = mlflow.MlflowClient(tracking_uri=uri)
            # Before the weights are read and packed: a server that is away, or has not got the run.
            experiment = client.get_run(run_id).info.experiment_id
            proto, files = _with_weights(model)
            props = {entry.key: entry.value for entry in proto.metadata_props}
            metadata = Metadata.from_props(props, str(model))
            size = sum(file.stat().st_size for file in files) + _as_json(example)
            registered = name or NAME.format(method=metadata.method)
            with _in_experiment(experiment), _time_for_uploads(size):
                logged = mlflow.onnx.log_model(
                    proto,
                    name=ARTIFACT,
                    run_id=run_id,
                    step=metadata.images_seen,
                    registered_model_name=registered,
                    tags=_tags(props, proto, gates) | dict(tags or {}),
                    extra_files=[str(file) for file in reports],
                    **_stored(proto, len(files) > 1, example),
                )
                for file in reports:
                    client.log_artifact(run_id, str(file), REPORTS)
            client.log_batch(run_id, metrics=_metrics(gates, logged.model_id), synchronous=True)
            # Last, so that whoever asks for the alias finds everything.
            client.set_registered_model_alias(registered, alias, str(logged.registered_model_version))
    # MLflow, requests, SQLAlchemy, a proxy that answers with a page of its own: nothing of it may cost the model.
    except Exception as error:
        return _reason(error, uri)
    return None


def in_words(method: str, uri: str, name: str | None = None, alias: str = ALIAS) -> str:
    """Where `log_model` registered a model, and how it is loaded, in one line."""
    location = f"{SCHEME}{name or NAME.format(method=method)}@{alias}"
    place = f"MLFLOW_TRACKING_URI={shlex.quote(redacted(uri))}"
    return f"registered as {location}; load it: {place} python -m deploy batch --model {shlex.quote(location)} …"


def _with_weights(model: Path) -> tuple[ModelProto, list[Path]]:
    """The model with all its weights, and its files."""
    proto = onnx.load(model, load_external_data=False)
    files = [model, *weights_of(proto, model)]
    if len(files) > 1:
        load_external_data_for_model(proto, str(model.parent))
    return proto, files


def _stored(proto: ModelProto, external: bool, example: Mapping[str, Array] | None) -> dict[str, Any]:
    """How MLflow keeps a model, and how it opens it again. external: whether weights lie in a file beside it."""
    return {
        "await_registration_for": LONGEST_REGISTRATION_S,
        "signature": signature(proto),
        "input_example": dict(example) if example else None,
        # Everybody has it. MLflow's default would change to the CPU silently where a GPU is missing.
        "onnx_execution_providers": [PROVIDERS["cpu"]],
        "pip_requirements": [f"onnx=={onnx.__version__}", f"onnxruntime=={VERSION}"],
        "save_as_external_data": external,
        "location": DATA if external else None,
    }


def signature(model: ModelProto) -> ModelSignature:
    """What the graph takes and gives: names, types, and shapes with -1 for every dynamic axis."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    return ModelSignature(_schema(inputs), _schema(model.graph.output))


def _schema(values: Iterable[ValueInfoProto]) -> Schema:
    return Schema([_tensor_spec(value) for value in values])


def _tensor_spec(value: ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    return TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape, value.name)


def _tags(props: Mapping[str, str], model: ModelProto, gates: Sequence[GateResult]) -> dict[str, str]:
    """The file's short metadata, its opset, and how each gate ended."""
    short = {name: value for name, value in props.items() if value and len(value) <= TAG_LIMIT}
    ended = {f"{PREFIX}gate.{gate.name}": "passed" if gate.passed else "failed" for gate in gates}
    return short | {f"{PREFIX}opset": str(opset_of(model))} | ended


def _metrics(gates: Sequence[GateResult], model_id: str) -> list[Metric]:
    """The gates' figures, of the run and of this very model: a run may be exported more than once."""
    now = int(time.time() * 1000)
    return [
        Metric(f"export/{gate.name}/{name}", float(value), now, 0, model_id=model_id)
        for gate in gates
        for name, value in gate.figures.items()
        # MLflow would make 1.8e308 of an infinity.
        if isinstance(value, int | float) and math.isfinite(value)
    ]


@contextlib.contextmanager
def _tracked_at(uri: str) -> Iterator[None]:
    """`mlflow.onnx` knows no client: it asks the process where to go."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None is "as before"


@contextlib.contextmanager
def _in_experiment(identifier: str) -> Iterator[None]:
    """Without an active run `mlflow.onnx` asks the environment which experiment a model is of, and not the run."""
    names = ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ["MLFLOW_EXPERIMENT_ID"] = identifier
    try:
        yield
    finally:
        del os.environ["MLFLOW_EXPERIMENT_ID"]
        os.environ.update(before)


def _as_json(example: Mapping[str, Array] | None) -> int:
    """About how many bytes MLflow writes for an example, which it keeps as JSON, twice."""
    return sum(2 * 22 * value.size for value in example.values()) if example else 0


@contextlib.contextmanager
def _time_for_uploads(size: int) -> Iterator[None]:
    """Lets a call last as long as `size` bytes may take. For what comes after a call that was answered in time."""
    before = os.environ[TIMEOUT]
    os.environ[TIMEOUT] = str(math.ceil(float(before) + size / SLOWEST_UPLOAD))
    try:
        yield
    finally:
        os.environ[TIMEOUT] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow announces each step, and shows progress bars; what matters of it is returned."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _reason(error: Exception, uri: str) -> str:
    """One line, without passwords in URLs."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "timed out" in text:
        return f"no answer from {redacted(uri)} within {os.environ[TIMEOUT]} s"
    if system := re.search(r"\[Errno -?\d+\] ([^\"')]+)", text):
        return f"{redacted(uri)} does not answer ({system[1]})"
    return re.sub(r"://\S*@", "://", text)[:300]
