"""Mutated content at every boundary: refused in one line, or let pass and right; no traceback, and nothing hangs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from likeness.command import DONE

ROOT = Path(__file__).parents[2]
MENDED = (
    *("manifest", "record", "tar", "sidecar", "classes", "latest", "pair-list", "judged", "picture", "video", "label"),
    *("style", "metadata", "model", "option", "service", "page"),
)
"""The boundaries that hold. The others' defects `python -m tests.fuzz` counts."""


def fuzz(cases: float, first: int, *boundaries: str) -> dict[str, Any]:
    """The report of a process of its own, whose memory is limited."""
    command = [sys.executable, "-m", "tests.fuzz", "--cases", str(cases), "--first", str(first), *boundaries]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode in (DONE, 1) and done.stdout, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_few_hundred_cases_and_all_that_once_failed() -> None:
    report = fuzz(0.7, 0, *MENDED)
    assert report["defects"] == []
    assert sum(sum(counts.values()) for counts in report["counts"].values()) >= 250


@pytest.mark.slow
@pytest.mark.parametrize("boundary", MENDED)
def test_thousands_of_cases(boundary: str) -> None:
    assert fuzz(20, 10_000, boundary)["defects"] == []
