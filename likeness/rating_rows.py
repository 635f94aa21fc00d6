"""Answers of raters as rows of a CSV file: what all of them are checked for, and written whole or not at all."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from likeness import atomic
from likeness.command import BadInput
from likeness.names import quoted
from likeness.rows import defused


def seconds_of(path: Path, line: int, row: Mapping[str, str]) -> float:
    """The seconds that an answer took. Raises BadInput when they, the time of the answer or the rater are no good."""
    try:
        seconds = float(row["seconds"])
        datetime.fromisoformat(row["answered_at"])
    except ValueError as error:
        raise BadInput(f"{path} line {line}: {error}; seconds are a number, answered_at a time in ISO 8601") from error
    if not (math.isfinite(seconds) and seconds >= 0 and row["rater"]):
        raise BadInput(
            f"{path} line {line}: seconds are {seconds:g}, the rater is {quoted(row['rater'])}; both must be given"
        )
    return seconds


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the file, whole or not at all; when it returns, the file is on the disk."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(
        {name: defused(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows
    )
    atomic.write_text(path, text.getvalue())
