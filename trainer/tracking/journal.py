"""The journal of a run: one JSON object per line in `journal.jsonl`, which training appends to and never rewrites.

A line has the `images` seen and the `time` in ms since 1970, and one of these: metrics by name, `picture` (a name)
with its `file`, or `note` (an event in words). A line that a power cut or a full disk cut short counts as none.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"
Line = dict[str, Any]


def parse_line(text: bytes) -> Line | None:
    """A line of the journal, or None for one that was cut short."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "images" in line else None


def read_journal(run: Path) -> list[dict[str, float]]:
    """The metrics in a run's journal, each line with the `images` seen and the `time` in ms since 1970.

    Lines about pictures and notes, and one that was cut short, are left out; without a journal there are none.
    """
    file = run / JOURNAL
    lines = [parse_line(text) for text in file.read_bytes().splitlines()] if file.is_file() else []
    return [line for line in lines if line is not None and not {"picture", "note"} & line.keys()]


@dataclass
class Position:
    """How far a reader of a journal got."""

    lines: int = 0
    """Whole lines before this position."""
    offset: int = 0
    """Bytes that those lines take."""

    def lines_after(self, journal: Path) -> Iterator[tuple["Position", Line]]:
        """The lines from here on, each with the position behind it; an empty dict for one that was cut short.

        A last line without its newline is still being written, and not there yet.
        """
        position = self
        with journal.open("rb") as file:
            file.seek(self.offset)
            for text in file:
                if not text.endswith(b"\n"):
                    return
                position = Position(position.lines + 1, position.offset + len(text))
                yield position, parse_line(text) or {}
