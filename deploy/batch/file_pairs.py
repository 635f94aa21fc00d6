"""Pairs of files, listed in a CSV or laid out in folders by input."""

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.batch.outputs import Output
from deploy.batch.pairs import BadPair, Changes, Job, PairOptions, bounds, name_of, numbered
from likeness.command import BadInput
from likeness.folders import Unused, visible_files
from likeness.names import file_called
from likeness.names import name_of as name_in
from likeness.rows import Columns, read_rows
from shards.inputs import INPUTS, Input, Loaded, inputs_of
from shards.media.pictures import read_bytes
from shards.operators.labelling import Labelling
from shards.operators.sample_files import File, Preparing, load_files
from shards.records import LabelSchema

BETWEEN_FILES = "|"
"""In a cell, between the files of one label map, as the lists of the style-consistent paper's code have it."""
_MARKS = 2**256


class FilePairs:
    """Pairs of files.

    rows: by output, the files of the model's inputs in their order, "" where one is to be drawn; a style code may stand
    there itself. where: what lists them; files are relative to it, or to its folder if it is a file, and found by name
    however the disk spells it (see `likeness.names.file_called`). notes: lines about files that are not used.

    Raises BadInput when a row gives a style where several are to be drawn.
    """

    def __init__(
        self,
        rows: dict[str, tuple[str, ...]],
        where: Path,
        schema: LabelSchema,
        inputs: tuple[str, ...],
        options: PairOptions,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.notes = notes
        self.rows, self.schema, self.inputs, self.options = rows, schema, inputs, options
        self._preparing = preparing_of(schema, inputs, options)
        self.part, self.styles = options.part, options.styles
        self.roll = 0
        self._folder = where if where.is_dir() else where.parent
        styles, output = options.styles, options.output
        self.total = len(rows) * styles
        self.ours = bounds(self.total, options.part, output.unit)
        if styles > 1:
            numbered_columns = [column for column, each in enumerate(inputs_of(inputs)) if each.numbered]
            for name, row in rows.items():
                if any(row[column] for column in numbered_columns):
                    raise BadInput(f"{where}: {name} has a style already; leave it out, or --styles {styles}")
                output.path(numbered(name, styles, styles), str(where))
        self._rows = {numbered(name, style + 1, styles): name for name in rows for style in range(styles)}
        self._mark = sum(map(self.mark, self._rows)) % _MARKS

    def identity(self, changes: Changes) -> str:
        changed = sum(
            began - (self.mark(output) if painted is None else painted)
            for output, (began, painted) in changes.items()
            if output in self._rows
        )
        order = hashlib.sha256("\n".join(self._rows).encode()).hexdigest()
        return f"{order} {(self._mark + changed) % _MARKS:064x}"

    def mark(self, output: str) -> int:
        """From names, sizes and times of the files."""
        mark: list[Any] = [output]
        for each, cell in zip(inputs_of(self.inputs), self.rows[self._rows[output]], strict=True):
            files: list[Path | None] = [] if each.in_cell(cell) else [*_files_of(each, cell, self._folder)]
            mark.append([cell, *(number for file in files or [None] for number in _status(file))])
        return int(hashlib.sha256(json.dumps(mark).encode()).hexdigest(), 16)

    def jobs(self, wanted: Callable[[int, str], bool]) -> Generator[Job]:
        rows = itertools.islice(self._rows.items(), self.ours.start, self.ours.stop)
        for number, (output, row) in zip(self.ours, rows, strict=True):
            if wanted(number, output):
                source = {name: file for name, file in zip(self.inputs, self.rows[row], strict=True) if file}
                load = functools.partial(self._load, source)
                yield Job(number, output, source, load, name_of(row), number % self.styles + 1)

    def _load(self, source: dict[str, str]) -> Loaded:
        files: dict[str, list[File]] = {}
        try:
            for name, cell in source.items():
                each = INPUTS[name]
                if each.in_cell(cell):
                    files[name] = [(cell.encode(), f"the {name}")]
                else:
                    files[name] = [(read_bytes(path), str(path)) for path in _files_of(each, cell, self._folder)]
            return load_files(files, self._preparing)
        except BadInput as error:
            raise BadPair(_where(source, self._folder, str(error)), str(error)) from error


def _where(source: dict[str, str], folder: Path, message: str) -> str:
    """Which of a pair's cells a message is about: the first whose file it names, else the first of all."""
    cells = {name: cell if INPUTS[name].in_cell(cell) else str(folder / cell) for name, cell in source.items()}
    for name, cell in source.items():
        in_cell = INPUTS[name].in_cell(cell)
        named = [f"the {name}"] if in_cell else [str(path) for path in _files_of(INPUTS[name], cell, folder)]
        if any(file in message for file in named):
            return cells[name]
    return next(iter(cells.values()))


def preparing_of(schema: LabelSchema, inputs: tuple[str, ...], options: PairOptions) -> Preparing:
    """How files become what the model reads."""
    return Preparing(options.labelling or Labelling("auto", schema), inputs, options.style_length)


def _files_of(each: Input, cell: str, folder: Path) -> list[Path]:
    """The files of a cell: several where a label map is in several, as `DENSEPOSE.png|KEYPOINTS.json`."""
    whole = file_called(folder, cell)
    if each.label_side is None or whole.is_file():
        return [whole]
    return [file_called(folder, part) for part in cell.split(BETWEEN_FILES)]


def _status(file: Path | None) -> tuple[int | None, int | None]:
    """A file's size and time of change, None of one that is not there."""
    if file is None or not file.is_file():
        return None, None
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def read_csv(
    path: Path, inputs: tuple[str, ...], needed: tuple[str, ...], output: Output, max_bad: int
) -> dict[str, tuple[str, ...]]:
    """The rows of a CSV. Columns: the model's inputs, and, if wanted, `output`, the picture's name below the output
    folder (default: the row's number). A label map of two files, a pose with DensePose, has both in its cell, with a |
    between them. Paths are relative to it. needed: the inputs that every row gives; the others may be left out, as
    columns or in some rows.

    Raises BadInput naming the line when a column or a cell is missing, more than `max_bad` files are, or two rows have
    one output.
    """
    rows: dict[str, tuple[str, ...]] = {}
    missing = 0
    for line, row in _rows(path, inputs, needed):
        name = output.path(row.get("output") or f"{len(rows) + 1:06d}{output.suffix}", f"{path} line {line}")
        if name in rows:
            raise BadInput(f"{path} line {line}: the output {name} is taken by an earlier row; name another one")
        rows[name] = tuple(row.get(column) or "" for column in inputs)
        cells = {column: cell for column, cell in zip(inputs, rows[name], strict=True) if cell}
        absent = [
            (column, file)
            for column, cell in cells.items()
            if not INPUTS[column].in_cell(cell)
            for file in _files_of(INPUTS[column], cell, path.parent)
            if not file.is_file()
        ]
        missing += bool(absent)
        if missing > max_bad:
            column, file = absent[0]
            raise BadInput(f"{path} line {line}: there is no {column} file {file}")
    if not rows:
        raise BadInput(f"{path} has a header but no rows; add one row per picture")
    for name in rows:
        if above := next((str(folder) for folder in PurePosixPath(name).parents if str(folder) in rows), None):
            raise BadInput(f"{path}: the output {above} cannot be a file and the folder of {name}; name another one")
    return rows


def _rows(path: Path, inputs: tuple[str, ...], needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells) of every row; those of inputs that are needed are there and filled."""
    optional = (*(name for name in INPUTS if name not in needed), "output")
    for line, row in read_rows(path, Columns("pairs", needed, f"the model reads {', '.join(inputs)}", optional)):
        if not all(row[name] for name in needed):
            raise BadInput(f"{path} line {line}: it does not fill the columns {', '.join(needed)}")
        if any("\0" in cell for cell in row.values()):
            raise BadInput(f"{path} line {line}: a cell holds a NUL, which no file's name can; take it out")
        yield line, row


def read_folder(
    folder: Path, inputs: tuple[str, ...], needed: tuple[str, ...], output: Output, unused: Unused
) -> dict[str, tuple[str, ...]]:
    """The pairs of a folder's folders, one for each input: files of the same path but for the suffix belong together,
    and a file that is alone in its folder belongs to all. Pictures are named after them. needed: the inputs whose
    folders may not be left out.

    Folders are walked as packing walks them, see `likeness.folders`; what is not read is counted in `unused`.
    Raises BadInput naming what is missing and what is one too many.
    """
    visible = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if missing := [name for name in needed if not (folder / name).is_dir()]:
        raise BadInput(
            f"{folder} has no folder {missing[0]}; give one for each of the model's inputs: "
            f"{', '.join(needed)} (or give a CSV file, or a folder of shards with its manifest.json)"
        )
    if unknown := [entry for entry in visible if entry.name not in INPUTS or not entry.is_dir()]:
        raise BadInput(f"{unknown[0]} is none of the folders {', '.join(INPUTS)}; move it elsewhere")
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            unused.add("hidden", name_in(entry, folder))
        elif entry.name not in inputs:
            unused.add("folders of inputs that the model does not read", entry.name)
    by_input = {name: _named_files(folder, name, unused) for name in inputs if (folder / name).is_dir()}
    several = {name: files for name, files in by_input.items() if len(files) > 1}
    leading = next(iter(several), next(iter(by_input)))
    names = by_input[leading]
    for name, files in several.items():
        for key in sorted(names.keys() ^ files.keys()):
            has, lacks = (leading, name) if key in names else (name, leading)
            raise BadInput(
                f"{folder / by_input[has][key]} has no counterpart {folder / lacks / key}.…; add it, or remove the file"
            )
    alone = {name: next(iter(files.values())) for name, files in by_input.items() if name not in several}
    return {
        output.path(f"{key}{output.suffix}", str(folder / names[key])): tuple(
            alone.get(name) or by_input.get(name, {}).get(key, "") for name in inputs
        )
        for key in sorted(names)
    }


def _named_files(folder: Path, name: str, unused: Unused) -> dict[str, str]:
    """The visible files of a folder's folder `name`: their names in `folder`, by those in it without the suffix."""
    files: dict[str, str] = {}
    for inside, path in visible_files(folder / name, unused).items():
        key = PurePosixPath(inside).with_suffix("").as_posix()
        if key in files:
            raise BadInput(f"{path} and {folder / files[key]} differ in nothing but the suffix; rename one")
        files[key] = f"{name}/{inside}"
    if not files:
        raise BadInput(f"{folder / name} holds no files; put one there for each picture, or a single one for all")
    return files
