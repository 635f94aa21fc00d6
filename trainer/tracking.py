"""Where a run's figures go: a journal on the disk first, then MLflow. The one file here that imports mlflow.

Training appends lines to `journal.jsonl`; a thread reads them from there and sends them to MLflow, so that a server
that is slow, away or dying costs training nothing. How far the thread got stands in `tracking.json`. What could not be
sent is sent when the run is resumed, or by `python -m trainer.tracking replay`.

Aggregation: a line holds means over `tracking.log_every` images, and the journal keeps every line. MLflow gets the
first 1,000 lines one by one, of the next 1,000 the mean of every 2, of the next 2,000 the mean of every 4, and so on:
about 1,000 + 500·log2(lines / 1,000) points per metric. One million iterations are 1,000 points for a batch of 1 and
`log_every` 1,000, and 6,000 points if every iteration has a line of its own. Where a line falls depends on its number
in the journal alone, so that sending it again gives the same points.
"""

import argparse
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from shards import atomic
from shards.command import BadInput, run_command
from shards.store import redacted

# MLflow's defaults block a call to a dead server for minutes. No retries of its own: the thread retries, and MLflow's
# would draw numbers from Python's global generator, which belongs to the training.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would print passwords in URLs
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

JOURNAL = "journal.jsonl"
STATE = "tracking.json"
DOCUMENTS = "documents"
SETTINGS = "settings.json"

PACE_S = 1.0  # between two rounds of sending, so that a fast training is sent in few batches
LONGEST_PAUSE_S = 60.0  # between two tries in a long outage
MOST_WAITING = 10_000  # journal lines that wait for a full disk
PARAM_LIMIT = 500  # characters; settings.json has the whole value
PARAMS_AT_ONCE = 100
METRICS_AT_ONCE = 1000
FEWEST_METRICS_AT_ONCE = 25
SINGLE_LINES = 1000  # that MLflow gets one by one; beyond, it gets means of ever more lines

_NO_FORK = threading.RLock()
"""Held while mlflow is imported: a loader worker forked in the middle would inherit import locks nobody opens again."""
os.register_at_fork(before=_NO_FORK.acquire, after_in_parent=_NO_FORK.release, after_in_child=_NO_FORK.release)

Line = dict[str, Any]


def say(text: str) -> None:
    """A line on stderr that leaves progress bars whole."""
    with _NO_FORK:
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


def without_credentials(value: Any) -> Any:
    """Settings with every URL in them reduced to what may be shown."""
    if isinstance(value, dict):
        return {name: without_credentials(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_credentials(each) for each in value]
    return redacted(value) if isinstance(value, str) and "://" in value and re.search("[@?#]", value) else value


def store_of(uri: str) -> str:
    """The name of a tracking store in `tracking.json`: no credentials, no relative path."""
    scheme, _, file = uri.partition(":///")
    if scheme == "sqlite":
        return f"sqlite:///{Path(file).absolute()}"
    shown: str = without_credentials(uri)
    return shown.rstrip("/")


def lines_per_point(index: int) -> int:
    """How many journal lines share a point in MLflow, at a line's index from 0."""
    return 1 if index < SINGLE_LINES else 2 ** (int(math.log2(index // SINGLE_LINES)) + 1)


def _parsed(text: bytes) -> Line | None:
    """A line of the journal, or None for one that was cut short by a power cut or a full disk."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "images" in line else None


def read_journal(run: Path) -> list[dict[str, float]]:
    """The journal's figures, each line with the `images` seen and the `time` in ms since 1970.

    Lines about pictures and notes, and one that was cut short, are left out.
    """
    file = run / JOURNAL
    lines = [_parsed(text) for text in file.read_bytes().splitlines()] if file.is_file() else []
    return [line for line in lines if line is not None and not {"picture", "note"} & line.keys()]


@dataclass
class Place:
    """How far a reader of the journal got: whole lines, and the bytes that they take."""

    lines: int = 0
    offset: int = 0

    def ahead(self, journal: Path) -> Iterator[tuple["Place", Line]]:
        """The lines from here on, each with the place behind it. A last line without its end is not there yet."""
        place = self
        with journal.open("rb") as file:
            file.seek(self.offset)
            for text in file:
                if not text.endswith(b"\n"):
                    return
                place = Place(place.lines + 1, place.offset + len(text))
                yield place, _parsed(text) or {}


@dataclass
class Sent:
    """What one tracking store has of a run.

    token: a tag that finds the run again when the answer to its creation was lost. lines: journal lines whose figures
    and notes arrived. pictures: journal lines whose pictures arrived. documents: SHA-256 by name.
    """

    run_id: str | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    lines: int = 0
    pictures: int = 0
    documents: dict[str, str] = field(default_factory=dict)
    status: str | None = None


@dataclass
class State:
    """The content of `tracking.json`. uri: the training's store, without credentials. status: what the run is now."""

    uri: str
    experiment: str
    status: str = "RUNNING"
    stores: dict[str, Sent] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Path) -> "State | None":
        """None where there is none, or where it is damaged: then everything is sent again, which changes nothing."""
        try:
            content = json.loads((run / STATE).read_text())
            return cls(**{**content, "stores": {uri: Sent(**sent) for uri, sent in content["stores"].items()}})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def tracked_run(run: Path, uri: str) -> str | None:
    """The id of the MLflow run that a store has for a run's folder; None as long as there is none."""
    state = State.read(run)
    sent = state.stores.get(store_of(uri)) if state else None
    return sent.run_id if sent else None


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
                with _NO_FORK:
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


class Tracker:
    """Figures, pictures, notes and settings of one run; main process only.

    No method waits for MLflow but `close`, and none fails because of it.

    images: images seen at the start; journal lines beyond them, of a run that ended abruptly, are dropped.
    run_id: the MLflow run to go on with where the run's folder does not know it, such as that of a checkpoint.
    """

    def __init__(
        self, run: Path, uri: str, experiment: str, settings: dict[str, Any], images: int, run_id: str | None
    ) -> None:
        self.run = run
        self.journal = run / JOURNAL
        state = State.read(run) or State("", "")
        state.uri, state.experiment, state.status = store_of(uri), experiment, "RUNNING"
        self._drop_lines_beyond(images, state.stores.values())
        self._lock = lock(run)
        atomic.write_text(run / DOCUMENTS / SETTINGS, json.dumps(without_credentials(settings), indent=1) + "\n")
        self._sender = Sender(run, uri, state, run_id)
        self._sender.save()
        self._waiting: list[str] = []
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def _drop_lines_beyond(self, images: int, stores: Iterable[Sent]) -> None:
        """Takes lines out of the journal, and out of what the stores are known to have of it."""
        lines = self.journal.read_bytes().splitlines(keepends=True) if self.journal.is_file() else []
        parsed = [_parsed(text) for text in lines]
        kept = [line is not None and line["images"] <= images for line in parsed]
        for sent in stores:
            sent.lines, sent.pictures = sum(kept[: sent.lines]), sum(kept[: sent.pictures])
        atomic.write_bytes(self.journal, b"".join(text for text, keep in zip(lines, kept, strict=True) if keep))

    @property
    def run_id(self) -> str | None:
        """The MLflow run, None until a server has given one."""
        return self._sender.sent.run_id

    def _append(self, images: int, content: dict[str, Any]) -> None:
        """Adds a line to the journal. A disk that takes nothing costs a warning: lines wait, and go with later ones."""
        line = json.dumps({**content, "images": images, "time": int(time.time() * 1000)})
        self._waiting = [*self._waiting[1 - MOST_WAITING :], line + "\n"]
        size: int | None = None
        try:
            with self.journal.open("ab", buffering=0) as file:
                size = file.tell()
                text = "".join(self._waiting).encode()
                if file.write(text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # Half a line would spoil the next one.
            if size is not None:
                with suppress(OSError):
                    os.truncate(self.journal, size)
            if len(self._waiting) == 1:
                say(f"warning: {self.journal} cannot be written ({error}); figures wait in memory")
            return
        if len(self._waiting) > 1:
            say(f"{self.journal} is written again, {len(self._waiting)} lines at once")
        self._waiting = []
        self._news.set()

    def describe(self, name: str, content: dict[str, Any]) -> None:
        """Keeps a JSON document with the run, under `documents/`."""
        atomic.write_text(self.run / DOCUMENTS / name, json.dumps(content, indent=1) + "\n")
        self._news.set()

    def log(self, images: int, figures: dict[str, float]) -> None:
        """Appends a line to the journal; MLflow gets it later, with `images` as the step."""
        self._append(images, {name: float(value) for name, value in figures.items()})

    def note(self, images: int, text: str) -> None:
        """Appends an event in words to the journal; in MLflow it becomes a tag."""
        self._append(images, {"note": text})

    def picture(self, images: int, name: str, picture: "np.ndarray[Any, Any]") -> None:
        """Sends a uint8 (H, W, 3) RGB picture from `grids/<images>.png`, which is written unless it is there."""
        file = Path("grids") / f"{images:010d}.png"
        if not (self.run / file).is_file():
            with atomic.new_file(self.run / file) as partial:
                Image.fromarray(picture).save(partial)
        self._append(images, {"picture": name, "file": str(file)})

    def close(self, finished: bool, timeout_s: float | None = None) -> None:
        """Marks the run as finished, or as killed when it can be resumed, and sends what is left.

        timeout_s: how long that may take, in seconds; by default 60 for a finished run, and 10 for one that has to
        make room for somebody else. What does not get through is left for the next resume or for `replay`.
        """
        self._sender.state.status = "FINISHED" if finished else "KILLED"
        self._closing.set()
        self._news.set()
        self._thread.join((60.0 if finished else 10.0) if timeout_s is None else timeout_s)
        self._sender.save()
        self._sender.abandon()
        missing = self._sender.missing()
        if any(missing) or self._sender.sent.status != self._sender.state.status:
            say(
                f"warning: of {self.run}, MLflow does not have {counted(*missing)} and how it ended; "
                f"send them with `python -m trainer.tracking replay {self.run}`"
            )
        if self._lock:
            self._lock.close()

    def _work(self) -> None:
        """The thread: round after round, with pauses that grow as long as MLflow fails."""
        failing = False
        pause_s = PACE_S
        last = False
        while not last:
            # In this order: what is written, and a close that comes, from here on is news for the next round.
            self._news.clear()
            last = self._closing.is_set()
            try:
                lines = self._sender.round(last)
            except (Outage, OSError) as error:
                if not failing:
                    where = without_credentials(self._sender.uri)
                    say(f"warning: MLflow at {where} fails ({error}); training goes on, figures are in {self.journal}")
                failing = True
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if failing:
                    say(f"MLflow answers again; {lines} lines of the journal caught up")
                failing, pause_s = False, PACE_S
                if not last:
                    self._closing.wait(PACE_S)
                    self._news.wait()


def lock(run: Path) -> IO[bytes] | None:
    """Keeps a run's folder to one sender until the file is closed; None when another process has it.

    A file of its own: closing any other handle of a file would end the lock.
    """
    file = (run / ".tracking.lock").open("wb")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        pass  # a file system without locks
    return file


def replay(run: Path, uri: str | None = None) -> str:
    """Sends what a run's folder holds and MLflow does not have yet. Returns what was done, in one line.

    uri: the store, by default the training's. Raises BadInput when the folder is not a run's, when a training is still
    writing it, and when MLflow does not answer; what arrived until then is not sent again.
    """
    state = State.read(run)
    if state is None or not (run / JOURNAL).is_file():
        raise BadInput(f"{run} is not the folder of a tracked run: {STATE} or {JOURNAL} is missing; give another one")
    locked = lock(run)
    if locked is None:
        raise BadInput(f"{run} is being written by a training, which sends by itself; replay it when that has ended")
    uri = uri or state.uri
    # Nobody holds the lock: a training that did not come to say so has been killed.
    state.status = "KILLED" if state.status == "RUNNING" else state.status
    with locked, tqdm(unit="line", desc="replay") as bar:
        sender = Sender(run, uri, state, progress=bar.update)
        lines, pictures = sender.missing()
        bar.reset(total=lines + pictures)
        try:
            sender.round(last=True)
        except Outage as error:
            raise BadInput(
                f"MLflow at {without_credentials(uri)} fails ({error}); "
                "start it and run this again, or name another one with --uri"
            ) from error
    return f"{counted(lines, pictures)} sent to run {sender.sent.run_id} at {without_credentials(uri)}"


DESCRIPTION = """\
What training could not send to MLflow, because the server was away, is in the run's folder:

  journal.jsonl    every figure of the run, one line per log interval
  grids/           the sample grids
  documents/       settings, label schema and manifest
  tracking.json    how far each MLflow store got

replay sends what is missing, into the run that training began, or into a new one. Doing it twice changes nothing.
Resuming the training does the same by itself.
"""

EXAMPLES = """\
examples:
  python -m trainer.tracking replay runs/face
  python -m trainer.tracking replay runs/face --uri http://mlflow.example.org:5000
  MLFLOW_TRACKING_USERNAME=me MLFLOW_TRACKING_PASSWORD=… python -m trainer.tracking replay runs/face

Passwords in tracking.uri are not kept in the run's folder: give them again as above, or in --uri.

Exit codes: 0 done, 2 the folder is not a run's, or MLflow cannot be reached (one line on stderr says what to do).
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.tracking",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="replay")
    replaying = commands.add_parser(
        "replay",
        help="send to MLflow what it does not have of a run",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    replaying.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    replaying.add_argument("--uri", help="MLflow tracking URI (default: the one that the run was trained with)")
    arguments = parser.parse_args()
    print(replay(arguments.run, arguments.uri))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
