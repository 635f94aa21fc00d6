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
    """A painted picture, and what it was painted from. Pictures are uint8 (H, W, 3) RGB, all of one size."""

    pair: Pair
    """The record of the pair that it was painted from."""
    picture: Array
    """The painted picture."""
    target: Array
    """The photo whose label map was painted."""
    exemplar: Array
    """The photo whose style was asked for."""
    ids: Array | None = None
    """The label map as uint8 (H, W) ids, where labels are of classes."""
    other_label: Array | None = None
    """Painted from the label map of the pair `label_from` instead; None where nobody painted it."""
    other_exemplar: Array | None = None
    """Painted from the exemplar of the pair `exemplar_from` instead; None where nobody painted it."""
    label_from: Pair | None = None
    """See `other_label`."""
    exemplar_from: Pair | None = None
    """See `other_exemplar`."""


@dataclass(frozen=True)
class FigureOf:
    """One number over a set of pictures."""

    compute: Figure
    """Computes it from the columns of all pictures; NaN where there is nothing to compute it from."""
    better: Literal["less", "more"] | None
    """Which way is good; None where neither is."""
    meaning: str
    """One sentence for people, which says what 0 or chance is."""
    unit: str = ""
    """What it is counted in, as it is printed behind a value: `%`, `dB`, `of 255`, empty for a bare number."""
    column: str | None = None
    """The column whose mean it is; None where it is more than a mean, and no single picture is worst."""
    resamples: int = 1000
    """How often it is computed again for its confidence interval."""
    biased: bool = False
    """Resampling shifts it (a repeated picture makes two sets unlike): its interval is taken from the spread alone."""


@dataclass(frozen=True)
class Metric:
    """One way of judging pictures."""

    measure: Callable[[Sequence[Judged]], dict[str, Array]]
    """Some pictures to a column of measurements for each name, in the pictures' order.

    It depends on nothing but those pictures, so that any split over processes gives the same columns.
    """
    figures: Mapping[str, FigureOf] = field(default_factory=dict)
    """What is reported, by name: computed from the columns of all pictures, and again from resampled ones."""


def mean_of(column: str, better: Literal["less", "more"] | None, meaning: str, unit: str = "") -> FigureOf:
    """The mean of a column over the pictures that have a value there; NaN where none has."""

    def mean(columns: Columns) -> float:
        values = columns[column]
        measured = values[~np.isnan(values)]
        return float(measured.mean()) if len(measured) else float("nan")

    return FigureOf(mean, better, meaning, unit, column)


def stacked(parts: Sequence[Columns]) -> dict[str, Array]:
    """The columns of several groups of pictures as those of all of them, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
