"""Judgements of pairs: the CSV, majorities, and kappas against textbook numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.command import BadInput
from shards.judging.judgements import ANSWERS, Answer, Judgement, agreement, read_judgements, verdicts, write_judgements

names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
judged = st.builds(
    Judgement,
    names,
    st.integers(0, 10**6),
    names,
    st.integers(0, 10**6),
    st.sampled_from(ANSWERS),
    names,
    st.floats(0, 1e6),
    st.just("2026-11-01T10:00:00+00:00"),
)


def answer(pair: int, rater: str, said: Answer) -> Judgement:
    return Judgement("a.mp4", pair, "b.mp4", pair, said, rater, 1.0, "2026-11-01T10:00:00+00:00")


@given(st.lists(judged.filter(lambda j: len(j.shown) == 2), max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Judgement]) -> None:
    path = tmp_path_factory.mktemp("csv") / "judged.csv"
    write_judgements(path, rows)
    assert read_judgements(path) == rows


def test_bad_files_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    with pytest.raises(BadInput, match="cannot be read as judgements"):
        read_judgements(path)
    path.write_text("one,other\na,b\n")
    with pytest.raises(BadInput, match="has the columns one, other; judgements have one, one_frame"):
        read_judgements(path)
    write_judgements(path, [answer(1, "ann", "unsure"), answer(2, "ann", "consistent")])
    whole = path.read_text()
    path.write_text(whole.replace("unsure", "maybe"))
    with pytest.raises(BadInput, match="line 2: judgement is 'maybe'; it is one of consistent, inconsistent, unsure"):
        read_judgements(path)
    path.write_text(whole.replace("a.mp4,2", "a.mp4,two"))
    with pytest.raises(BadInput, match=r"line 3: one_frame is 'two', not a frame's number"):
        read_judgements(path)
    for before, after, words in (
        ("a.mp4,2", "a.mp4,-2", "one_frame is '-2'"),
        ("a.mp4,2", "b.mp4,2", r"b\.mp4 frame 2 is judged against itself"),
        ("consistent,ann,1.0", "consistent,ann,nan", "seconds are nan"),
        ("consistent,ann,1.0", "consistent,,1.0", "the rater is ''"),
        ("2026-11-01T10:00:00+00:00", "yesterday", "answered_at a time"),
        ("consistent,ann", "consistent,ann,and,more", "has not 8 fields"),
    ):
        path.write_text(whole.replace(before, after))
        with pytest.raises(BadInput, match=f"line [23].*{words}"):
            read_judgements(path)


def test_the_majority_decides_and_the_last_answer_of_a_rater_counts() -> None:
    rows = [
        answer(0, "ann", "consistent"),
        answer(0, "ben", "consistent"),
        answer(0, "cat", "inconsistent"),
        answer(1, "ann", "consistent"),
        answer(1, "ben", "inconsistent"),
        answer(2, "ann", "unsure"),
        answer(3, "ann", "consistent"),
        replace(answer(3, "ann", "inconsistent"), one="b.mp4", other="a.mp4"),
    ]
    assert verdicts(rows) == {rows[0].shown: True, rows[6].shown: False}


def test_cohen_of_a_textbook_table() -> None:
    """Two readers, 50 proposals: both yes 20, yes/no 5, no/yes 10, both no 15. Observed 0.7, chance 0.5, kappa 0.4."""
    table = {("consistent", "consistent"): 20, ("consistent", "inconsistent"): 5}
    table |= {("inconsistent", "consistent"): 10, ("inconsistent", "inconsistent"): 15}
    rows, pair = [], 0
    for (ann, ben), count in table.items():
        for _ in range(count):
            rows += [answer(pair, "ann", ann), answer(pair, "ben", ben)]  # type: ignore[arg-type]
            pair += 1
    found = agreement(rows)
    assert (found.pairs, found.raters) == (50, 2)
    assert found.observed == pytest.approx(0.7)
    assert found.cohen == pytest.approx(0.4)


def test_fleiss_of_a_computed_table() -> None:
    """Four pairs, three raters, counts (3,0,0), (2,1,0), (0,3,0), (1,1,1).

    P_i = (sum of n² - n)/(n(n-1)) = 1, 1/3, 1, 0; their mean 7/12. Shares 6/12, 5/12, 1/12; chance 62/144.
    """
    counts = [(3, 0, 0), (2, 1, 0), (0, 3, 0), (1, 1, 1)]
    rows = []
    for pair, row in enumerate(counts):
        given_ = [said for said, count in zip(ANSWERS, row, strict=True) for _ in range(count)]
        rows += [answer(pair, rater, said) for rater, said in zip(("ann", "ben", "cat"), given_, strict=True)]
    found = agreement(rows)
    assert found.cohen is None
    assert found.fleiss == pytest.approx((7 / 12 - 62 / 144) / (1 - 62 / 144))


def test_no_agreement_without_two_raters() -> None:
    assert agreement([answer(0, "ann", "consistent")]).fleiss is None
    alike = agreement([answer(n, rater, "consistent") for n in range(3) for rater in ("ann", "ben")])
    assert (alike.observed, alike.cohen, alike.fleiss) == (1.0, None, None)
