"""Figures with confidence intervals: resampled by the videos that pictures come from, not picture by picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from likeness.array import Array
from trainer.metrics.metric import Columns, FigureOf

LEVEL = 0.95
NORMAL = 1.959964
"""Half the width of LEVEL under a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % confidence interval."""

    value: float
    """The figure over all pictures; NaN where it cannot be computed."""
    low: float
    """The interval's lower bound; NaN where there are less than two groups to resample."""
    high: float
    """The interval's upper bound; NaN where there are less than two groups to resample."""
    pictures: int
    """How many pictures it was computed from."""


class _Resampled(Mapping[str, Array]):
    """Columns with their pictures drawn again; only those that are looked at are copied."""

    def __init__(self, columns: Columns, rows: Array) -> None:
        self.columns, self.rows = columns, rows

    def __getitem__(self, name: str) -> Array:
        drawn: Array = self.columns[name][self.rows]
        return drawn

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def estimates(
    figures: Mapping[str, FigureOf], columns: Columns, groupings: Sequence[Sequence[str]], seed: int = 0
) -> dict[str, Estimate]:
    """Every figure over all pictures, with a cluster bootstrap's interval.

    groupings: each names a group for every picture, such as the video of its target, or that of its exemplar. Pictures
    of one video resemble each other, so whole groups are drawn with replacement, as many as there are; drawing pictures
    would promise too narrow intervals. Of the groupings' intervals the widest counts. It holds the middle 95 % of the
    resampled figures; for biased figures it is value ± 1.96 standard deviations of theirs. Resamples in which a figure
    cannot be computed (NaN) are left out.
    """
    per_grouping = [_estimates(figures, columns, groups, seed) for groups in groupings]
    return {name: max((each[name] for each in per_grouping), key=_width) for name in figures}


def _width(estimate: Estimate) -> float:
    return -1.0 if np.isnan(estimate.low) else estimate.high - estimate.low


def _estimates(
    figures: Mapping[str, FigureOf], columns: Columns, groups: Sequence[str], seed: int
) -> dict[str, Estimate]:
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(which == number) for number in range(len(names))]
    most = max((figure.resamples for figure in figures.values()), default=0) if len(members) > 1 else 0
    resampled: dict[str, list[float]] = {name: [] for name in figures}
    rng = np.random.default_rng(seed)
    for number in range(most):
        drawn = rng.integers(len(members), size=len(members))
        again = _Resampled(columns, np.concatenate([members[group] for group in drawn]))
        for name, figure in figures.items():
            if number < figure.resamples:
                resampled[name].append(figure.compute(again))
    return {name: _estimate(figure, columns, resampled[name], len(groups)) for name, figure in figures.items()}


def _estimate(figure: FigureOf, columns: Columns, resampled: Sequence[float], pictures: int) -> Estimate:
    value = figure.compute(columns)
    if figure.column is not None:
        pictures = int((~np.isnan(columns[figure.column])).sum())
    computed = np.asarray(resampled)[~np.isnan(resampled)] if len(resampled) else np.empty(0)
    if len(computed) < 2 or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"), pictures)
    if figure.biased:
        # All resamples lie to one side of the value, so that their quantiles might not even hold it.
        reach = NORMAL * float(computed.std(ddof=1))
        return Estimate(value, value - reach, value + reach, pictures)
    low, high = np.quantile(computed, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), pictures)
