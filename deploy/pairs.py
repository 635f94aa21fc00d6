"""Where the inputs of batch inference come from: a CSV of files, or shards."""

import csv
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from deploy import pictures
from shards import samples
from shards.command import BadInput
from shards.records import LabelSchema, Manifest, Shard, load_manifest

Array = np.ndarray[Any, Any]
Loaded = dict[str, Array]

COLUMNS = ("label", "exemplar_label", "exemplar")
WHOLE = (0, 1)
"""The slice of a run that is not sliced."""


@dataclass(frozen=True)
class Job:
    """One picture to make. output: its path below the output folder. load: decodes its inputs: photos uint8 (H, W, 3)
    RGB, label maps as `shards.labels` loads them."""

    output: str
    load: Callable[[], Loaded]


class Pairs(Protocol):
    """What batch inference reads."""

    part: tuple[int, int]
    """(i, n): slice i of n, counted from 0. The slices of a number n are disjoint runs of neighbours, together all."""

    total: int
    """How many pictures all slices make."""

    identity: str
    """The same for all slices; changes when any input changes. A folder is continued only with an equal one."""

    def jobs(self, wanted: Callable[[str], bool]) -> Iterator[Job]:
        """The jobs of the slice in order, in bounded memory; `wanted` is asked once about each output."""


def bounds(total: int, part: tuple[int, int]) -> range:
    """Which of `total` pairs slice (i, n) makes; their numbers differ by at most one between slices."""
    number, count = part
    return range(total * number // count, total * (number + 1) // count)


def open_pairs(
    path: Path,
    schema: LabelSchema,
    inputs: tuple[str, ...],
    roll_labels: int = 0,
    part: tuple[int, int] = WHOLE,
) -> Pairs:
    """A CSV file, a folder of shards or their manifest, checked as far as possible without decoding.

    schema, inputs: the model's. roll_labels: see `ShardPairs`. part: see `Pairs`.
    Raises BadInput naming file, line and remedy.
    """
    if path.suffix.lower() == ".csv":
        if roll_labels:
            raise BadInput(f"--roll-labels needs shards, but {path} is a CSV file; write other labels into the CSV")
        return CsvPairs(path, schema, inputs, part)
    if not path.exists():
        raise BadInput(f"no pairs at {path}; give a CSV file, a folder of shards or its manifest.json")
    return ShardPairs(path, schema, inputs, roll_labels, part)


class CsvPairs:
    """Rows of files. Columns: those of `label`, `exemplar_label` and `exemplar` that the model reads, and, if wanted,
    `output`, the picture's name below the output folder (default: the row's number). Paths are relative to the CSV.

    Raises BadInput naming the line when a column, a cell or a file is missing, or two rows have one output.
    """

    def __init__(self, path: Path, schema: LabelSchema, inputs: tuple[str, ...], part: tuple[int, int] = WHOLE) -> None:
        self.schema, self.part = schema, part
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
        self.identity = hashlib.sha256(json.dumps(marks).encode()).hexdigest()
        self.total = len(self.rows)

    def jobs(self, wanted: Callable[[str], bool]) -> Iterator[Job]:
        ours = bounds(self.total, self.part)
        for output, files in itertools.islice(self.rows.items(), ours.start, ours.stop):
            if wanted(output):
                yield Job(output, lambda files=files: self._load(files))  # type: ignore[misc]

    def _load(self, files: dict[str, Path]) -> Loaded:
        return {
            name: (pictures.read_photo if name == "exemplar" else pictures.read_label)(file, self.schema)
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

    def __init__(
        self,
        path: Path,
        schema: LabelSchema,
        inputs: tuple[str, ...],
        roll_labels: int = 0,
        part: tuple[int, int] = WHOLE,
    ) -> None:
        self.manifest: Manifest
        self.manifest, self.folder = load_manifest(path)
        if difference := schema.difference(self.manifest.schema):
            raise BadInput(f"{self.folder}/manifest.json has another label schema than the model: {difference}")
        if not self.manifest.samples:
            raise BadInput(f"{self.folder} holds no pairs; pack some with `python -m shards pack`")
        self.schema, self.inputs, self.part = schema, inputs, part
        self.total = self.manifest.samples
        self.roll = roll_labels % self.total
        self.identity = f"{self.manifest.digest} rolled by {self.roll}"
        needed = {shard.name for numbers in (self._pairs(), *self._targets()) for shard, _ in self._within(numbers)}
        shards = tuple(shard for shard in self.manifest.shards if shard.name in needed)
        samples.check_shards(self.folder, replace(self.manifest, shards=shards))

    def _pairs(self) -> range:
        return bounds(self.total, self.part)

    def _targets(self) -> tuple[range, range]:
        """The pairs that the slice's label maps are taken from: those `roll` further on, counted around the end."""
        start, stop = (number + self.roll for number in (self._pairs().start, self._pairs().stop))
        return (
            range(min(start, self.total), min(stop, self.total)),
            range(max(start - self.total, 0), max(stop - self.total, 0)),
        )

    def jobs(self, wanted: Callable[[str], bool]) -> Iterator[Job]:
        seen: set[str] = set()
        label_members = ("json", "target.label.png")
        members = ("json", "exemplar.jpg", "exemplar.png", "exemplar.label.png", *(() if self.roll else label_members))
        targets = itertools.chain.from_iterable(self._read(numbers, label_members) for numbers in self._targets())
        for pair in self._read(self._pairs(), members):
            target = next(targets) if self.roll else pair
            output = _output(f"{pair[samples.KEY].decode()}.png", samples.place(pair, "json"))
            if output in seen:
                raise BadInput(f"{samples.place(pair, 'json')}: another pair has this key; pack the shards again")
            seen.add(output)
            if wanted(output):
                yield Job(output, lambda pair=pair, target=target: self._load(pair, target))  # type: ignore[misc]

    def _within(self, numbers: range) -> Iterator[tuple[Shard, range]]:
        """The shards that hold pairs of these numbers, and the numbers within each."""
        first = 0
        for shard in self.manifest.shards:
            inside = range(max(numbers.start - first, 0), min(numbers.stop - first, shard.samples))
            if inside:
                yield shard, inside
            first += shard.samples

    def _read(self, numbers: range, extensions: tuple[str, ...]) -> Iterator[samples.Members]:
        for shard, inside in self._within(numbers):
            with samples.OpenShard(self.folder / shard.name) as opened:
                if len(opened) != shard.samples:
                    raise BadInput(
                        f"{opened.path} holds {len(opened)} samples, but the manifest says {shard.samples}; "
                        "pack the shards again"
                    )
                for number in inside:
                    yield opened.members(number, extensions)

    def _load(self, pair: samples.Members, target: samples.Members) -> Loaded:
        loaded: Loaded = {}
        for name in self.inputs:
            if name == "exemplar":
                loaded[name] = samples.decode_photo(pair, "exemplar", self.schema)
            else:
                members, side = (target, "target") if name == "label" else (pair, "exemplar")
                loaded[name] = samples.decode_label(members, side, self.schema, samples.decode_pair(members))
        return loaded
