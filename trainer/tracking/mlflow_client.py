"""Calls to MLflow that either succeed or raise one of two errors. The one file of the trainer that imports mlflow."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from trainer.tracking.aggregation import Point
from trainer.tracking.fork_guard import NO_FORK

# MLflow's defaults block a call to a dead server for minutes. No retries of its own: the thread retries, and MLflow's
# would draw numbers from Python's global generator, which belongs to the training.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would print passwords in URLs
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

PARAM_LIMIT = 500
"""Characters that MLflow takes of a setting; settings.json has the whole value."""
PARAMS_AT_ONCE = 100
"""Settings that MLflow takes in one call."""


class Outage(Exception):
    """MLflow cannot be used at the moment; the message says why, without credentials."""


class Rejected(Exception):
    """MLflow answers, and refuses what it was sent: sending it again would not help."""


class Client:
    """One tracking store. Every method raises Outage or Rejected, and nothing else.

    Not thread-safe, but for `abandon`.
    """

    def __init__(self, uri: str) -> None:
        """uri: MLflow's tracking URI; may hold credentials."""
        self.uri = uri
        self._mlflow: Any = None
        self._abandoned = False

    def abandon(self) -> None:
        """From now on every call raises Outage."""
        self._abandoned = True

    def connect(self) -> None:
        """Imports mlflow and opens the store, unless that is done."""
        if self._mlflow is not None:
            return
        try:
            with NO_FORK:
                import mlflow
        except ImportError as error:
            raise Outage(f"mlflow cannot be imported: {error}") from error
        self._mlflow = self._call(mlflow.MlflowClient, tracking_uri=self.uri)

    def check_run(self, run_id: str) -> None:
        """Raises Rejected when the run does not exist, Outage when it is deleted, for it can be restored."""
        if self._call(self._mlflow.get_run, run_id).info.lifecycle_stage == "deleted":
            raise Outage(f"run {run_id} is deleted; restore it in MLflow to have its figures there")

    def find_or_create_run(self, experiment: str, token: str, name: str, start_time: int | None) -> str:
        """The id of the run whose tag is `token`; a new run of that name, in ms since 1970, where there is none.

        The token is why no run is made twice when the answer to its creation was lost on the way.
        """
        found = self._call(self._mlflow.get_experiment_by_name, experiment)
        experiment_id = (
            found.experiment_id
            if found
            else self._call(self._mlflow.create_experiment, experiment, self._artifact_location())
        )
        wanted = f"tags.likeness_token = '{token}'"
        runs = self._call(self._mlflow.search_runs, [experiment_id], wanted, max_results=1)
        if runs:
            run = runs[0]
        else:
            tags = {"likeness_token": token}
            run = self._call(self._mlflow.create_run, experiment_id, start_time=start_time, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _artifact_location(self) -> str | None:
        """For a SQLite file, a folder beside it; a server knows its own place."""
        scheme, _, file = self.uri.partition(":///")
        return (Path(file).absolute().parent / "mlartifacts").as_uri() if scheme == "sqlite" else None

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """At most PARAMS_AT_ONCE settings; long values are cut."""
        from mlflow.entities import Param

        cut = [Param(name, str(value)[:PARAM_LIMIT]) for name, value in params.items()]
        self._call(self._mlflow.log_batch, run_id, params=cut, synchronous=True)

    def log_metrics(self, run_id: str, points: Sequence[Point]) -> None:
        """All of them, or none: MLflow refuses a batch as a whole for one bad metric."""
        from mlflow.entities import Metric

        metrics = [Metric(point.name, point.value, point.time, point.images) for point in points]
        self._call(self._mlflow.log_batch, run_id, metrics, synchronous=True)

    def set_tag(self, run_id: str, name: str, text: str) -> None:
        self._call(self._mlflow.set_tag, run_id, name, text, synchronous=True)

    def set_status(self, run_id: str, status: str) -> None:
        """RUNNING, FINISHED or KILLED."""
        set_it = self._mlflow.update_run if status == "RUNNING" else self._mlflow.set_terminated
        self._call(set_it, run_id, status=status)

    def log_artifact(self, run_id: str, file: Path) -> None:
        self._call(self._mlflow.log_artifact, run_id, str(file))

    def log_image(self, run_id: str, picture: Image.Image, name: str, images: int, time: int) -> None:
        """images: seen when it was painted; time: in ms since 1970."""
        self._call(self._mlflow.log_image, run_id, picture, key=name, step=images, timestamp=time, synchronous=True)

    def _call(self, function: Callable[..., Any], *arguments: object, **named: object) -> Any:
        if self._abandoned:
            raise Outage("given up")
        try:
            return function(*arguments, **named)
        # MLflow, requests, SQLAlchemy, a proxy that answers with a page of its own: nothing of it may end the thread.
        except Exception as error:
            raise (Rejected if _is_refusal(error) else Outage)(_reason(error)) from error


def _is_refusal(error: Exception) -> bool:
    """Whether MLflow itself has said no to what it was sent, as opposed to a proxy in trouble before it."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    if isinstance(error, MlflowException):
        # What MLflow makes of an answer that is not its own server's.
        of_a_proxy = str(error).startswith("API request to ")
        return not of_a_proxy and error.error_code in (
            "INVALID_PARAMETER_VALUE",
            "BAD_REQUEST",
            "RESOURCE_DOES_NOT_EXIST",
        )
    # What artifacts are refused with.
    return isinstance(error, HTTPError) and error.response is not None and error.response.status_code in (400, 413, 415)


def _reason(error: Exception) -> str:
    """An error in a few words, without credentials."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "timed out" in text:
        return f"no answer within {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} s"
    system = re.search(r"\[Errno -?\d+\] ([^\"')]+)", text)
    return system[1] if system else re.sub(r"://\S*@", "://", text)[:200]
