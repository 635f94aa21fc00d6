"""What a run's folder holds beside its journal for tracking: documents, and how far each MLflow store has got."""

import json
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from likeness.one_writer import held_by_this_process
from shards.reading.urls import redacted

STATE = "tracking.json"
DOCUMENTS = "documents"
SETTINGS = "settings.json"


def without_credentials(value: Any) -> Any:
    """Settings with every URL in them reduced to what may be shown."""
    if isinstance(value, dict):
        return {name: without_credentials(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_credentials(each) for each in value]
    return redacted(value) if isinstance(value, str) and "://" in value and re.search("[@?#]", value) else value


def store_name(uri: str) -> str:
    """The name of a tracking store in `tracking.json`: its URI without credentials, and with no relative path."""
    scheme, _, file = uri.partition(":///")
    if scheme == "sqlite":
        return f"sqlite:///{Path(file).absolute()}"
    shown: str = without_credentials(uri)
    return shown.rstrip("/")


@dataclass
class Delivered:
    """What one tracking store has of a run."""

    run_id: str | None = None
    """The id of the MLflow run; None until a server has given one."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """A tag that finds the MLflow run again when the answer to its creation was lost."""
    lines: int = 0
    """Lines of the journal whose metrics and notes have arrived."""
    pictures: int = 0
    """Lines of the journal whose pictures have arrived."""
    documents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each document that has arrived, by its file name."""
    status: str | None = None
    """The status that MLflow was last given for the run."""


@dataclass
class State:
    """The content of `tracking.json`."""

    uri: str
    """The store that the run was trained with, without credentials."""
    experiment: str
    """The MLflow experiment of the run."""
    status: str = "RUNNING"
    """What the run is now, as MLflow calls it: RUNNING, FINISHED or KILLED."""
    stores: dict[str, Delivered] = field(default_factory=dict)
    """What each store has of the run, by the store's name."""

    @classmethod
    def read(cls, run: Path) -> "State | None":
        """None where there is none, or where it is damaged: then everything is sent again, which changes nothing."""
        try:
            content = json.loads((run / STATE).read_text(encoding="utf-8"))
            stores = {name: Delivered(**delivered) for name, delivered in content["stores"].items()}
            return cls(**{**content, "stores": stores})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def tracked_run(run: Path, uri: str) -> str | None:
    """The id of the MLflow run that a store has for a run's folder; None as long as there is none."""
    state = State.read(run)
    delivered = state.stores.get(store_name(uri)) if state else None
    return delivered.run_id if delivered else None


def lock_run(run: Path) -> IO[bytes] | None:
    """Keeps a run's folder to one sender until the file is closed; None when another process has it."""
    return held_by_this_process(run / ".tracking.lock")
