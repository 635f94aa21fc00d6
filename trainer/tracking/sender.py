"""From the journal to MLflow, in rounds that may fail. The one file here that imports mlflow.

Training appends lines to `journal.jsonl`; a thread reads them from there and sends them to MLflow, so that a server
that is slow, away or dying costs training nothing. How far the thread got stands in `tracking.json`. What could not be
sent is sent when the run is resumed, or by `python -m trainer.tracking replay`.

Aggregation: a line holds means over `tracking.log_every` images, and the journal keeps every line. MLflow gets the
first 1,000 lines one by one, of the next 1,000 the mean of every 2, of the next 2,000 the mean of every 4, and so on:
about 1,000 + 500·log2(lines / 1,000) points per metric. One million iterations are 1,000 points for a batch of 1 and
`log_every` 1,000, and 6,000 points if every iteration has a line of its own. Where a line falls depends on its number
in the journal alone, so that sending it again gives the same points.
"""

import hashlib
import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from likeness import atomic
from trainer.tracking.journal import (
    DOCUMENTS,
    JOURNAL,
    SETTINGS,
    STATE,
    Line,
    Place,
    Sent,
    State,
    lines_per_point,
    store_of,
)

# MLflow's defaults block a call to a dead server for minutes. No retries of its own: the thread retries, and MLflow's
# would draw numbers from Python's global generator, which belongs to the training.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would print passwords in URLs
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

PARAM_LIMIT = 500  # characters; settings.json has the whole value
PARAMS_AT_ONCE = 100
METRICS_AT_ONCE = 1000
FEWEST_METRICS_AT_ONCE = 25
NO_FORK = threading.RLock()
"""Held while mlflow is imported: a loader worker forked in the middle would inherit import locks nobody opens again."""
os.register_at_fork(before=NO_FORK.acquire, after_in_parent=NO_FORK.release, after_in_child=NO_FORK.release)


def say(text: str) -> None:
    """A line on stderr that leaves progress bars whole."""
    with NO_FORK:
        tqdm.write(text, file=sys.stderr)


class Outage(Exception):
    """MLflow cannot be used at the moment; the message says why, without credentials."""


class Rejected(Exception):
    """MLflow answers, and refuses what it was given."""


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _is_refusal(error: Exception) -> bool:
    """Whether MLflow itself has said no to what it was given, as opposed to a proxy in trouble before it."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    if isinstance(error, MlflowException):
        of_a_proxy = str(error).startswith("API request to ")
        return not of_a_proxy and error.error_code in (
            "INVALID_PARAMETER_VALUE",
            "BAD_REQUEST",
            "RESOURCE_DOES_NOT_EXIST",
        )
    # What artifacts are refused with.
    return isinstance(error, HTTPError) and error.response is not None and error.response.status_code in (400, 413, 415)


class Sender:
    """Sends what a run's folder holds, and MLflow does not have yet, in rounds.

    uri: may hold credentials. run_id: the run to go on with when the store's own is not known. progress: is told of
    every line and every picture that is done. Not thread-safe, but for `run_id` and `abandon`.
    """

    def __init__(
        self,
        run: Path,
        uri: str,
        state: State,
        run_id: str | None = None,
        progress: Callable[[int], object] = lambda done: None,
    ) -> None:
        self.run, self.uri, self.state, self.progress = run, uri, state, progress
        self.journal = run / JOURNAL
        self.sent = state.stores.setdefault(store_of(uri), Sent())
        self.sent.run_id = self.sent.run_id or run_id
        self.figures, self.pictures = self._place(self.sent.lines), self._place(self.sent.pictures)
        self.sent.lines, self.sent.pictures = self.figures.lines, self.pictures.lines
        self.client: Any = None
        self.connected = False
        self.refused: set[str] = set()
        self.told: set[tuple[str, bool]] = set()
        self.at_once = METRICS_AT_ONCE
        self.saving = threading.Lock()
        self.abandoned = False

    def _place(self, lines: int) -> Place:
        """The place behind so many lines, or behind the last one."""
        found = Place()
        for place, _ in found.ahead(self.journal):
            if place.lines > lines:
                break
            found = place
        return found

    def missing(self) -> tuple[int, int]:
        """How many lines and how many pictures MLflow does not have yet."""
        pictures = sum(1 for _, line in self.pictures.ahead(self.journal) if "picture" in line)
        return sum(1 for _, line in self.figures.ahead(self.journal) if "picture" not in line), pictures

    def save(self) -> None:
        """Writes `tracking.json`, unless somebody else has taken it over."""
        with self.saving:
            if not self.abandoned:
                atomic.write_text(self.run / STATE, json.dumps(asdict(self.state), indent=1) + "\n")

    def abandon(self) -> None:
        """From now on this sender writes nothing any more and stops between two calls."""
        with self.saving:
            self.abandoned = True

    def round(self, last: bool) -> int:
        """Sends all there is. Returns how many journal lines that were. Raises Outage; what arrived until then counts.

        last: nothing follows, so that means over an unfinished stretch of lines are sent, too.
        """
        before = self.sent.lines
        try:
            self._connect()
            self._send_figures(last)
            self._send_status()
            self._send_documents()
            self._send_pictures()
        except (Outage, Rejected) as error:
            self.connected = False
            self.at_once = max(self.at_once // 2, FEWEST_METRICS_AT_ONCE)
            raise Outage(str(error)) from error
        finally:
            self.save()
        self.at_once = min(self.at_once * 2, METRICS_AT_ONCE)
        return self.sent.lines - before

    def _call(self, function: Callable[..., Any], *arguments: object, **named: object) -> Any:
        """One call to MLflow. Raises Rejected or Outage, and nothing else."""
        if self.abandoned:
            raise Outage("given up")
        try:
            return function(*arguments, **named)
        # MLflow, requests, SQLAlchemy, a proxy that answers with a page of its own: nothing of it may end the thread.
        except Exception as error:
            raise (Rejected if _is_refusal(error) else Outage)(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        if "timed out" in text:
            return f"no answer within {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} s"
        system = re.search(r"\[Errno -?\d+\] ([^\"')]+)", text)
        return system[1] if system else re.sub(r"://\S*@", "://", text)[:200]

    def _connect(self) -> None:
        """Makes sure that the run exists: the known one, or a new one with everything still to be sent."""
        if self.connected:
            return
        if self.client is None:
            try:
                with NO_FORK:
                    import mlflow
            except ImportError as error:
                raise Outage(f"mlflow cannot be imported: {error}") from error
            self.client = self._call(mlflow.MlflowClient, tracking_uri=self.uri)
        try:
            if self.sent.run_id:
                self._check_run()
        except Rejected:
            # Another server, or one that lost its database. The token stays: it finds a run whose id was lost.
            self.sent.run_id, self.sent.lines, self.sent.pictures = None, 0, 0
            self.sent.documents, self.sent.status = {}, None
            self.figures, self.pictures = Place(), Place()
        if not self.sent.run_id:
            self._start_run()
        self.connected = True

    def _check_run(self) -> None:
        """Raises Rejected when the run does not exist, Outage when it is deleted, for it can be restored."""
        if self._call(self.client.get_run, self.sent.run_id).info.lifecycle_stage == "deleted":
            raise Outage(f"run {self.sent.run_id} is deleted; restore it in MLflow to have its figures there")

    def _start_run(self) -> None:
        from mlflow.entities import Param

        found = self._call(self.client.get_experiment_by_name, self.state.experiment)
        experiment = (
            found.experiment_id
            if found
            else self._call(self.client.create_experiment, self.state.experiment, self._artifacts())
        )
        wanted = f"tags.likeness_token = '{self.sent.token}'"
        runs = self._call(self.client.search_runs, [experiment], wanted, max_results=1)
        first = next((line for _, line in Place().ahead(self.journal)), {})
        run = (
            runs[0]
            if runs
            else self._call(
                self.client.create_run,
                experiment,
                start_time=first.get("time"),
                tags={"likeness_token": self.sent.token},
                run_name=self.run.resolve().name,
            )
        )
        settings = json.loads((self.run / DOCUMENTS / SETTINGS).read_text())
        params = [Param(key, str(value)[:PARAM_LIMIT]) for key, value in flatten(settings).items()]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            try:
                self._call(
                    self.client.log_batch,
                    run.info.run_id,
                    params=params[start : start + PARAMS_AT_ONCE],
                    synchronous=True,
                )
            except Rejected as error:
                self._refuse("settings", error)
        self.sent.run_id = run.info.run_id
        self.save()

    def _artifacts(self) -> str | None:
        """For a SQLite file, a folder beside it; a server knows its own place."""
        scheme, _, file = self.uri.partition(":///")
        return (Path(file).absolute().parent / "mlartifacts").as_uri() if scheme == "sqlite" else None

    def _send_figures(self, last: bool) -> None:
        """Metrics and notes, as many journal lines at once as fit into a batch."""
        metrics: list[Any] = []
        notes: dict[str, str] = {}
        group: list[Line] = []
        lines = 0
        place = behind = self.figures
        for place, line in self.figures.ahead(self.journal):
            lines += "picture" not in line
            if "note" in line:
                notes[f"note.{line['images']:010d}"] = line["note"]
            elif "picture" not in line:
                group.append(line)
            if place.lines % lines_per_point(place.lines - 1) == 0:
                metrics += self._points(group)
                group, behind = [], place
                if len(metrics) >= self.at_once:
                    self._deliver(metrics, notes, lines, behind)
                    metrics, notes, lines = [], {}, 0
        if last:
            metrics += self._points(group)
            behind = place
        if behind.lines > self.figures.lines:
            self._deliver(metrics, notes, lines, behind)

    def _points(self, group: list[Line]) -> list[Any]:
        """One metric per name: the mean over the lines that have it, at the last one's images and time."""
        from mlflow.entities import Metric

        points: list[Any] = []
        for name in dict.fromkeys(name for line in group for name in line if name not in ("images", "time")):
            having = [line for line in group if isinstance(line.get(name), int | float)]
            # MLflow turns infinities into ±1.8e308, which no chart survives; NaN is kept as it is.
            finite = [line[name] for line in having if not math.isinf(line[name])]
            if len(finite) < len(having):
                self._refuse(name, "it is infinite", for_good=False)
            if finite and name not in self.refused:
                end = having[-1]
                points.append(Metric(name, sum(finite) / len(finite), int(end.get("time", 0)), int(end["images"])))
        return points

    def _deliver(self, metrics: list[Any], notes: dict[str, str], lines: int, behind: Place) -> None:
        """Sends what so many lines became, and takes note of it."""
        for start in range(0, len(metrics), self.at_once):
            self._put(metrics[start : start + self.at_once])
        for name, text in notes.items():
            try:
                self._call(self.client.set_tag, self.sent.run_id, name, text, synchronous=True)
            except Rejected as error:
                self._refuse(name, error)
        self.progress(lines)
        self.figures, self.sent.lines = behind, behind.lines

    def _put(self, metrics: list[Any]) -> None:
        """Sends a batch. MLflow refuses it as a whole for one bad metric: then halves are tried, down to that one."""
        if not metrics:
            return
        try:
            self._call(self.client.log_batch, self.sent.run_id, metrics, synchronous=True)
        except Rejected as error:
            if len(metrics) > 1:
                self._put(metrics[: len(metrics) // 2])
                self._put([metric for metric in metrics[len(metrics) // 2 :] if metric.key not in self.refused])
            else:
                self._check_run()  # it may be the run that is wrong, and not the metric
                self._refuse(metrics[0].key, error, for_good=math.isfinite(metrics[0].value))

    def _refuse(self, name: str, reason: object, for_good: bool = True) -> None:
        """Says once that something is not in MLflow. for_good: and never tries it again."""
        if (name, for_good) not in self.told:
            self.told.add((name, for_good))
            say(f"warning: MLflow gets no {name!r} ({reason}); {self.run} keeps it")
        if for_good:
            self.refused.add(name)

    def _send_status(self) -> None:
        if self.sent.status == self.state.status:
            return
        status = self.state.status
        if status == "RUNNING":
            self._call(self.client.update_run, self.sent.run_id, status=status)
        else:
            self._call(self.client.set_terminated, self.sent.run_id, status)
        self.sent.status = status

    def _send_documents(self) -> None:
        for file in sorted((self.run / DOCUMENTS).glob("[!.]*")):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if self.sent.documents.get(file.name) != digest:
                try:
                    self._call(self.client.log_artifact, self.sent.run_id, str(file))
                except Rejected as error:
                    self._refuse(file.name, error)
                self.sent.documents = {**self.sent.documents, file.name: digest}  # `save` may be reading the old one

    def _send_pictures(self) -> None:
        """From the disk, one at a time; a picture that is gone or damaged is left out."""
        for place, line in self.pictures.ahead(self.journal):
            if "picture" in line:
                file = self.run / line["file"]
                try:
                    with Image.open(file) as opened:
                        picture = opened.convert("RGB")
                    self._call(
                        self.client.log_image,
                        self.sent.run_id,
                        picture,
                        key=line["picture"],
                        step=line["images"],
                        timestamp=line["time"],
                        synchronous=True,
                    )
                except (OSError, Rejected) as error:
                    self._refuse(str(file), error)
                self.progress(1)
            self.pictures, self.sent.pictures = place, place.lines


def counted(lines: int, pictures: int) -> str:
    """`1 line and 2 pictures`, and so on."""
    return " and ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in ((lines, "line"), (pictures, "picture")))
