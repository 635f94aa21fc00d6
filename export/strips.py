"""The figures of all pictures of a report, from the worst to the best, as dots of a plot."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from export.figures import number
from export.gates.result import LIMITS, GateResult

FIGURES = {"psnr_db": ("PSNR", "dB"), "ssim": ("SSIM", ""), "max_abs": ("largest difference", "")}
HIGHER_IS_BETTER = ("psnr_db", "ssim")
CEILING_DB = 200.0
"""The PSNR that equal pictures are given."""
PLOTS = ((960, 200), (420, 150))
"""Width and height of the first plot, and of the smaller ones after it."""


@dataclass(frozen=True)
class Strip:
    """A figure of all pictures, sorted from the worst to the best. Coordinates are those of a plot."""

    name: str
    """The figure's, for people."""
    unit: str
    """Such as "dB", or nothing."""
    width: int
    """Of the plot."""
    height: int
    """Of the plot."""
    dots: Sequence[tuple[float, float, str]]
    """x, y, and what the dot is in words, of each picture."""
    ticks: Sequence[tuple[float, str]]
    """y and label of each."""
    limit: tuple[float, str] | None
    """y and label of the gate's threshold."""
    worst: str
    """The worst picture's figure, with its unit."""
    median: str
    """The median, with its unit."""


def strips_of(per_picture: Sequence[Mapping[str, float]], results: Sequence[GateResult]) -> list[Strip]:
    """A strip for each figure that the pictures have. per_picture, results: see `report.write`."""
    strips: list[Strip] = []
    for name in FIGURES:
        # Where a figure is no number the picture is broken: that is the worst.
        having = [(float(each[name]), index) for index, each in enumerate(per_picture) if name in each]
        broken = [pair for pair in having if math.isnan(pair[0])]
        whole = sorted((pair for pair in having if not math.isnan(pair[0])), reverse=name not in HIGHER_IS_BETTER)
        if having:
            strips.append(_strip(name, [*broken, *whole], _limit(name, results), *PLOTS[min(len(strips), 1)]))
    return strips


def _limit(name: str, results: Sequence[GateResult]) -> tuple[float, str] | None:
    """The last threshold that a gate gives for a figure, and how it is written."""
    last = None
    for result in results:
        for prefix, sign in LIMITS.items():
            value = result.figures.get(prefix + name)
            last = last if value is None else (float(value), f"{sign} {value:g} {FIGURES[name][1]}".rstrip())
    return last


def _strip(
    name: str, figures: Sequence[tuple[float, int]], limit: tuple[float, str] | None, width: int, height: int
) -> Strip:
    """figures: values and the samples they are of, from the worst to the best."""
    title, unit = FIGURES[name]
    values = [value for value, _ in figures]
    ticks = _scale(name, values, limit)
    low, high = ticks[0], ticks[-1]
    worst = low if name in HIGHER_IS_BETTER else high

    def y(value: float) -> float:
        within = worst if math.isnan(value) else min(max(value, low), high)
        return round(height * (high - within) / (high - low), 1)

    def in_words(value: float) -> str:
        return f"{number(value)} {unit}".rstrip() if math.isfinite(value) else number(value)

    step = width / len(values)
    dots = [
        (round(step * (place + 0.5), 1), y(value), f"sample {index}: {in_words(value)}")
        for place, (value, index) in enumerate(figures)
    ]
    return Strip(
        name=title,
        unit=unit,
        width=width,
        height=height,
        dots=dots,
        ticks=[(y(value), f"{value:g}") for value in ticks],
        limit=(y(limit[0]), limit[1]) if limit else None,
        worst=in_words(values[0]),
        median=in_words(values[len(values) // 2]),
    )


def _scale(name: str, values: Sequence[float], limit: tuple[float, str] | None) -> list[float]:
    """The ticks of a plot. Equal pictures, and broken ones, are drawn at its edge: the scale is for the others."""
    scaled = [value for value in values if math.isfinite(value) and (name != "psnr_db" or value < CEILING_DB)]
    scaled += [limit[0]] if limit else []
    return _ticks(min(scaled, default=0.0), max(scaled, default=1.0))


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from below `low` to above `high`."""
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(place * step, 12) for place in range(first, max(last, first + 1) + 1)]
