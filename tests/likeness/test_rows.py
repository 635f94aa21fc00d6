"""CSV files as people write them: read as they are meant, or refused by line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.command import BadInput
from likeness.rating_rows import write_rows
from likeness.rows import Columns, defused, plain, read_rows

COLUMNS = Columns("pairs", ("target", "exemplar"), "give a CSV file of pairs", optional=("s",))


def read(path: Path, content: bytes, columns: Columns = COLUMNS) -> list[tuple[int, dict[str, str]]]:
    path.write_bytes(content)
    return list(read_rows(path, columns))


def test_rows_of_spreadsheet_programs(tmp_path: Path) -> None:
    text = 'target,exemplar,s\r\n"a,1.png",b.png,\r\n\r\nc.png,"d\n.png"\r\n'
    rows = read(tmp_path / "rows.csv", text.encode("utf-8-sig"))
    first = {"target": "a,1.png", "exemplar": "b.png", "s": ""}
    assert rows == [(2, first), (5, {"target": "c.png", "exemplar": "d\n.png", "s": ""})]
    others = Columns("styles", ("target",), "write one", others=True)
    assert read(tmp_path / "rows.csv", b"x,target\n1,a\n", others) == [(2, {"x": "1", "target": "a"})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"has the columns nothing; pairs have target, exemplar and, if wanted, s \(no column 'target'\); give"),
        (b"target,s\na,1\n", "no column 'exemplar'"),
        (b"target,exemplar,style\na,b,c\n", "unknown column 'style'"),
        (b"target,exemplar,target\na,b,c\n", "two columns 'target'"),
        (b"target,exemplar\na,b\nc\n", "line 3 has not 2 fields; pairs have target, exemplar"),
        (b"target,exemplar\na,b,c\n", "line 2 has not 2 fields"),
        ("target,exemplar\né,b\n".encode("latin-1"), "is not in UTF-8"),
        (b'target,exemplar\n"a"b,c\n', "is not a CSV file"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=rf"rows\.csv.*{words}"):
        read(tmp_path / "rows.csv", content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.csv cannot be read as pairs: No such file.*; give a CSV file of pairs"):
        list(read_rows(tmp_path / "none.csv", COLUMNS))


@given(st.text(alphabet=st.sampled_from("'=+-@\t\ra1é,\"\n"), max_size=6))
def test_no_cell_is_a_formula_and_each_is_read_back(cell: str) -> None:
    written = defused(cell)
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert plain(written) == cell
    assert written == cell or written == f"'{cell}"


def test_a_file_of_answers_runs_nothing_when_a_spreadsheet_program_opens_it(tmp_path: Path) -> None:
    path, columns = tmp_path / "answers.csv", ("rater", "source", "seconds")
    rows = [{"rater": "=cmd()", "source": "-x.mp4", "seconds": -1.5}, {"rater": "'=a", "source": "b", "seconds": 2}]
    write_rows(path, columns, rows)
    assert path.read_text().splitlines()[1:] == ["'=cmd(),'-x.mp4,-1.5", "''=a,b,2"]
    read = [row for _, row in read_rows(path, Columns("answers", columns, "write some"))]
    assert [(row["rater"], row["source"]) for row in read] == [("=cmd()", "-x.mp4"), ("'=a", "b")]
