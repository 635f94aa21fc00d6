"""How many lines of a journal become one point in MLflow, and which.

A line holds means over `tracking.log_every` images, and the journal keeps every line. MLflow gets the first 1,000 lines
one by one, of the next 1,000 the mean of every 2, of the next 2,000 the mean of every 4, and so on: about
1,000 + 500·log2(lines / 1,000) points per metric. One million iterations are 1,000 points for a batch of 1 and
`log_every` 1,000, and 6,000 points if every iteration has a line of its own.

Into which point a line falls depends on its number in the journal alone, so that sending it again, after a server lost
its answer or by `replay`, gives the same points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.tracking.journal import Line

SINGLE_LINES = 1000
"""Lines that MLflow gets one by one; beyond, it gets means of ever more lines."""


@dataclass(frozen=True)
class Point:
    """One value of one metric, as MLflow stores it."""

    name: str
    """The metric."""
    value: float
    """The mean over the lines that share this point."""
    time: int
    """When the last of those lines was written, in ms since 1970."""
    images: int
    """Images seen at the last of those lines; MLflow's step."""


def lines_per_point(index: int) -> int:
    """How many journal lines share a point in MLflow, at a line's index from 0."""
    return 1 if index < SINGLE_LINES else 2 ** (int(math.log2(index // SINGLE_LINES)) + 1)


def mean_points(lines: Sequence[Line]) -> tuple[list[Point], list[str]]:
    """One point per metric: the mean over the lines that have it. And the metrics that were infinite in some line.

    MLflow turns infinities into ±1.8e308, which no chart survives: they are left out. NaN is kept as it is.
    """
    points: list[Point] = []
    infinite: list[str] = []
    for name in dict.fromkeys(name for line in lines for name in line if name not in ("images", "time")):
        having = [line for line in lines if isinstance(line.get(name), int | float)]
        values = [line[name] for line in having if not math.isinf(line[name])]
        if len(values) < len(having):
            infinite.append(name)
        if values:
            last = having[-1]
            points.append(Point(name, sum(values) / len(values), int(last.get("time", 0)), int(last["images"])))
    return points, infinite
