"""What a metric is to whoever runs it: a measurement of single pictures, and figures over a set of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from likeness.array import Array
from shards.records import Pair

Columns = Mapping[str, Array]
"""Measurements by name; the first axis of each counts pictures, NaN stands where there is nothing to measure."""
Figure = Callable[[Columns], float]


@dataclass(frozen=True)
class Judged:
    """A painted picture, and what it was painted from.

    Pictures are uint8 (H, W, 3) RGB, all of one size. picture: the painted one. target: the photo whose label map was
    painted; exemplar: the photo whose style was asked for. ids: for labels of the kind `classes`, the label map as
    uint8 (H, W) ids. other_label: painted from the label map of the pair `label_from` instead; other_exemplar: painted
    from the exemplar of the pair `exemplar_from` instead. These four are None where nobody painted them.
    """

    pair: Pair
    picture: Array
    target: Array
    exemplar: Array
    ids: Array | None = None
    other_label: Array | None = None
    other_exemplar: Array | None = None
    label_from: Pair | None = None
    exemplar_from: Pair | None = None


@dataclass(frozen=True)
class FigureOf:
    """One number over a set of pictures.

    better: which way is good; None where neither is. unit: what it is counted in, as a table's head says it (`%`,
    `dB`, `1/255`, `` for a bare number). meaning: one sentence for people, which says what 0 or chance is.
    column: the column whose mean it is; None where it is more than a mean, and no single picture is worst.
    resamples: how often it is computed again for its confidence interval. biased: resampling shifts it (a repeated
        picture makes two sets look unlike), so that its interval is taken from the spread alone.
    """

    compute: Figure
    better: Literal["less", "more"] | None
    meaning: str
    unit: str = ""
    column: str | None = None
    resamples: int = 1000
    biased: bool = False


@dataclass(frozen=True)
class Metric:
    """One way of judging pictures.

    measure: takes some pictures and gives a column of measurements for each name, in the pictures' order. It depends on
        nothing but those pictures, so that any split over processes gives the same columns.
    figures: what is reported, by name: computed from the columns of all pictures, and again from resampled ones.
    """

    measure: Callable[[Sequence[Judged]], dict[str, Array]]
    figures: Mapping[str, FigureOf] = field(default_factory=dict)


def mean_of(column: str, better: Literal["less", "more"] | None, meaning: str, unit: str = "") -> FigureOf:
    """The mean of a column over the pictures that have a value there; NaN where none has."""

    def mean(columns: Columns) -> float:
        values = columns[column]
        there = values[~np.isnan(values)]
        return float(there.mean()) if len(there) else float("nan")

    return FigureOf(mean, better, meaning, unit, column)


def stacked(parts: Sequence[Columns]) -> dict[str, Array]:
    """The columns of several groups of pictures as those of all of them, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
