"""The exported model and its gates in the checkpoint's MLflow run. The one file here that imports mlflow."""

import os
from collections.abc import Sequence
from pathlib import Path

# A tracker that does not answer costs seconds, not MLflow's default of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")

import mlflow
from mlflow.exceptions import MlflowException

from export.gates import GateResult


def log_model(model: Path, gates: Sequence[GateResult], run_id: str, uri: str) -> str | None:
    """Adds the model and its gates' figures to a run. Returns why that failed, in one line, or None.

    The model is already written then; a tracker that is away must not cost it.
    """
    figures = {
        f"export/{gate.name}/{name}": float(value)
        for gate in gates
        for name, value in gate.figures.items()
        if isinstance(value, int | float)
    }
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        # MLflow would create an empty database there.
        return f"there is no tracking database {uri}"
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        for name, value in figures.items():
            client.log_metric(run_id, name, value)
        client.log_dict(run_id, {"gates": [gate.to_json() for gate in gates]}, "model/gates.json")
        client.log_artifact(run_id, str(model), "model")
    except (MlflowException, OSError) as error:
        return str(error).splitlines()[0]
    return None
