"""Where the inputs of batch inference come from: a CSV of files, or shards."""

import csv
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from deploy import pictures
from shards import labels, samples
from shards.command import BadInput
from shards.records import LabelSchema, Manifest, load_manifest

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]

COLUMNS = ("label", "exemplar_label", "exemplar")


@dataclass(frozen=True)
class Job:
    """One picture to make. output: its path below the output folder. load: decodes its inputs, without batch axis."""

    output: str
    load: Callable[[], Tensors]


class Pairs(Protocol):
    """What batch inference reads."""

    @property
    def count(self) -> int:
        """How many pictures there are to make."""

    @property
    def identity(self) -> str:
        """Changes when any input changes; an unfinished folder is continued only with equal ones."""

    def jobs(self, finished: Collection[str]) -> Iterator[Job]:
        """The jobs in order, in bounded memory, without those whose output is in `finished`."""


def open_pairs(path: Path, schema: LabelSchema, inputs: tuple[str, ...], roll_labels: int = 0) -> Pairs:
    """A CSV file, a folder of shards or their manifest, checked as far as possible without decoding.

    schema, inputs: the model's. roll_labels: see `ShardPairs`. Raises BadInput naming file, line and remedy.
    """
    if path.suffix.lower() == ".csv":
        if roll_labels:
            raise BadInput(f"--roll-labels needs shards, but {path} is a CSV file; write other labels into the CSV")
        return CsvPairs(path, schema, inputs)
    if not path.exists():
        raise BadInput(f"no pairs at {path}; give a CSV file, a folder of shards or its manifest.json")
    return ShardPairs(path, schema, inputs, roll_labels)


class CsvPairs:
    """Rows of files. Columns: those of `label`, `exemplar_label` and `exemplar` that the model reads, and, if wanted,
    `output`, the picture's name below the output folder (default: the row's number). Paths are relative to the CSV.

    Raises BadInput naming the line when a column, a cell or a file is missing, or two rows have one output.
    """

    def __init__(self, path: Path, schema: LabelSchema, inputs: tuple[str, ...]) -> None:
        self.schema = schema
        self.rows: dict[str, dict[str, Path]] = {}
        marks = []
        for line, row in _rows(path, inputs):
            output = _output(row.get("output") or f"{len(self.rows) + 1:06d}.png", f"{path} line {line}")
            if output in self.rows:
                raise BadInput(f"{path} line {line}: the output {output} is taken by an earlier row; name another one")
            self.rows[output] = {name: path.parent / row[name] for name in inputs}
            for name, file in self.rows[output].items():
                if not file.is_file():
                    raise BadInput(f"{path} line {line}: there is no {name} file {file}")
                status = file.stat()
                marks.append([output, name, row[name], status.st_size, status.st_mtime_ns])
        if not self.rows:
            raise BadInput(f"{path} has a header but no rows; add one row per picture")
        self._identity = hashlib.sha256(json.dumps(marks).encode()).hexdigest()

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def identity(self) -> str:
        return self._identity

    def jobs(self, finished: Collection[str]) -> Iterator[Job]:
        for output, files in self.rows.items():
            if output not in finished:
                yield Job(output, lambda files=files: self._load(files))  # type: ignore[misc]

    def _load(self, files: dict[str, Path]) -> Tensors:
        return {
            name: pictures.to_tensor(pictures.read_photo(file, self.schema))
            if name == "exemplar"
            else labels.expand(self.schema, pictures.read_label(file, self.schema))
            for name, file in files.items()
        }


def _rows(path: Path, inputs: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells) of every row; all columns of the model's inputs are there and filled."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or []
            if missing := [name for name in inputs if name not in header]:
                raise BadInput(
                    f"{path} line 1: the column {missing[0]!r} is missing; the model reads {', '.join(inputs)}, "
                    f"the header has {', '.join(header) or 'nothing'}"
                )
            if unknown := [name for name in header if name not in (*COLUMNS, "output")]:
                raise BadInput(f"{path} line 1: unknown column {unknown[0]!r}; known are {', '.join(COLUMNS)}, output")
            for row in reader:
                if None in row or any(not row[name] for name in inputs):
                    raise BadInput(f"{path} line {reader.line_num}: it does not fill the columns {', '.join(inputs)}")
                yield reader.line_num, row
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a CSV file in UTF-8: {error}") from error


def _output(name: str, where: str) -> str:
    """A path below the output folder, normal and visible. Raises BadInput for anything else."""
    path = PurePosixPath(name)
    if path.is_absolute() or path.suffix != ".png" or any(part.startswith(".") for part in path.parts):
        raise BadInput(f"{where}: {name!r} cannot be an output; give a path below the output folder that ends in .png")
    return path.as_posix()


class ShardPairs:
    """The pairs of shards. Each picture is named after its pair's key.

    roll_labels: the target label of pair i is taken from pair i + roll_labels, counted around the end, while the
    exemplar stays: pictures that then do not change show a model that ignores its label.

    Raises BadInput when shards are damaged or their label schema is not the model's.
    """

    def __init__(self, path: Path, schema: LabelSchema, inputs: tuple[str, ...], roll_labels: int = 0) -> None:
        self.manifest: Manifest
        self.manifest, self.folder = load_manifest(path)
        if difference := schema.difference(self.manifest.schema):
            raise BadInput(f"{self.folder}/manifest.json has another label schema than the model: {difference}")
        if not self.manifest.samples:
            raise BadInput(f"{self.folder} holds no pairs; pack some with `python -m shards pack`")
        samples.check_shards(self.folder, self.manifest)
        self.schema, self.inputs = schema, inputs
        self.roll = roll_labels % self.manifest.samples

    @property
    def count(self) -> int:
        return self.manifest.samples

    @property
    def identity(self) -> str:
        return f"{self.manifest.digest} rolled by {self.roll}"

    def jobs(self, finished: Collection[str]) -> Iterator[Job]:
        seen: set[str] = set()
        label_members = ("json", "target.label.png")
        members = ("json", "exemplar.jpg", "exemplar.png", "exemplar.label.png", *(() if self.roll else label_members))
        targets = itertools.chain(
            itertools.islice(self._read(label_members), self.roll, None),
            itertools.islice(self._read(label_members), self.roll),
        )
        for pair in self._read(members):
            target = next(targets) if self.roll else pair
            output = _output(f"{pair[samples.KEY].decode()}.png", samples.place(pair, "json"))
            if output in seen:
                raise BadInput(f"{samples.place(pair, 'json')}: another pair has this key; pack the shards again")
            seen.add(output)
            if output not in finished:
                yield Job(output, lambda pair=pair, target=target: self._load(pair, target))  # type: ignore[misc]

    def _read(self, extensions: tuple[str, ...]) -> Iterator[samples.Members]:
        return (members for _, members in samples.iter_samples(self.folder, self.manifest, extensions))

    def _load(self, pair: samples.Members, target: samples.Members) -> Tensors:
        tensors: Tensors = {}
        for name in self.inputs:
            if name == "exemplar":
                tensors[name] = pictures.to_tensor(samples.decode_photo(pair, "exemplar", self.schema))
            else:
                members, side = (target, "target") if name == "label" else (pair, "exemplar")
                loaded = samples.decode_label(members, side, self.schema, samples.decode_pair(members))
                tensors[name] = labels.expand(self.schema, loaded)
        return tensors
