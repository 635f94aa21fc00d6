"""Files that could not be read: listed with the reason, while the rest goes on, up to a bound."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from likeness import atomic
from likeness.command import BadInput
from likeness.rows import defused

FILE = "quarantine.csv"
MAX_BAD = 0.05


def check_bound(bad: Sequence[tuple[str, str]], total: int, max_bad: float) -> None:
    """Raises BadInput when more than `max_bad` of `total` files are bad; it names the first, and how to allow more.

    bad: (source, reason) of each.
    """
    if len(bad) > max_bad * total:
        _, reason = bad[0]
        others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise BadInput(
            f"{reason}{others}; to go on without bad files, allow more than {max_bad:.1%} of the {total} with "
            f"--max-bad {min(1.0, len(bad) / total + 0.005):.2f}"
        )


def write_quarantine(folder: Path, bad: Sequence[tuple[str, str]]) -> None:
    """Writes `quarantine.csv` into a folder, unless there is nothing to list. Columns: source, reason."""
    if not bad:
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("source", "reason"))
    writer.writerows(map(defused, row) for row in bad)
    atomic.write_text(folder / FILE, text.getvalue())
