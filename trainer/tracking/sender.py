"""From a run's folder to MLflow, in rounds that may fail.

Training appends lines to the journal; a thread reads them from there and sends them to MLflow, so that a server that is
slow, away or dying costs training nothing. How far the thread got stands in `tracking.json`. What could not be sent is
sent when the run is resumed, or by `python -m trainer.tracking replay`.
"""

import hashlib
import json
import math
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from likeness import atomic
from trainer.tracking.aggregation import Point, lines_per_point, mean_points
from trainer.tracking.fork_guard import write_line
from trainer.tracking.journal import JOURNAL, Line, Position
from trainer.tracking.mlflow_client import PARAMS_AT_ONCE, Client, Outage, Rejected
from trainer.tracking.state import DOCUMENTS, SETTINGS, STATE, Delivered, State, store_name

LARGEST_BATCH, SMALLEST_BATCH = 1000, 25
"""Points in one call to MLflow; halved after each failed round, doubled after each good one."""


class Sender:
    """Sends what a run's folder holds, and MLflow does not have yet, in rounds.

    Not thread-safe, but for `run_id` and `abandon`.
    """

    def __init__(
        self,
        run: Path,
        uri: str,
        state: State,
        run_id: str | None = None,
        progress: Callable[[int], object] = lambda done: None,
    ) -> None:
        """uri: may hold credentials. run_id: the MLflow run to go on with when the store's own is not known.

        progress: called with the number of lines or pictures that have just been sent.
        """
        self.run, self.uri, self.state, self.progress = run, uri, state, progress
        self.journal = run / JOURNAL
        self.delivered = state.stores.setdefault(store_name(uri), Delivered())
        self.delivered.run_id = self.delivered.run_id or run_id
        self._metrics_sent = self._position_after(self.delivered.lines)
        self._pictures_sent = self._position_after(self.delivered.pictures)
        self.delivered.lines, self.delivered.pictures = self._metrics_sent.lines, self._pictures_sent.lines
        self._client = Client(uri)
        self._connected = False
        self._refused: set[str] = set()
        self._warned: set[tuple[str, bool]] = set()
        self._batch = LARGEST_BATCH
        self._saving = threading.Lock()
        self._abandoned = False

    def _position_after(self, lines: int) -> Position:
        """The position behind so many lines, or behind the last one."""
        last = Position()
        for position, _ in last.lines_after(self.journal):
            if position.lines > lines:
                break
            last = position
        return last

    @property
    def run_id(self) -> str:
        """The id of the run that is sent to. Only once `_connect` has seen to it."""
        assert self.delivered.run_id is not None
        return self.delivered.run_id

    def missing(self) -> tuple[int, int]:
        """How many lines and how many pictures MLflow does not have yet."""
        lines = sum(1 for _, line in self._metrics_sent.lines_after(self.journal) if "picture" not in line)
        return lines, sum(1 for _, line in self._pictures_sent.lines_after(self.journal) if "picture" in line)

    def save(self) -> None:
        """Writes `tracking.json`, unless somebody else has taken it over."""
        with self._saving:
            if not self._abandoned:
                atomic.write_text(self.run / STATE, json.dumps(asdict(self.state), indent=1) + "\n")

    def abandon(self) -> None:
        """From now on this sender writes nothing any more and stops between two calls.

        A call that hangs cannot be ended. Its thread may come back long after the run's folder has another writer.
        """
        with self._saving:
            self._abandoned = True
            self._client.abandon()

    def send_round(self, last: bool) -> int:
        """Sends all there is. Returns how many journal lines that were. Raises Outage; what arrived until then counts.

        last: nothing follows, so that means over an unfinished stretch of lines are sent, too.
        """
        before = self.delivered.lines
        try:
            self._connect()
            self._send_metrics(last)
            self._send_status()
            self._send_documents()
            self._send_pictures()
        except (Outage, Rejected) as error:
            self._connected = False
            # A request may have been too large for the server's time limit.
            self._batch = max(self._batch // 2, SMALLEST_BATCH)
            raise Outage(str(error)) from error
        finally:
            self.save()
        self._batch = min(self._batch * 2, LARGEST_BATCH)
        return self.delivered.lines - before

    def _connect(self) -> None:
        """Makes sure that the run exists: the known one, or a new one with everything still to be sent."""
        if self._connected:
            return
        self._client.connect()
        try:
            if self.delivered.run_id:
                self._client.check_run(self.run_id)
        except Rejected:
            # Another server, or one that lost its database. The token stays: it finds a run whose id was lost.
            self.delivered.run_id, self.delivered.lines, self.delivered.pictures = None, 0, 0
            self.delivered.documents, self.delivered.status = {}, None
            self._metrics_sent, self._pictures_sent = Position(), Position()
        if not self.delivered.run_id:
            self._start_run()
        self._connected = True

    def _start_run(self) -> None:
        """Finds or makes the run in MLflow, and gives it its settings."""
        first = next((line for _, line in Position().lines_after(self.journal)), {})
        run_id = self._client.find_or_create_run(
            self.state.experiment, self.delivered.token, self.run.resolve().name, first.get("time")
        )
        params = list(flatten(json.loads((self.run / DOCUMENTS / SETTINGS).read_text(encoding="utf-8"))).items())
        for start in range(0, len(params), PARAMS_AT_ONCE):
            try:
                self._client.log_params(run_id, dict(params[start : start + PARAMS_AT_ONCE]))
            except Rejected as error:
                self._refuse("settings", error)
        self.delivered.run_id = run_id
        self.save()

    def _send_metrics(self, last: bool) -> None:
        """Metrics and notes, as many journal lines at once as fit into a batch."""
        points: list[Point] = []
        notes: dict[str, str] = {}
        group: list[Line] = []
        lines = 0
        # `complete` is behind the last line whose point is complete: only so far may be counted as delivered.
        position = complete = self._metrics_sent
        for position, line in self._metrics_sent.lines_after(self.journal):
            lines += "picture" not in line
            if "note" in line:
                notes[f"note.{line['images']:010d}"] = line["note"]
            elif "picture" not in line:
                group.append(line)
            if position.lines % lines_per_point(position.lines - 1) == 0:
                points += self._points(group)
                group, complete = [], position
                if len(points) >= self._batch:
                    self._deliver(points, notes, lines, complete)
                    points, notes, lines = [], {}, 0
        if last:
            points += self._points(group)
            complete = position
        if complete.lines > self._metrics_sent.lines:
            self._deliver(points, notes, lines, complete)

    def _points(self, group: list[Line]) -> list[Point]:
        """The points that a group of lines becomes, without metrics that MLflow has refused."""
        points, infinite = mean_points(group)
        for name in infinite:
            self._refuse(name, "it is infinite", for_good=False)
        return [point for point in points if point.name not in self._refused]

    def _deliver(self, points: list[Point], notes: dict[str, str], lines: int, position: Position) -> None:
        """Sends what so many lines became, up to a position, and records that."""
        for start in range(0, len(points), self._batch):
            self._put(points[start : start + self._batch])
        for name, text in notes.items():
            try:
                self._client.set_tag(self.run_id, name, text)
            except Rejected as error:
                self._refuse(name, error)
        self.progress(lines)
        self._metrics_sent, self.delivered.lines = position, position.lines

    def _put(self, points: list[Point]) -> None:
        """Sends a batch. MLflow refuses it as a whole for one bad metric: then halves are tried, down to that one."""
        if not points:
            return
        try:
            self._client.log_metrics(self.run_id, points)
        except Rejected as error:
            if len(points) > 1:
                self._put(points[: len(points) // 2])
                self._put([point for point in points[len(points) // 2 :] if point.name not in self._refused])
            else:
                self._client.check_run(self.run_id)  # it may be the run that is wrong, and not the metric
                self._refuse(points[0].name, error, for_good=math.isfinite(points[0].value))

    def _refuse(self, name: str, reason: object, for_good: bool = True) -> None:
        """Warns once that something is not in MLflow. for_good: and never tries it again."""
        if (name, for_good) not in self._warned:
            self._warned.add((name, for_good))
            write_line(f"warning: MLflow gets no {name!r} ({reason}); {self.run} keeps it")
        if for_good:
            self._refused.add(name)

    def _send_status(self) -> None:
        status = self.state.status
        if self.delivered.status != status:
            self._client.set_status(self.run_id, status)
            self.delivered.status = status

    def _send_documents(self) -> None:
        for file in sorted((self.run / DOCUMENTS).glob("[!.]*")):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if self.delivered.documents.get(file.name) != digest:
                try:
                    self._client.log_artifact(self.run_id, file)
                except Rejected as error:
                    self._refuse(file.name, error)
                # A new dict, because `save` may be reading the old one in another thread.
                self.delivered.documents = {**self.delivered.documents, file.name: digest}

    def _send_pictures(self) -> None:
        """From the disk, one at a time; a picture that is gone or damaged is left out."""
        for position, line in self._pictures_sent.lines_after(self.journal):
            if "picture" in line:
                file = self.run / line["file"]
                try:
                    with Image.open(file) as opened:
                        picture = opened.convert("RGB")
                    self._client.log_image(self.run_id, picture, line["picture"], line["images"], line["time"])
                except (OSError, Rejected) as error:
                    self._refuse(str(file), error)
                self.progress(1)
            self._pictures_sent, self.delivered.pictures = position, position.lines


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def counted(lines: int, pictures: int) -> str:
    """`1 line and 2 pictures`, and so on."""
    return " and ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in ((lines, "line"), (pictures, "picture")))
