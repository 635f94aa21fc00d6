"""When checkpoints are written: beside training, and for how long anybody waits for the disk."""

import sys
import threading
import time
from pathlib import Path

from tqdm import tqdm

from likeness import atomic
from likeness.command import BadInput
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints.files import Snapshot


class Saver:
    """Writes a run's checkpoints in a thread; rank 0 only.

    A checkpoint that cannot be written costs a warning and nothing else while training goes on: the one before is
    intact, and the next one is tried again.
    """

    def __init__(self, run: Path, keep: int, timeout_s: float) -> None:
        """keep: how many of the newest stay. timeout_s: seconds within which the last one must be on the disk."""
        self.run, self.keep, self.timeout_s = run, keep, timeout_s
        self.failures = 0
        """How many checkpoints could not be written."""
        self._thread: threading.Thread | None = None
        self._waiting: tuple[Snapshot, str | None] | None = None
        self._lock = threading.Lock()
        self._begun_at = 0.0
        self._error: OSError | None = None

    def save(self, snapshot: Snapshot, best: str | None = None) -> None:
        """Has a checkpoint written; returns at once.

        best: the metric for which `best` is to name this checkpoint, if no other has become better meanwhile.
        While the checkpoint before is still being written, this one waits; one that waits already is left out, with a
        warning, so that a slow disk does not fill the memory.
        """
        with self._lock:
            if self._thread is None:
                self._begun_at = time.monotonic()
                first = (snapshot, best)
                self._thread = threading.Thread(target=self._write_all, args=first, name="checkpoint", daemon=True)
                self._thread.start()
                return
            if self._waiting is not None:
                skipped, _ = self._waiting
                lasted_s = time.monotonic() - self._begun_at
                self._failed(skipped, f"the one before it has been written for {lasted_s:.0f} s")
            self._waiting = (snapshot, best)

    def finish(self, snapshot: Snapshot) -> None:
        """Writes the last checkpoint of this process, and waits for it.

        Raises BadInput when it cannot be written, or not within `timeout_s`.
        """
        deadline = time.monotonic() + self.timeout_s
        self._wait(deadline, snapshot)
        self.save(snapshot)
        self._wait(deadline, snapshot)
        if self._error is not None:
            raise BadInput(
                f"the checkpoint at {snapshot.state.images:,} images could not be written: {self._error}. "
                f"{self._intact()} Mend {self.run} and go on with --resume latest."
            )

    def _wait(self, deadline: float, snapshot: Snapshot) -> None:
        thread = self._thread
        if thread is None:
            return
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            raise BadInput(
                f"the filesystem of {self.run} has not taken a checkpoint within {self.timeout_s:.0f} s "
                f"(checkpoint.timeout_s), so the one at {snapshot.state.images:,} images is not written. "
                f"{self._intact()} Go on with --resume latest once it answers."
            )

    def _write_all(self, snapshot: Snapshot, best: str | None) -> None:
        """Writes a checkpoint, and then whichever waits.

        Whether one waits and whether this thread ends is decided under one lock: otherwise `save` might leave a
        checkpoint to a thread that has already seen that none waits.
        """
        while True:
            self._write(snapshot, best)
            with self._lock:
                if self._waiting is None:
                    self._thread = None
                    return
                (snapshot, best), self._waiting = self._waiting, None
                self._begun_at = time.monotonic()

    def _write(self, snapshot: Snapshot, best: str | None) -> None:
        self._error = None
        try:
            folder = checkpoints.save(self.run, snapshot)
            if best is not None and snapshot.state.figures[best] < checkpoints.best_value(self.run, best):
                atomic.write_text(self.run / checkpoints.BEST, folder.name + "\n")
            checkpoints.prune(self.run, self.keep)
        except OSError as error:
            self._error = error
            self._failed(snapshot, str(error))

    def _failed(self, snapshot: Snapshot, reason: str) -> None:
        self.failures += 1
        tqdm.write(
            f"warning: no checkpoint at {snapshot.state.images:,} images: {reason}. {self._intact()}", file=sys.stderr
        )

    def _intact(self) -> str:
        latest = self.run / checkpoints.LATEST
        try:
            return f"{latest.read_text(encoding='utf-8').strip()} is intact."
        except OSError:
            return "There is no earlier one."
