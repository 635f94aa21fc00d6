"""The pairs that pictures are judged on: held-out shards, or a CSV that lists photos of any other data."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from likeness.array import Array
from likeness.command import BadInput
from likeness.rows import Columns, read_rows
from shards.reading import samples
from shards.reading.samples import OpenShard, Sample
from shards.reading.store import Store
from shards.reading.stream import open_shards
from shards.reading.urls import is_url
from shards.records import Frame, LabelSchema, Manifest, Pair, sha256_of

COLUMNS = Columns(
    "pairs", ("picture", "target", "exemplar"), "give a CSV file of pairs", optional=("label", "same_style", "group")
)
FORMATS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Photos:
    """A pair with its photos.

    Pictures are uint8 (H, W, 3) RGB. ids: for labels of the kind `classes`, the label map as uint8 (H, W) ids.
    """

    pair: Pair
    target: Array
    exemplar: Array
    ids: Array | None


class Pairs(ABC):
    """Pairs in a fixed order; any of them can be read at any time.

    identity: stands for their content. schema: None where there are no label maps to paint from.
    """

    identity: str
    total: int
    schema: LabelSchema | None

    @abstractmethod
    def pair(self, number: int) -> Pair:
        """The record of a pair."""

    @abstractmethod
    def photos(self, number: int) -> Photos:
        """A pair with its photos. Raises BadInput naming what cannot be read."""

    @abstractmethod
    def groups(self, pair: Pair) -> tuple[str, str]:
        """The sources of a pair's target and of its exemplar: pictures of one source resemble each other."""


class ShardPairs(Pairs):
    """The pairs of held-out shards, in their order."""

    schema: LabelSchema

    def __init__(self, manifest: Manifest, store: Store) -> None:
        self.manifest, self.store, self.schema = manifest, store, manifest.schema
        self.identity, self.total = manifest.digest, manifest.samples
        self._ends = list(accumulate(shard.samples for shard in manifest.shards))
        self._open: tuple[int, OpenShard] | None = None

    def _members(self, number: int, extensions: tuple[str, ...] | None = None) -> samples.Members:
        place = bisect_right(self._ends, number)
        if self._open is None or self._open[0] != place:
            if self._open is not None:
                self._open[1].close()
            self._open = place, OpenShard(self.store.open(self.manifest.shards[place]))
        start = self._ends[place - 1] if place else 0
        return self._open[1].members(number - start, extensions)

    def pair(self, number: int) -> Pair:
        return samples.decode_pair(self._members(number, ("json",)))

    def photos(self, number: int) -> Photos:
        members = self._members(number)
        sample = samples.decode(members, self.schema, ("target", "exemplar"), ())
        ids = samples.decode_label(members, "target", self.schema, sample.pair) if self.schema.ids else None
        return Photos(sample.pair, sample.photos["target"], sample.photos["exemplar"], ids)

    def sample(self, number: int) -> Sample:
        """A pair with everything that painting reads."""
        instances = self.manifest.instances
        return samples.decode(self._members(number), self.schema, ("exemplar",), ("target", "exemplar"), instances)

    def groups(self, pair: Pair) -> tuple[str, str]:
        return pair.target.source, pair.exemplar.source


class ListedPairs(Pairs):
    """The pairs of a CSV file: what other systems painted, from photos of their own.

    Columns: `picture` (the name of a painted picture in its folder, with or without ending), `target` and `exemplar`
    (photo files, relative to the CSV). If there: `label` (an 8-bit PNG of class ids), `same_style` (1 where target and
    exemplar share a style: only there the target is the true picture) and `group` (what resembles each other: a
    video's name; without it, each target by itself).
    Raises BadInput naming line, column and value.
    """

    schema = None

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = list(read_rows(path, COLUMNS))
        if not rows:
            raise BadInput(f"{path} lists no pair")
        self.labelled = "label" in rows[0][1]
        self._rows = [self._checked(line, row) for line, row in rows]
        self.identity, self.total = sha256_of(path), len(rows)
        self._groups = {row["picture"]: row.get("group") or row["target"] for row in self._rows}
        if len(self._groups) != len(rows):
            raise BadInput(f"{path} names a picture twice")

    def _checked(self, line: int, row: dict[str, str]) -> dict[str, str]:
        for name in (*COLUMNS.needed, *(["label"] if self.labelled else [])):
            if not row[name]:
                raise BadInput(f"{self.path} line {line}: {name} is empty")
            if name != "picture" and not (self.path.parent / row[name]).is_file():
                raise BadInput(f"{self.path} line {line}: there is no {name} {self.path.parent / row[name]}")
        if row.get("same_style", "0") not in ("0", "1", ""):
            raise BadInput(f"{self.path} line {line}: same_style is {row['same_style']!r}, not 0 or 1")
        picture = Path(row["picture"])
        stem = picture.with_suffix("") if picture.suffix.lower() in FORMATS else picture
        return {**row, "picture": stem.as_posix()}

    def pair(self, number: int) -> Pair:
        row = self._rows[number]
        same = row.get("same_style") == "1"
        target = Frame(row["target"], 0, 0.0, row["target"])
        exemplar = Frame(row["exemplar"], 0, 0.0, row["target"] if same else row["exemplar"])
        return Pair(row["picture"], target, exemplar, exemplar, target, same)

    def photos(self, number: int) -> Photos:
        row = self._rows[number]
        target, exemplar = (read_picture(self.path.parent / row[name]) for name in ("target", "exemplar"))
        ids = None
        if self.labelled:
            ids = _read_ids(self.path.parent / row["label"], target.shape[:2])
        return Photos(self.pair(number), target, exemplar, ids)

    def groups(self, pair: Pair) -> tuple[str, str]:
        return self._groups[pair.key], pair.exemplar.source


@contextmanager
def open_pairs(location: str) -> Iterator[Pairs]:
    """The pairs of a folder or URL of shards, or of a CSV file. Raises BadInput when there are none."""
    if not is_url(location) and Path(location).suffix.lower() == ".csv":
        yield ListedPairs(Path(location))
        return
    with open_shards(location) as (manifest, store):
        yield ShardPairs(manifest, store)


class Painted:
    """A folder of painted pictures, one per pair, named by the pair's key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise BadInput(f"there is no folder {folder} of painted pictures")

    def file(self, key: str) -> Path:
        """Raises BadInput when the picture is missing."""
        for ending in FORMATS:
            file = self.folder / f"{key}{ending}"
            if file.is_file():
                return file
        raise BadInput(
            f"{self.folder / key}.png is missing (nor is there a {', '.join(FORMATS[1:])}): every pair needs its "
            "picture, named by the pair's key as `python -m deploy batch` does"
        )

    def read(self, key: str, shape: tuple[int, ...]) -> Array:
        """The picture of a pair whose target has this shape. Raises BadInput when it is missing, broken or other."""
        file = self.file(key)
        picture = read_picture(file)
        if picture.shape != shape:
            ours, theirs = (f"{each[1]}×{each[0]}" for each in (picture.shape, shape))
            raise BadInput(f"{file} is {ours}, but its pair's photos are {theirs}; paint it at their size")
        return picture


def read_picture(path: Path) -> Array:
    """uint8 (H, W, 3) RGB. Raises BadInput when it is no picture."""
    try:
        with Image.open(path) as opened:
            if opened.mode.startswith(("I", "F")):
                raise BadInput(f"{path} has more than 8 bits per channel; write it as an 8-bit picture")
            return np.asarray(opened.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadInput(f"{path} cannot be read as a picture: {error}") from error


def _read_ids(path: Path, size: tuple[int, ...]) -> Array:
    try:
        with Image.open(path) as opened:
            if opened.mode not in ("L", "P"):
                raise BadInput(f"{path} is no label map: its mode is {opened.mode}, not 8-bit ids")
            ids = np.asarray(opened)
    except (OSError, UnidentifiedImageError) as error:
        raise BadInput(f"{path} cannot be read as a label map: {error}") from error
    if ids.shape != size:
        raise BadInput(f"{path} is {ids.shape[1]}×{ids.shape[0]}, but its target is {size[1]}×{size[0]}")
    return ids
