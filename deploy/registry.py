"""Models from an MLflow registry, downloaded once per version. The one file of this room that imports mlflow."""

import errno
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from likeness import atomic
from likeness.command import BadInput
from likeness.process.surroundings import cached
from shards.reading.urls import redacted, scrubbed

SCHEME = "models:/"
FILE = "model.onnx"
"""What MLflow calls every ONNX model; weights of ours lie beside it."""
_LOCATION = re.compile(r"models:/+(?P<name>[^/:@]+)(@(?P<alias>[^/:@]+)|/(?P<version>\d+))")


def fetch(location: str) -> Path:
    """The model file of `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    The registry is the one that MLFLOW_REGISTRY_URI names, else MLFLOW_TRACKING_URI. A version is downloaded once, into
    the user's cache folder (`likeness.process.surroundings`); which version an alias stands for is asked every time.
    Raises BadInput when mlflow is not installed, no registry is named or answers, or it has no such model.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise BadInput(f"{location} is no model in a registry; write models:/NAME@ALIAS or models:/NAME/VERSION")
    client, errors = _client()
    try:
        version = match["version"] or client.get_model_version_by_alias(match["name"], match["alias"]).version
        created = client.get_model_version(match["name"], version).creation_timestamp
    except errors as error:
        raise BadInput(f"{location} cannot be had from {_registry()}: {scrubbed(str(error), _uri())}") from error
    # A registered model that was deleted and made anew counts its versions from 1 again.
    digest = hashlib.sha256(os.fsencode(f"{_uri()} {created}")).hexdigest()[:12]
    folder = cached("models", f"{match['name']}-{version}-{digest}")
    if not folder.exists():
        _download(f"{SCHEME}{match['name']}/{version}", folder)
    return folder / FILE


def _uri() -> str:
    return os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI", "")


def _stores() -> dict[str, str]:
    """Named in every call: MLflow would otherwise keep to the stores that it was given first in a process."""
    return {"tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or _uri(), "registry_uri": _uri()}


def _registry() -> str:
    return redacted(_uri()) if "://" in _uri() else _uri()


def _client() -> tuple[Any, tuple[type[Exception], ...]]:
    """MLflow's client, and what it raises: an ImportError where a small MLflow is asked to open a database."""
    if not _uri():
        # MLflow would make an empty database in the working folder, and say that the model is not there.
        raise BadInput("no registry is named: set MLFLOW_TRACKING_URI to your MLflow server, such as http://host:5000")
    # A server that does not answer costs seconds, not MLflow's default of minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise BadInput(
            f"models from a registry need MLflow ({error}): pip install 'likeness[registry]', or give a file"
        ) from error
    errors = (MlflowException, ImportError)
    try:
        return MlflowClient(**_stores()), errors
    except errors as error:
        raise BadInput(f"MLflow cannot use the registry {_registry()}: {scrubbed(str(error), _uri())}") from error


def _download(source: str, folder: Path) -> None:
    """Downloads a model version into a new folder, which another process may win the race for."""
    try:
        with atomic.new_folder(folder) as partial:
            _fill(source, partial)
    except (BadInput, OSError):
        if not (folder / FILE).is_file():  # where it is, another process was first
            raise


def _fill(source: str, folder: Path) -> None:
    from mlflow.artifacts import download_artifacts

    try:
        download_artifacts(artifact_uri=source, dst_path=str(folder), **_stores())
    except Exception as error:  # MLflow lets through what the libraries of all its artifact stores raise
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BadInput(f"{source} cannot be downloaded from {_registry()}: {scrubbed(str(error), _uri())}") from error
    if not (folder / FILE).is_file():
        raise BadInput(f"{source} is no ONNX model: it has no file {FILE}; register one with `python -m export`")
