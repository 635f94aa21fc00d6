"""What people say of pairs of photos: the CSV of the judging page, majorities, and how far raters agree."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from likeness.command import BadInput
from likeness.names import quoted
from likeness.rating_rows import seconds_of, write_rows
from likeness.rows import Columns, read_rows
from shards.records import Shown

Answer = Literal["consistent", "inconsistent", "unsure"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)


@dataclass(frozen=True)
class Judgement:
    """One answer of one rater."""

    one: str
    """The source of one photo."""
    one_frame: int
    """Its frame number."""
    other: str
    """The source of the other photo."""
    other_frame: int
    """Its frame number."""
    judgement: Answer
    """What the rater said of their styles."""
    rater: str
    """Who answered."""
    seconds: float
    """How long the rater took."""
    answered_at: str
    """The time of the answer, ISO 8601 in UTC."""

    @property
    def shown(self) -> Shown:
        """The two photos, whichever stood on which side."""
        return frozenset(((self.one, self.one_frame), (self.other, self.other_frame)))


_DIGITS = 15
"""Of a frame's number."""
COLUMNS = tuple(field.name for field in fields(Judgement))


def read_judgements(path: Path) -> list[Judgement]:
    """Reads a CSV of judgements. Raises BadInput naming file, line and value when it is not one."""
    columns = Columns("judgements", COLUMNS, "write some with `shards judge`")
    return [_judgement(path, line, row) for line, row in read_rows(path, columns)]


def _judgement(path: Path, line: int, row: dict[str, str]) -> Judgement:
    answer = next((known for known in ANSWERS if known == row["judgement"]), None)
    if answer is None:
        raise BadInput(f"{path} line {line}: judgement is {row['judgement']!r}; it is one of {', '.join(ANSWERS)}")
    for name in ("one_frame", "other_frame"):
        if not (row[name].isascii() and row[name].isdigit() and len(row[name]) <= _DIGITS):
            raise BadInput(f"{path} line {line}: {name} is {quoted(row[name])}, not a frame's number")
    judgement = Judgement(
        row["one"],
        int(row["one_frame"]),
        row["other"],
        int(row["other_frame"]),
        answer,
        row["rater"],
        seconds_of(path, line, row),
        row["answered_at"],
    )
    if len(judgement.shown) != 2:
        raise BadInput(f"{path} line {line}: {judgement.one} frame {judgement.one_frame} is judged against itself")
    return judgement


def write_judgements(path: Path, judgements: Iterable[Judgement]) -> None:
    """Writes a CSV of judgements, whole or not at all."""
    write_rows(path, COLUMNS, (asdict(judgement) for judgement in judgements))


def latest(judgements: Iterable[Judgement]) -> list[Judgement]:
    """One judgement for each rater and pair: the last one given."""
    last = {(judgement.shown, judgement.rater): judgement for judgement in judgements}
    return list(last.values())


def verdicts(judgements: Sequence[Judgement]) -> dict[Shown, bool]:
    """For each pair whether more raters call it consistent than inconsistent; pairs without a majority are left out.

    `unsure` does not count.
    """
    balance: Counter[Shown] = Counter()
    for judgement in latest(judgements):
        balance[judgement.shown] += {"consistent": 1, "inconsistent": -1, "unsure": 0}[judgement.judgement]
    return {shown: votes > 0 for shown, votes in balance.items() if votes}


@dataclass(frozen=True)
class Agreement:
    """How far raters agree, over the pairs that at least two of them judged. The kappas are 1 for full agreement and 0
    for what chance would give; None where all answers are equal, so that chance explains everything.
    """

    pairs: int
    """Pairs that at least two raters judged."""
    raters: int
    """Raters who judged them."""
    observed: float | None
    """The mean share of pairs of raters that gave one answer; None without such pairs."""
    cohen: float | None
    """Cohen's kappa, when there are exactly two raters."""
    fleiss: float | None
    """Fleiss' kappa."""


def agreement(judgements: Sequence[Judgement]) -> Agreement:
    """How far raters agree over all three answers, see `agreement_of`."""
    return agreement_of((judgement.shown, judgement.rater, judgement.judgement) for judgement in latest(judgements))


def agreement_of(answers: Iterable[tuple[Hashable, str, str]]) -> Agreement:
    """Cohen's kappa (1960) for two raters, and Fleiss' kappa (1971) for any number.

    answers: (what was rated, rater, answer), one for each rater and thing. Things may have different numbers of raters:
    the share of agreeing pairs of raters is then taken thing by thing and averaged, and the shares of the answers over
    all answers, which for equal numbers is Fleiss' own formula.
    """
    by_pair: defaultdict[Hashable, dict[str, str]] = defaultdict(dict)
    for rated_thing, rater, answer in answers:
        by_pair[rated_thing][rater] = answer
    rated = [answers_of for answers_of in by_pair.values() if len(answers_of) >= 2]
    raters = sorted({rater for answers_of in rated for rater in answers_of})
    if not rated:
        return Agreement(0, len(raters), None, None, None)
    shares = []
    for by_rater in rated:
        counts = Counter(by_rater.values())
        number = counts.total()
        shares.append(sum(count * (count - 1) for count in counts.values()) / (number * (number - 1)))
    observed = sum(shares) / len(shares)
    every = Counter(answer for by_rater in rated for answer in by_rater.values())
    chance = sum((count / every.total()) ** 2 for count in every.values())
    cohen = None
    if len(raters) == 2:
        each = [Counter(by_rater[rater] for by_rater in rated) for rater in raters]
        by_chance = sum(each[0][answer] * each[1][answer] for answer in every) / len(rated) ** 2
        cohen = _kappa(observed, by_chance)
    return Agreement(len(rated), len(raters), observed, cohen, _kappa(observed, chance))


def _kappa(observed: float, chance: float) -> float | None:
    return None if chance == 1 else (observed - chance) / (1 - chance)
