"""Records a training's metrics, pictures, notes and settings, without ever waiting for MLflow.

The journal on the disk is the truth. A thread of the tracker sends it on to MLflow (see `trainer.tracking.sender`).
"""

import errno
import json
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from likeness import atomic
from likeness.array import Array
from shards.media.pictures import encode_picture
from trainer.tracking.fork_guard import write_line
from trainer.tracking.journal import JOURNAL, parse_line
from trainer.tracking.mlflow_client import Outage
from trainer.tracking.sender import Sender, counted
from trainer.tracking.state import DOCUMENTS, SETTINGS, Delivered, State, lock_run, store_name, without_credentials

PACE_S = 1.0
"""Seconds between two rounds of sending, so that a fast training is sent in few batches."""
LONGEST_PAUSE_S = 60.0
"""Seconds between two tries in a long outage, at most."""
MOST_WAITING = 10_000
"""Lines of the journal that wait in memory for a full disk."""
CLOSING_S, CLOSING_RESUMABLE_S = 60.0, 10.0
"""Seconds that closing waits for MLflow: after a finished run, and after one that has to make room for another job."""


class Tracker:
    """Metrics, pictures, notes and settings of one run; main process only.

    No method waits for MLflow but `close`, and none fails because of it.
    """

    def __init__(
        self, run: Path, uri: str, experiment: str, settings: dict[str, Any], images: int, run_id: str | None
    ) -> None:
        """run: the run's folder. uri: of the MLflow store. settings: nested dicts of what JSON holds.

        images: images seen at the start; journal lines beyond them, of a run that ended abruptly, are dropped.
        run_id: the MLflow run to go on with where the run's folder does not know it, such as that of a checkpoint.
        """
        self.run = run
        self.journal = run / JOURNAL
        state = State.read(run) or State("", "")
        state.uri, state.experiment, state.status = store_name(uri), experiment, "RUNNING"
        self._drop_lines_beyond(images, state.stores.values())
        self._lock = lock_run(run)
        atomic.write_text(run / DOCUMENTS / SETTINGS, json.dumps(without_credentials(settings), indent=1) + "\n")
        self._sender = Sender(run, uri, state, run_id)
        self._sender.save()
        self._waiting: list[str] = []
        # `_changed`: there is something to send. `_closing`: the thread's next round is its last.
        self._changed, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def _drop_lines_beyond(self, images: int, stores: Iterable[Delivered]) -> None:
        """Takes lines out of the journal, and out of what the stores are known to have of it.

        A run that was killed has logged more images than its last checkpoint has. They are trained again, and logged
        again: without this, they would stand in the journal twice.
        """
        texts = self.journal.read_bytes().splitlines(keepends=True) if self.journal.is_file() else []
        lines = [parse_line(text) for text in texts]
        keep = [line is not None and line["images"] <= images for line in lines]
        for delivered in stores:
            # Counts of lines: so many of those that had arrived are still there.
            delivered.lines, delivered.pictures = sum(keep[: delivered.lines]), sum(keep[: delivered.pictures])
        atomic.write_bytes(self.journal, b"".join(text for text, stays in zip(texts, keep, strict=True) if stays))

    @property
    def run_id(self) -> str | None:
        """The MLflow run, None until a server has given one."""
        return self._sender.delivered.run_id

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
            # Half a line would spoil the next one, which would be appended to it.
            if size is not None:
                with suppress(OSError):
                    os.truncate(self.journal, size)
            if len(self._waiting) == 1:
                write_line(f"warning: {self.journal} cannot be written ({error}); figures wait in memory")
            return
        if len(self._waiting) > 1:
            write_line(f"{self.journal} is written again, {len(self._waiting)} lines at once")
        self._waiting = []
        self._changed.set()

    def describe(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON document into the run's folder, under `documents/`."""
        atomic.write_text(self.run / DOCUMENTS / name, json.dumps(content, indent=1) + "\n")
        self._changed.set()

    def log(self, images: int, metrics: dict[str, float]) -> None:
        """Appends a line to the journal; MLflow gets it later, with `images` as the step."""
        self._append(images, {name: float(value) for name, value in metrics.items()})

    def note(self, images: int, text: str) -> None:
        """Appends an event in words to the journal; in MLflow it becomes a tag."""
        self._append(images, {"note": text})

    def picture(self, images: int, name: str, picture: Array) -> None:
        """Sends a uint8 (H, W, 3) RGB picture from `grids/<images>.png`, which is written unless it is there."""
        file = Path("grids") / f"{images:010d}.png"
        if not (self.run / file).is_file():
            atomic.write_bytes(self.run / file, encode_picture(picture))
        self._append(images, {"picture": name, "file": str(file)})

    def close(self, finished: bool, timeout_s: float | None = None) -> None:
        """Marks the run as finished, or as killed when it can be resumed, and sends what is left.

        timeout_s: how long that may take, in seconds; by default CLOSING_S or CLOSING_RESUMABLE_S.
        What does not get through is left for the next resume or for `replay`.
        """
        self._sender.state.status = "FINISHED" if finished else "KILLED"
        self._closing.set()
        self._changed.set()
        if timeout_s is None:
            timeout_s = CLOSING_S if finished else CLOSING_RESUMABLE_S
        self._thread.join(timeout_s)
        self._sender.save()
        self._sender.abandon()
        missing = self._sender.missing()
        if any(missing) or self._sender.delivered.status != self._sender.state.status:
            write_line(
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
            # In this order: what is written, and a `close` that comes, from here on belongs to the next round. Cleared
            # after the round instead, a line that was written during it might wait for the line after it.
            self._changed.clear()
            last = self._closing.is_set()
            try:
                lines = self._sender.send_round(last)
            except (Outage, OSError) as error:
                if not failing:
                    where = without_credentials(self._sender.uri)
                    write_line(
                        f"warning: MLflow at {where} fails ({error}); training goes on, figures are in {self.journal}"
                    )
                failing = True
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if failing:
                    write_line(f"MLflow answers again; {lines} lines of the journal caught up")
                failing, pause_s = False, PACE_S
                if not last:
                    self._closing.wait(PACE_S)
                    self._changed.wait()
