"""What people say of pairs of photos: the CSV of the judging page, majorities, and how far raters agree."""

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

from shards import atomic
from shards.command import BadInput
from shards.pairs import Shown

Answer = Literal["consistent", "inconsistent", "unsure"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)


@dataclass(frozen=True)
class Judgement:
    """One answer of one rater.

    one, other: the sources of the two photos; one_frame, other_frame: their frame numbers. seconds: how long the
    rater took. answered_at: the time of the answer, ISO 8601 in UTC.
    """

    one: str
    one_frame: int
    other: str
    other_frame: int
    judgement: Answer
    rater: str
    seconds: float
    answered_at: str

    @property
    def shown(self) -> Shown:
        """The two photos, whichever stood on which side."""
        return frozenset(((self.one, self.one_frame), (self.other, self.other_frame)))


COLUMNS = tuple(field.name for field in fields(Judgement))


def read_judgements(path: Path) -> list[Judgement]:
    """Reads a CSV of judgements. Raises BadInput naming file, line and value when it is not one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = tuple(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read as judgements: {error}; write some with `shards judge`") from error
    if columns != COLUMNS:
        raise BadInput(f"{path} has the columns {', '.join(columns)}; judgements have {', '.join(COLUMNS)}")
    return [_judgement(path, line, row) for line, row in rows]


def _judgement(path: Path, line: int, row: dict[str, str]) -> Judgement:
    answer = next((known for known in ANSWERS if known == row["judgement"]), None)
    if answer is None:
        raise BadInput(f"{path} line {line}: judgement is {row['judgement']!r}; it is one of {', '.join(ANSWERS)}")
    if None in row or None in row.values():
        raise BadInput(f"{path} line {line} has not {len(COLUMNS)} fields; judgements have {', '.join(COLUMNS)}")
    for name in ("one_frame", "other_frame"):
        if not (row[name].isascii() and row[name].isdigit()):
            raise BadInput(f"{path} line {line}: {name} is {row[name]!r}, not a frame's number")
    try:
        seconds = float(row["seconds"])
        datetime.fromisoformat(row["answered_at"])
    except ValueError as error:
        raise BadInput(f"{path} line {line}: {error}; seconds are a number, answered_at a time in ISO 8601") from error
    if not (math.isfinite(seconds) and seconds >= 0 and row["rater"]):
        raise BadInput(
            f"{path} line {line}: seconds are {seconds:g}, the rater is {row['rater']!r}; both must be given"
        )
    made = Judgement(
        row["one"],
        int(row["one_frame"]),
        row["other"],
        int(row["other_frame"]),
        answer,
        row["rater"],
        seconds,
        row["answered_at"],
    )
    if len(made.shown) != 2:
        raise BadInput(f"{path} line {line}: {made.one} frame {made.one_frame} is judged against itself")
    return made


def write_judgements(path: Path, judgements: Iterable[Judgement]) -> None:
    """Writes a CSV of judgements, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(asdict(judgement) for judgement in judgements)
    atomic.write_text(path, text.getvalue())


def latest(judgements: Iterable[Judgement]) -> list[Judgement]:
    """One judgement for each rater and pair: the last one given."""
    kept = {(judgement.shown, judgement.rater): judgement for judgement in judgements}
    return list(kept.values())


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
    """How far raters agree, over the pairs that at least two of them judged.

    observed: the mean share of pairs of raters that gave one answer. cohen: Cohen's kappa, when there are exactly two
    raters. fleiss: Fleiss' kappa. The kappas are 1 for full agreement and 0 for what chance would give; None where all
    answers are equal, so that chance explains everything.
    """

    pairs: int
    raters: int
    observed: float | None
    cohen: float | None
    fleiss: float | None


def agreement(judgements: Sequence[Judgement]) -> Agreement:
    """Cohen's kappa (1960) for two raters, and Fleiss' kappa (1971) for any number, over all three answers.

    Pairs may have different numbers of raters: the share of agreeing pairs of raters is then taken pair by pair and
    averaged, and the shares of the answers over all answers, which for equal numbers is Fleiss' own formula.
    """
    by_pair: defaultdict[Shown, dict[str, Answer]] = defaultdict(dict)
    for judgement in latest(judgements):
        by_pair[judgement.shown][judgement.rater] = judgement.judgement
    rated = [answers for answers in by_pair.values() if len(answers) >= 2]
    raters = sorted({rater for answers in rated for rater in answers})
    if not rated:
        return Agreement(0, len(raters), None, None, None)
    shares = []
    for answers in rated:
        together = [one == other for one, other in combinations(answers.values(), 2)]
        shares.append(sum(together) / len(together))
    observed = sum(shares) / len(shares)
    given = Counter(answer for answers in rated for answer in answers.values())
    chance = sum((count / given.total()) ** 2 for count in given.values())
    cohen = None
    if len(raters) == 2:
        each = [Counter(answers[rater] for answers in rated) for rater in raters]
        by_chance = sum(each[0][answer] * each[1][answer] for answer in ANSWERS) / len(rated) ** 2
        cohen = _kappa(observed, by_chance)
    return Agreement(len(rated), len(raters), observed, cohen, _kappa(observed, chance))


def _kappa(observed: float, chance: float) -> float | None:
    return None if chance == 1 else (observed - chance) / (1 - chance)
