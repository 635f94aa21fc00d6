"""Where the inputs of batch inference come from: a CSV of files, folders of files, or shards."""

import csv
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from deploy import looks, pictures
from deploy.metadata import INPUTS
from deploy.outputs import Output
from shards import samples
from shards.command import BadInput
from shards.picture_files import read_bytes
from shards.records import LabelSchema, Manifest, Shard
from shards.store import Cache, Store, is_url

Array = np.ndarray[Any, Any]
Loaded = dict[str, Array]
Changes = Mapping[str, tuple[int, int | None]]
"""By output, the mark of a pair when the run began, and the one that it was made with (None: not made yet)."""

WHOLE = (0, 1)
"""The slice of a run that is not sliced."""
_MARKS = 2**256


class BadPair(BadInput):
    """Inputs of a pair that cannot be decoded. where: the file, or the shard and the key."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where


@dataclass(frozen=True)
class Job:
    """One picture to make.

    number: the picture's among those of all slices, from 0. output: its path below the output folder. source: where
    its inputs come from, the same on every machine. load: decodes them, but for those that are to be drawn: photos
    uint8 (H, W, 3) RGB, label maps as `shards.labels` loads them, the others as `Session.tensors` takes them; raises
    BadPair. name: the pair's, which what is drawn depends on. style: which of the pair's styles, from 1.
    """

    number: int
    output: str
    source: dict[str, Any]
    load: Callable[[], Loaded]
    name: str
    style: int = 1


class Pairs(Protocol):
    """What batch inference reads."""

    part: tuple[int, int]
    """(i, n): slice i of n, counted from 0. The slices of a number n are disjoint runs of neighbours, together all."""

    total: int
    """How many pictures all slices make."""

    styles: int
    """How many of them belong to one pair, each in a style of its own."""

    ours: range
    """The numbers of the slice's pictures."""

    def identity(self, changes: Changes) -> str:
        """The same for all slices; another one when any input has changed, but for the pairs in `changes`. A folder is
        continued only with an equal one."""

    def mark(self, output: str) -> int:
        """Stands for the inputs of a pair as they are now; 0 where they cannot change alone."""

    def jobs(self, wanted: Callable[[int, str], bool]) -> Generator[Job]:
        """The jobs of the slice in order, in bounded memory; `wanted` is asked once about each number and output."""


def bounds(total: int, part: tuple[int, int], unit: int = 1) -> range:
    """Which of `total` pairs slice (i, n) makes; slices differ by at most one unit, of so many neighbours."""
    number, count = part
    units = -(-total // unit)
    return range(min(total, units * number // count * unit), min(total, units * (number + 1) // count * unit))


def open_pairs(
    location: str | Path,
    schema: LabelSchema,
    inputs: tuple[str, ...],
    roll_labels: int = 0,
    part: tuple[int, int] = WHOLE,
    output: Output = Output(),  # noqa: B008
    cache: Path | None = None,
    max_bad: int = 0,
    styles: int = 1,
) -> Pairs:
    """A CSV file, a folder of files by input, or shards: their folder or manifest, as a path or a URL. Checked as far
    as possible without decoding.

    schema, inputs: the model's. roll_labels: see `ShardPairs`. part: see `Pairs`. output: what the pictures are named
    for. cache: where shards from a URL are kept; without it, where temporary files are, as long as they are needed.
    max_bad: so many files that a CSV names may be missing; they count as broken later. styles: pictures of each pair,
    NAME-1 and so on, in styles that are drawn.
    Raises BadInput naming file, line and remedy.
    """
    if styles > 1 and "style" not in inputs:
        raise BadInput(f"--styles {styles} is for models that read style codes; this one reads {', '.join(inputs)}")
    if is_url(location):
        return ShardPairs(
            Store(str(location), Cache(cache) if cache else None), schema, inputs, roll_labels, part, output, styles
        )
    path = Path(location)
    if cache:
        raise BadInput(f"--cache is for shards at a URL, but {path} is on this machine; leave it away")
    if path.suffix.lower() == ".csv" or (path.is_dir() and not (path / "manifest.json").exists()):
        if roll_labels:
            raise BadInput(f"--roll-labels needs shards, but {path} is none; give each label another exemplar instead")
        read = _read_csv if path.suffix.lower() == ".csv" else _read_folder
        return FilePairs(read(path, inputs, output, max_bad), path, schema, inputs, part, output, styles)
    if not path.exists():
        raise BadInput(
            f"no pairs at {path}; give a CSV file, a folder with the folders {', '.join(inputs)}, or a folder of "
            "shards or its manifest.json"
        )
    return ShardPairs(Store(path), schema, inputs, roll_labels, part, output, styles)


def numbered(output: str, style: int, styles: int) -> str:
    """The picture of a pair's style, from 1: a.png gives a-2.png; where there is one style only, it stays a.png."""
    if styles == 1:
        return output
    path = PurePosixPath(output)
    return path.with_name(f"{path.stem}-{style}{path.suffix}").as_posix()


class FilePairs:
    """Pairs of files.

    rows: by output, the files of the model's inputs in their order, "" where one is to be drawn; a style code may stand
    there itself. where: what lists them; files are relative to it, or to its folder if it is a file. styles: see
    `open_pairs`.

    Raises BadInput when a row gives a style where several are to be drawn.
    """

    def __init__(
        self,
        rows: dict[str, tuple[str, ...]],
        where: Path,
        schema: LabelSchema,
        inputs: tuple[str, ...],
        part: tuple[int, int],
        output: Output,
        styles: int,
    ) -> None:
        self.rows, self.schema, self.inputs, self.part, self.styles = rows, schema, inputs, part, styles
        self._folder = where if where.is_dir() else where.parent
        self.total = len(rows) * styles
        self.ours = bounds(self.total, part, output.unit)
        if styles > 1:
            for name, row in rows.items():
                if row[inputs.index("style")]:
                    raise BadInput(f"{where}: {name} has a style already; leave it out, or --styles {styles}")
                output.path(numbered(name, styles, styles), str(where))
        self._rows = {numbered(name, style + 1, styles): name for name in rows for style in range(styles)}
        self._mark = sum(map(self.mark, self._rows)) % _MARKS

    def identity(self, changes: Changes) -> str:
        changed = sum(
            began - (self.mark(output) if made is None else made)
            for output, (began, made) in changes.items()
            if output in self._rows
        )
        order = hashlib.sha256("\n".join(self._rows).encode()).hexdigest()
        return f"{order} {(self._mark + changed) % _MARKS:064x}"

    def mark(self, output: str) -> int:
        """From names, sizes and times of the files."""
        mark: list[Any] = [output]
        for name, cell in zip(self.inputs, self.rows[self._rows[output]], strict=True):
            file = self._folder / cell
            coded = name == "style" and _is_code(cell)
            status = file.stat() if not coded and file.is_file() else None
            mark.append([cell, status and status.st_size, status and status.st_mtime_ns])
        return int(hashlib.sha256(json.dumps(mark).encode()).hexdigest(), 16)

    def jobs(self, wanted: Callable[[int, str], bool]) -> Generator[Job]:
        rows = itertools.islice(self._rows.items(), self.ours.start, self.ours.stop)
        for number, (output, row) in zip(self.ours, rows, strict=True):
            if wanted(number, output):
                source = {name: file for name, file in zip(self.inputs, self.rows[row], strict=True) if file}
                load = functools.partial(self._load, source)
                yield Job(number, output, source, load, _name(row), number % self.styles + 1)

    def _load(self, source: dict[str, str]) -> Loaded:
        loaded: Loaded = {}
        for name, file in source.items():
            coded = name == "style" and _is_code(file)
            where = file if coded else str(self._folder / file)
            try:
                if coded:
                    loaded[name] = pictures.decode_style(file, "the style")
                else:
                    loaded[name] = pictures.decoded(name, read_bytes(Path(where)), where, self.schema)
            except BadInput as error:
                raise BadPair(where, str(error)) from error
        return loaded


def _name(output: str) -> str:
    """A pair's name, whatever format its pictures have."""
    return PurePosixPath(output).with_suffix("").as_posix()


def _is_code(cell: str) -> bool:
    """Whether a cell of a CSV holds a style code itself."""
    return cell.lstrip()[:1] in ("[", "{")


def _read_csv(path: Path, inputs: tuple[str, ...], output: Output, max_bad: int) -> dict[str, tuple[str, ...]]:
    """The rows of a CSV. Columns: the model's inputs, and, if wanted, `output`, the picture's name below the output
    folder (default: the row's number). Paths are relative to it. `features` and `style` may be left out, as columns or
    in some rows.

    Raises BadInput naming the line when a column or a cell is missing, more than `max_bad` files are, or two rows have
    one output.
    """
    rows: dict[str, tuple[str, ...]] = {}
    missing = 0
    for line, row in _rows(path, inputs):
        name = output.path(row.get("output") or f"{len(rows) + 1:06d}{output.suffix}", f"{path} line {line}")
        if name in rows:
            raise BadInput(f"{path} line {line}: the output {name} is taken by an earlier row; name another one")
        rows[name] = tuple(row.get(column) or "" for column in inputs)
        cells = {column: cell for column, cell in zip(inputs, rows[name], strict=True) if cell}
        absent = [
            column
            for column, cell in cells.items()
            if not (column == "style" and _is_code(cell)) and not (path.parent / cell).is_file()
        ]
        missing += bool(absent)
        if missing > max_bad:
            raise BadInput(f"{path} line {line}: there is no {absent[0]} file {path.parent / row[absent[0]]}")
    if not rows:
        raise BadInput(f"{path} has a header but no rows; add one row per picture")
    for name in rows:
        if above := next((str(folder) for folder in PurePosixPath(name).parents if str(folder) in rows), None):
            raise BadInput(f"{path}: the output {above} cannot be a file and the folder of {name}; name another one")
    return rows


def _rows(path: Path, inputs: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells) of every row; those of inputs that cannot be drawn are there and filled."""
    needed = _needed(inputs)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or []
            if missing := [name for name in needed if name not in header]:
                raise BadInput(
                    f"{path} line 1: the column {missing[0]!r} is missing; the model reads {', '.join(inputs)}, "
                    f"the header has {', '.join(header) or 'nothing'}"
                )
            if unknown := [name for name in header if name not in (*INPUTS, "output")]:
                raise BadInput(f"{path} line 1: unknown column {unknown[0]!r}; known are {', '.join(INPUTS)}, output")
            for row in reader:
                if None in row or any(not row[name] for name in needed):
                    raise BadInput(f"{path} line {reader.line_num}: it does not fill the columns {', '.join(needed)}")
                yield reader.line_num, row
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a CSV file in UTF-8: {error}") from error


def _needed(inputs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in inputs if name not in looks.DRAWN)


def _read_folder(folder: Path, inputs: tuple[str, ...], output: Output, max_bad: int) -> dict[str, tuple[str, ...]]:
    """The pairs of a folder's folders, one for each input: files of the same path but for the suffix belong together,
    and a file that is alone in its folder belongs to all. Pictures are named after them. `features/` and `style/` may
    be left out.

    Raises BadInput naming what is missing and what is one too many.
    """
    visible = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if missing := [name for name in _needed(inputs) if not (folder / name).is_dir()]:
        raise BadInput(
            f"{folder} has no folder {missing[0]}; give one for each of the model's inputs: "
            f"{', '.join(_needed(inputs))} (or give a CSV file, or a folder of shards with its manifest.json)"
        )
    if unknown := [entry for entry in visible if entry.name not in INPUTS or not entry.is_dir()]:
        raise BadInput(f"{unknown[0]} is none of the folders {', '.join(INPUTS)}; move it elsewhere")
    by_input = {name: _named_files(folder, name) for name in inputs if (folder / name).is_dir()}
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


def _named_files(folder: Path, name: str) -> dict[str, str]:
    """The visible files of a folder's folder `name`, relative to `folder`, by their path in it without the suffix."""
    found: dict[str, str] = {}
    for path in sorted((folder / name).rglob("*")):
        inside = path.relative_to(folder / name)
        if not path.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        key = inside.with_suffix("").as_posix()
        file = path.relative_to(folder).as_posix()
        if key in found:
            raise BadInput(f"{path} and {folder / found[key]} differ in nothing but the suffix; rename one")
        found[key] = file
    if not found:
        raise BadInput(f"{folder / name} holds no files; put one there for each picture, or a single one for all")
    return found


def _close(shards: list[Future[samples.OpenShard]]) -> None:
    for shard in shards:
        if not shard.exception():
            shard.result().close()


class ShardPairs:
    """The pairs of shards. Each picture is named after its pair's key.

    roll_labels: the target label of pair i is taken from pair i + roll_labels, counted around the end, while the
    exemplar stays: pictures that then do not change show a model that ignores its label. An instance map goes with its
    label. styles: see `open_pairs`.

    Raises BadInput when shards are damaged, their label schema is not the model's, or they lack instance maps that it
    reads.
    """

    def __init__(
        self,
        store: Store,
        schema: LabelSchema,
        inputs: tuple[str, ...],
        roll_labels: int,
        part: tuple[int, int],
        output: Output,
        styles: int,
    ) -> None:
        self.store, self.schema, self.inputs, self.part, self.output = store, schema, inputs, part, output
        self.styles = styles
        self.manifest: Manifest = store.manifest()
        if difference := schema.difference(self.manifest.schema):
            raise BadInput(f"{store.where}/manifest.json has another label schema than the model: {difference}")
        if not self.manifest.samples:
            raise BadInput(f"{store.where} holds no pairs; pack some with `python -m shards pack`")
        if "instances" in inputs and not self.manifest.instances:
            raise BadInput(
                f"{store.where} has no instance maps, which the model reads; pack it again from a source that has them"
            )
        self.total = self.manifest.samples * styles
        self.ours = bounds(self.total, part, output.unit)
        self._pairs = range(self.ours.start // styles, -(-self.ours.stop // styles))
        self.roll = roll_labels % self.manifest.samples
        if not is_url(store.location):
            # What is downloaded is compared as it comes.
            needed = {shard.name for numbers in (self._pairs, *self._targets()) for shard, _ in self._within(numbers)}
            shards = tuple(shard for shard in self.manifest.shards if shard.name in needed)
            samples.check_shards(Path(store.where), replace(self.manifest, shards=shards))

    def identity(self, changes: Changes) -> str:
        return f"{self.manifest.digest} rolled by {self.roll}"

    def mark(self, output: str) -> int:
        return 0

    def _targets(self) -> tuple[range, range]:
        """The pairs that the slice's label maps are taken from: those `roll` further on, counted around the end."""
        start, stop = (number + self.roll for number in (self._pairs.start, self._pairs.stop))
        every = self.manifest.samples
        return (
            range(min(start, every), min(stop, every)),
            range(max(start - every, 0), max(stop - every, 0)),
        )

    def jobs(self, wanted: Callable[[int, str], bool]) -> Generator[Job]:
        seen: set[str] = set()
        instances = (samples.INSTANCES,) if "instances" in self.inputs else ()
        label_members = ("json", "target.label.png", *instances)
        members = ("json", "exemplar.jpg", "exemplar.png", "exemplar.label.png", *(() if self.roll else label_members))
        with (
            self.store.with_temporary_cache() as store,
            closing(self._read(store, self._pairs, members)) as pairs,
            closing(self._read_targets(store, label_members)) as targets,
        ):
            for number, pair in zip(self._pairs, pairs, strict=True):
                target = next(targets) if self.roll else pair
                key = pair[samples.KEY].decode()
                if key in seen:
                    raise BadInput(f"{samples.place(pair, 'json')}: another pair has this key; pack the shards again")
                seen.add(key)
                yield from self._jobs(number, pair, target, wanted)

    def _jobs(
        self, pair_number: int, pair: samples.Members, target: samples.Members, wanted: Callable[[int, str], bool]
    ) -> Iterator[Job]:
        """The pair's pictures that are of this slice."""
        key = pair[samples.KEY].decode()
        for style in range(1, self.styles + 1):
            number = pair_number * self.styles + style - 1
            name = numbered(f"{key}{self.output.suffix}", style, self.styles)
            output = self.output.path(name, samples.place(pair, "json"))
            if number in self.ours and wanted(number, output):
                source: dict[str, Any] = {"shard": pair[samples.SHARD].decode(), "key": key}
                if self.roll:
                    source["label"] = {"shard": target[samples.SHARD].decode(), "key": target[samples.KEY].decode()}
                yield Job(number, output, source, functools.partial(self._load, pair, target), key, style)

    def _within(self, numbers: range) -> Iterator[tuple[Shard, range]]:
        """The shards that hold pairs of these numbers, and the numbers within each."""
        first = 0
        for shard in self.manifest.shards:
            inside = range(max(numbers.start - first, 0), min(numbers.stop - first, shard.samples))
            if inside:
                yield shard, inside
            first += shard.samples

    def _read_targets(self, store: Store, extensions: tuple[str, ...]) -> Generator[samples.Members]:
        for numbers in self._targets():
            yield from self._read(store, numbers, extensions)

    def _read(self, store: Store, numbers: range, extensions: tuple[str, ...]) -> Generator[samples.Members]:
        # A store of its own: each holds one shard at a time.
        store = Store(store.location, store.cache, store.attempts)
        within = list(self._within(numbers))
        with ExitStack() as stack:
            stack.callback(store.release)
            fetcher = stack.enter_context(ThreadPoolExecutor(1, "fetch"))

            def fetch(number: int) -> samples.OpenShard:
                # Opened at once, because the store holds on to a cached file only until it opens the next.
                return samples.OpenShard(store.open(within[number][0], known=not is_url(store.location)))

            # The next shard comes while one is read, so that the model need not wait for the network.
            coming = [fetcher.submit(fetch, number) for number in range(len(within))[:1]]
            stack.callback(_close, coming)
            for number, (shard, inside) in enumerate(within):
                opened = coming.pop().result()
                if number + 1 < len(within):
                    coming.append(fetcher.submit(fetch, number + 1))
                with opened:
                    if len(opened) != shard.samples:
                        raise BadInput(
                            f"{opened.path} holds {len(opened)} samples, but the manifest says {shard.samples}; "
                            "pack the shards again"
                        )
                    for place in inside:
                        # A cached file has a longer name.
                        yield {**opened.members(place, extensions), samples.SHARD: shard.name.encode()}

    def _load(self, pair: samples.Members, target: samples.Members) -> Loaded:
        loaded: Loaded = {}
        for name in _needed(self.inputs):
            members = target if name in ("label", "instances") else pair
            try:
                if name == "instances":
                    loaded[name] = samples.decode_instances(members, self.schema)
                elif name == "exemplar":
                    loaded[name] = samples.decode_photo(members, "exemplar", self.schema)
                else:
                    side = "target" if name == "label" else "exemplar"
                    loaded[name] = samples.decode_label(members, side, self.schema, samples.decode_pair(members))
            except BadInput as error:
                where = f"{members[samples.SHARD].decode()} {members[samples.KEY].decode()}"
                raise BadPair(where, str(error)) from error
        return loaded
