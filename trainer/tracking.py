"""Where a run's figures go: a local journal first, then MLflow. The one file here that imports mlflow."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shards import atomic
from shards.command import BadInput

# A tracker that does not answer is a clear error within seconds, not after MLflow's default of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from tqdm import tqdm

JOURNAL = "journal.jsonl"
PARAM_LIMIT = 500


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def read_journal(run: Path) -> list[dict[str, float]]:
    """The journal's lines: figures by name, each line with the `images` seen."""
    file = run / JOURNAL
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


class Tracker:
    """Figures, pictures and settings of one run; main process only.

    images: images seen at the start; journal lines beyond them, of a run that ended abruptly, are dropped.
    run_id: the MLflow run to continue, or None to start one. Raises BadInput when MLflow cannot be reached.
    """

    def __init__(
        self, run: Path, uri: str, experiment: str, settings: dict[str, Any], images: int, run_id: str | None
    ) -> None:
        self.journal = run / JOURNAL
        self.warned = False
        kept = [line for line in read_journal(run) if line["images"] <= images]
        atomic.write_text(self.journal, "".join(json.dumps(line) + "\n" for line in kept))
        try:
            self.client = mlflow.MlflowClient(tracking_uri=uri)
            self.run_id = run_id or self._start(experiment, run.name, settings)
            self.client.update_run(self.run_id, status="RUNNING")
        except MlflowException as error:
            raise BadInput(f"tracking.uri {uri} does not answer: {str(error).splitlines()[0]}") from error

    def _start(self, experiment: str, name: str, settings: dict[str, Any]) -> str:
        found = self.client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self.client.create_experiment(experiment, self._artifacts())
        run_id: str = self.client.create_run(experiment_id, run_name=name).info.run_id
        params = [Param(key, str(value)[:PARAM_LIMIT]) for key, value in flatten(settings).items()]
        self.client.log_batch(run_id, params=params)
        return run_id

    def _artifacts(self) -> str | None:
        """For a SQLite file, a folder beside it; a server knows its own place."""
        scheme, _, file = self.client.tracking_uri.partition(":///")
        return (Path(file).absolute().parent / "mlartifacts").as_uri() if scheme == "sqlite" else None

    def _send(self, call: Callable[..., object], *arguments: object, **named: object) -> None:
        """Tells MLflow something; where it fails, says so once and goes on, for the journal has the figures."""
        try:
            call(self.run_id, *arguments, **named)
        except MlflowException as error:
            if not self.warned:
                reason = str(error).splitlines()[0]
                tqdm.write(f"warning: MLflow fails ({reason}); figures are kept in {self.journal}", file=sys.stderr)
            self.warned = True

    def describe(self, name: str, content: dict[str, Any]) -> None:
        """Keeps a JSON document with the run."""
        self._send(self.client.log_dict, content, name)

    def log(self, images: int, figures: dict[str, float]) -> None:
        """Appends one line to the journal, then sends it to MLflow with `images` as the step."""
        with self.journal.open("a") as file:
            file.write(json.dumps({"images": images, **figures}) + "\n")
        now = int(time.time() * 1000)
        self._send(self.client.log_batch, [Metric(name, value, now, images) for name, value in figures.items()])

    def picture(self, images: int, name: str, picture: "np.ndarray[Any, Any]") -> None:
        """Logs a uint8 (H, W, 3) RGB picture."""
        self._send(self.client.log_image, picture, key=name, step=images)

    def close(self, finished: bool) -> None:
        """Marks the run as finished, or as killed when it can be resumed."""
        self._send(self.client.set_terminated, "FINISHED" if finished else "KILLED")
