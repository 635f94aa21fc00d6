"""Rows of CSV files as people and spreadsheet programs write them, with checks that name file, line and column."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from likeness.command import BadInput


@dataclass(frozen=True)
class Columns:
    """Which columns a CSV file has, and what messages say of it."""

    what: str
    """What the rows are, in the plural: `judgements`, say."""
    needed: tuple[str, ...]
    """The columns that must be there; every row has a cell in each, which may be empty."""
    remedy: str
    """How to come by such a file, or what its first line must be."""
    optional: tuple[str, ...] = ()
    """The columns that may be there; a row that ends early has empty cells in them."""
    others: bool = False
    """Whether columns of other names may stand beside them; nobody reads those."""


_FORMULA = "[=+@\\t\\r-]"
"""What spreadsheet programs take for the beginning of a formula, which they run when somebody opens the file."""


def defused(cell: str) -> str:
    """Text as a cell that no spreadsheet program runs: behind an apostrophe where it would. `plain` undoes it."""
    return f"'{cell}" if re.match(f"'*{_FORMULA}", cell) else cell


def plain(cell: str) -> str:
    """The text of a cell that `defused` may have written."""
    return cell[1:] if re.match(f"'+{_FORMULA}", cell) else cell


def read_rows(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of every row of a CSV file in UTF-8, in order; empty lines are passed over.

    A byte order mark, which spreadsheet programs put first, is no part of the first column's name, nor is what
    `defused` put before a cell a part of that.
    Raises BadInput, when iteration comes to it, where the file cannot be read, is no CSV file, lacks a column, has one
    too many, or a row has more or fewer fields than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            _check_header(path, header, columns)
            for row in reader:
                # Fields beyond the header stand under None, and None stands for the cells of a row that ends early.
                if None in row or any(row[name] is None for name in columns.needed):
                    have = f"{columns.what} have {', '.join(header)}"
                    raise BadInput(f"{path} line {reader.line_num} has not {len(header)} fields; {have}")
                yield reader.line_num, {name: plain(cell or "") for name, cell in row.items()}
    except OSError as error:
        raise BadInput(f"{path} cannot be read as {columns.what}: {error.strerror}; {columns.remedy}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not in UTF-8: {error}; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise BadInput(f"{path} is not a CSV file: {error}; save it as CSV in UTF-8") from error


def _check_header(path: Path, header: list[str], columns: Columns) -> None:
    known = (*columns.needed, *columns.optional)
    problems = [f"no column {name!r}" for name in columns.needed if name not in header]
    problems += [f"unknown column {name!r}" for name in header if name not in known and not columns.others]
    problems += [f"two columns {name!r}" for name in known if header.count(name) > 1]
    if problems:
        also = f" and, if wanted, {', '.join(columns.optional)}" if columns.optional else ""
        raise BadInput(
            f"{path} has the columns {', '.join(header) or 'nothing'}; {columns.what} have "
            f"{', '.join(columns.needed)}{also} ({problems[0]}); {columns.remedy}"
        )
