"""Answers of a forced-choice study: the CSV, and how strongly raters prefer one method's pictures over the other's."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import NormalDist, median
from typing import Any, Literal, get_args

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from likeness.rating_rows import seconds_of, write_rows
from likeness.rows import Columns, read_rows
from shards.judging.judgements import Agreement, agreement_of

Method = Literal["a", "b"]
METHODS: tuple[Method, ...] = get_args(Method)
CONFIDENCE = 0.95
RATERS_WANTED = 30
"""Raters that the paper let see each pair (specification 6.1)."""
RESAMPLES = 10_000
_TOGETHER = 256
"""Resamples that are drawn at a time: bounds the memory for many pairs."""


@dataclass(frozen=True)
class Choice:
    """One answer of one rater: which method's picture is closer to the exemplar's style."""

    key: str
    """The pair."""
    rater: str
    """The name under which the rater opened the page."""
    preferred: Method
    """The method whose picture was chosen."""
    left: Method
    """The method whose picture stood on the left."""
    seconds: float
    """How long the rater took."""
    answered_at: str
    """The time of the answer, ISO 8601 in UTC."""
    shown: str
    """A fingerprint of the three pictures that were shown, in the order exemplar, a, b."""


COLUMNS = tuple(field.name for field in fields(Choice))


def read_choices(path: Path) -> list[Choice]:
    """Reads a CSV of answers. Raises BadInput naming file, line and value when it is not one.

    So it does when one pair was shown with different pictures: those are answers of two studies.
    """
    choices: list[Choice] = []
    first: dict[str, tuple[int, str]] = {}
    columns = Columns("answers of a study", COLUMNS, "write some with `python -m trainer.study`")
    for line, row in read_rows(path, columns):
        for name in ("preferred", "left"):
            if row[name] not in METHODS:
                raise BadInput(f"{path} line {line}: {name} is {row[name]!r}; it is one of {', '.join(METHODS)}")
        preferred, left = (next(known for known in METHODS if known == row[name]) for name in ("preferred", "left"))
        seconds = seconds_of(path, line, row)
        choice = Choice(row["key"], row["rater"], preferred, left, seconds, row["answered_at"], row["shown"])
        before, shown = first.setdefault(choice.key, (line, choice.shown))
        if shown != choice.shown:
            raise BadInput(
                f"{path} line {line}: pair {choice.key} was shown with other pictures than in line {before}; "
                "keep the answers of two studies in two files"
            )
        choices.append(choice)
    return choices


def write_choices(path: Path, choices: Iterable[Choice]) -> None:
    """Writes a CSV of answers, whole or not at all; when it returns, the answers are on the disk."""
    write_rows(path, COLUMNS, (asdict(choice) for choice in choices))


Interval = tuple[float, float]


@dataclass(frozen=True)
class Rater:
    """What one rater answered."""

    answers: int
    """On how many pairs."""
    prefer_a: float
    """The share of the answers that prefer `a`."""
    chose_left: float
    """The share of the answers that chose the picture on the left."""
    seconds: float
    """How long an answer took: the median."""


@dataclass(frozen=True)
class Results:
    """What a study found; shares lie in [0, 1], intervals hold at CONFIDENCE."""

    answers: int
    """How many count: the last of each rater on each pair."""
    prefer_a: float
    """The share of the answers that prefer `a`."""
    wilson: Interval
    """Its interval if all answers were independent, see `wilson_interval`."""
    bootstrap: Interval | None
    """Its interval with raters and pairs drawn anew, see `bootstrap_interval`; None with fewer than two of either."""
    pairs: int
    """How many pairs were answered."""
    pairs_with_enough: int
    """How many pairs RATERS_WANTED raters or more have answered."""
    agreement: Agreement
    """How far raters of one pair agree."""
    raters: dict[str, Rater]
    """What each rater answered, by name."""


def results_of(choices: Sequence[Choice]) -> Results:
    """The figures of a study; of several answers of one rater on one pair, the last one counts.

    Raises BadInput when there are no answers.
    """
    counted = list({(choice.key, choice.rater): choice for choice in choices}.values())
    if not counted:
        raise BadInput("there are no answers yet; let raters answer some first")
    by_rater: defaultdict[str, list[Choice]] = defaultdict(list)
    for choice in counted:
        by_rater[choice.rater].append(choice)
    raters = {
        name: Rater(
            len(answers),
            _share(choice.preferred == "a" for choice in answers),
            _share(choice.preferred == choice.left for choice in answers),
            round(median(choice.seconds for choice in answers), 2),
        )
        for name, answers in sorted(by_rater.items())
    }
    per_pair = Counter(choice.key for choice in counted)
    prefer = sum(choice.preferred == "a" for choice in counted)
    return Results(
        len(counted),
        prefer / len(counted),
        wilson_interval(prefer, len(counted)),
        bootstrap_interval(counted),
        len(per_pair),
        sum(number >= RATERS_WANTED for number in per_pair.values()),
        agreement_of((choice.key, choice.rater, choice.preferred) for choice in counted),
        raters,
    )


def _share(answers: Iterable[bool]) -> float:
    listed = list(answers)
    return sum(listed) / len(listed)


def wilson_interval(successes: int, trials: int) -> Interval:
    """Wilson's score interval (1927) of a share: right for independent answers, and at 0 and 1, too."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = successes / trials
    middle = share + z**2 / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def bootstrap_interval(choices: Sequence[Choice], resamples: int = RESAMPLES, seed: int = 0) -> Interval | None:
    """The percentile interval of the share that prefers `a`, with raters and pairs both drawn anew with replacement.

    An answer counts as often as its rater was drawn times as often as its pair was (the pigeonhole bootstrap, Owen
    2007), so that what a rater's answers, or the answers on one pair, have in common is not taken for evidence. A
    resample in which no answer is left is drawn again. None with fewer than two raters or two pairs.
    """
    keys = {key: number for number, key in enumerate(sorted({choice.key for choice in choices}))}
    raters = {name: number for number, name in enumerate(sorted({choice.rater for choice in choices}))}
    if min(len(keys), len(raters)) < 2:
        return None
    answered = np.zeros((len(raters), len(keys)))
    preferred = np.zeros_like(answered)
    for choice in choices:
        at = raters[choice.rater], keys[choice.key]
        answered[at], preferred[at] = 1, choice.preferred == "a"
    rng = np.random.default_rng(seed)
    shares = np.empty(0)
    while len(shares) < resamples:
        rater_counts = _drawn(rng, len(raters))
        key_counts = _drawn(rng, len(keys))
        total = ((rater_counts @ answered) * key_counts).sum(1)
        wanted = ((rater_counts @ preferred) * key_counts).sum(1)
        shares = np.append(shares, wanted[total > 0] / total[total > 0])
    low, high = np.quantile(shares[:resamples], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _drawn(rng: np.random.Generator, number: int) -> Array:
    """How often each of `number` things is drawn, in _TOGETHER resamples: float64 (_TOGETHER, number)."""
    return rng.multinomial(number, np.full(number, 1 / number), size=_TOGETHER).astype(np.float64)


def to_json(results: Results, names: tuple[str, str]) -> dict[str, Any]:
    """What `--json` prints. names: of the methods a and b."""
    return {"a": names[0], "b": names[1], "confidence": CONFIDENCE, "raters_wanted": RATERS_WANTED} | asdict(results)


def table(results: Results, names: tuple[str, str]) -> str:
    """The results for people. names: of the methods a and b."""
    agreed = results.agreement
    kappa = "–" if agreed.fleiss is None else f"{agreed.fleiss:.2f}"
    answered = f"{results.answers:,} answers of {len(results.raters)} raters on {results.pairs:,} pairs"
    clustered = (
        "not known: it takes two raters and two pairs" if results.bootstrap is None else _percents(results.bootstrap)
    )
    lines = [
        f"{100 * results.prefer_a:.2f}% prefer {names[0]} over {names[1]}: {answered}",
        f"  {clustered}  {CONFIDENCE:.0%} interval, raters and pairs drawn anew (bootstrap)",
        f"  {_percents(results.wilson)}  {CONFIDENCE:.0%} interval, if all answers were independent (Wilson)",
        f"{results.pairs_with_enough} of {results.pairs} pairs have {RATERS_WANTED} answers or more",
    ]
    if agreed.observed is not None:
        lines.append(
            f"two raters of one pair give the same answer in {100 * agreed.observed:.1f}% of the cases "
            f"(Fleiss' kappa {kappa}, {agreed.pairs} pairs)"
        )
    width = max(len("rater"), *(len(name) for name in results.raters))
    lines += ["", f"{'rater':<{width}}  answers  prefers {names[0]}  chose left  median seconds"]
    lines += [
        f"{name:<{width}}  {rater.answers:>7}  {f'{100 * rater.prefer_a:.1f}%':>{8 + len(names[0])}}  "
        f"{f'{100 * rater.chose_left:.1f}%':>10}  {rater.seconds:>14.1f}"
        for name, rater in results.raters.items()
    ]
    return "\n".join(lines)


def _percents(interval: Interval) -> str:
    return f"{100 * interval[0]:.2f}% to {100 * interval[1]:.2f}%"
