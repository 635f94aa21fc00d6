"""The list of pairs whose inputs cannot be decoded: `bad.csv` for people, and what resuming needs to know of them."""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

from deploy.batch.pairs import BadPair, Changes
from likeness import atomic
from likeness.command import BadInput
from likeness.rows import defused

FIELDS = ("output", "input", "reason")
_SECONDS = 1.0
"""Between two writings of the list."""


class BadInputs:
    """The broken inputs of one slice of a run.

    Files that are mended between two runs have another size and time than when the run began. The first marks of such
    pairs (see `Pairs.mark`) are kept in a hidden file, so that nothing else may have changed when a run goes on.

    name: `bad` or `bad-0-of-4`. limit: how many there may be. mark: `Pairs.mark`.
    """

    def __init__(self, out: Path, name: str, limit: int, mark: Callable[[str], int]) -> None:
        self._list, self._marks, self._limit, self._mark = out / f"{name}.csv", out / f".{name}.json", limit, mark
        self._changes = _read(self._marks)
        self.listed: dict[str, tuple[str, str]] = {}
        """By output: the broken input and the reason, of this run."""
        self._saved = 0.0

    def add(self, output: str, error: BadPair) -> None:
        """Lists a pair. Raises BadInput when there are more than may be."""
        self.listed[output] = error.where, str(error)
        self._changes[output] = self._began(output), None
        if len(self.listed) > self._limit:
            which = (
                "" if len(self.listed) == 1 else f" (broken input number {len(self.listed)}, listed in {self._list})"
            )
            raise BadInput(f"{error}{which}; to skip broken inputs, allow more than --max-bad {self._limit}") from error
        if time.monotonic() - self._saved > _SECONDS:
            self.save()

    def mended(self, output: str) -> None:
        """Takes note that there is a picture of a pair, which may have been broken before."""
        if output in self._changes and self._changes[output][1] is None:
            self._changes[output] = self._began(output), self._mark(output)

    def _began(self, output: str) -> int:
        return self._changes[output][0] if output in self._changes else self._mark(output)

    def save(self) -> None:
        """Writes `bad.csv`, or removes it when nothing is broken any more."""
        self._saved = time.monotonic()
        if self._changes:
            atomic.write_text(self._marks, json.dumps(self._changes) + "\n")
        if not self.listed:
            self._list.unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(FIELDS)
        writer.writerows(map(defused, (output, where, reason)) for output, (where, reason) in self.listed.items())
        atomic.write_text(self._list, text.getvalue())


def changes(out: Path) -> Changes:
    """The pairs of all slices that were broken when they were first read."""
    return {output: marks for file in sorted(out.glob(".bad*.json")) for output, marks in _read(file).items()}


def _read(file: Path) -> dict[str, tuple[int, int | None]]:
    try:
        return {
            output: (began, painted)
            for output, (began, painted) in json.loads(file.read_text(encoding="utf-8")).items()
        }
    except FileNotFoundError:
        return {}
    except (AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"{file} is damaged ({error}); choose another --out") from error
