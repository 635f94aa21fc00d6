"""What a training tells its tracker, without ever waiting for MLflow."""

import errno
import json
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likeness import atomic
from trainer.tracking.journal import (
    DOCUMENTS,
    JOURNAL,
    SETTINGS,
    Sent,
    State,
    lock,
    parsed,
    store_of,
    without_credentials,
)
from trainer.tracking.sender import Outage, Sender, counted, say

PACE_S = 1.0  # between two rounds of sending, so that a fast training is sent in few batches
LONGEST_PAUSE_S = 60.0  # between two tries in a long outage
MOST_WAITING = 10_000  # journal lines that wait for a full disk


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
        read = [parsed(text) for text in lines]
        kept = [line is not None and line["images"] <= images for line in read]
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
