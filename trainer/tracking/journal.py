"""The journal of a run's metrics on the disk, and how far each MLflow store has got in it."""

import json
import math
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from likeness.one_writer import held_by_this_process
from shards.reading.urls import redacted

JOURNAL = "journal.jsonl"
STATE = "tracking.json"
DOCUMENTS = "documents"
SETTINGS = "settings.json"
SINGLE_LINES = 1000  # that MLflow gets one by one; beyond, it gets means of ever more lines
Line = dict[str, Any]


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


def parsed(text: bytes) -> Line | None:
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
    lines = [parsed(text) for text in file.read_bytes().splitlines()] if file.is_file() else []
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
                yield place, parsed(text) or {}


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


def lock(run: Path) -> IO[bytes] | None:
    """Keeps a run's folder to one sender until the file is closed; None when another process has it."""
    return held_by_this_process(run / ".tracking.lock")
