"""The pairs that pictures are judged on: held-out shards, or a CSV that lists photos of any other data."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.checksums import sha256_of
from likeness.command import BadInput
from likeness.names import file_called, spelled
from likeness.rows import Columns, read_rows
from shards.media.orientation import as_shown
from shards.media.pictures import decode_picture, is_png, read_bytes, read_ids
from shards.reading import samples
from shards.reading.samples import OpenShard, Sample
from shards.reading.store import Store
from shards.reading.stream import open_shards
from shards.reading.urls import is_url
from shards.records import Frame, LabelSchema, Manifest, Pair

COLUMNS = Columns(
    "pairs", ("picture", "target", "exemplar"), "give a CSV file of pairs", optional=("label", "same_style", "group")
)
FORMATS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of painted pictures."""
PNG_DEPTH, GREY_16 = 24, b"\x10\x00"
"""Where a PNG file has its bits per channel and its kind of colour, and what stands there for 16 bits of grey."""


@dataclass(frozen=True)
class Photos:
    """A pair with its photos."""

    pair: Pair
    """The pair's record."""
    target: Array
    """uint8 (H, W, 3) RGB: the photo whose label map is painted from."""
    exemplar: Array
    """uint8 (H, W, 3) RGB: the photo whose style is asked for."""
    ids: Array | None
    """The target's label map as uint8 (H, W) ids, where it is of classes."""


class JudgedPairs(ABC):
    """Pairs in a fixed order; any of them can be read at any time."""

    identity: str
    """A digest of their content."""
    total: int
    """How many there are."""
    schema: LabelSchema | None
    """Of their label maps; None where there are none to paint from."""

    @abstractmethod
    def pair(self, number: int) -> Pair:
        """The record of a pair."""

    @abstractmethod
    def photos(self, number: int) -> Photos:
        """A pair with its photos. Raises BadInput naming what cannot be read."""

    @abstractmethod
    def groups(self, pair: Pair) -> tuple[str, str]:
        """The sources of a pair's target and of its exemplar: pictures of one source resemble each other."""


class JudgedShards(JudgedPairs):
    """The pairs of held-out shards, in their order."""

    schema: LabelSchema

    def __init__(self, manifest: Manifest, store: Store) -> None:
        self.manifest, self.store, self.schema = manifest, store, manifest.schema
        self.identity, self.total = manifest.digest, manifest.samples
        self._ends = list(accumulate(shard.samples for shard in manifest.shards))
        # Pairs are read in order nearly always: one open shard, with its index, is enough.
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


class JudgedList(JudgedPairs):
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

    def _file(self, row: dict[str, str], name: str) -> Path:
        return file_called(self.path.parent, row[name])

    def _checked(self, line: int, row: dict[str, str]) -> dict[str, str]:
        for name in (*COLUMNS.needed, *(["label"] if self.labelled else [])):
            if not row[name]:
                raise BadInput(f"{self.path} line {line}: {name} is empty")
            if name != "picture" and not self._file(row, name).is_file():
                raise BadInput(f"{self.path} line {line}: there is no {name} {self.path.parent / row[name]}")
        if row.get("same_style", "0") not in ("0", "1", ""):
            raise BadInput(f"{self.path} line {line}: same_style is {row['same_style']!r}, not 0 or 1")
        picture = Path(row["picture"])
        stem = picture.with_suffix("") if picture.suffix.lower() in FORMATS else picture
        return {**row, "picture": spelled(stem.as_posix())}

    def pair(self, number: int) -> Pair:
        row = self._rows[number]
        same = row.get("same_style") == "1"
        target = Frame(row["target"], 0, 0.0, row["target"])
        exemplar = Frame(row["exemplar"], 0, 0.0, row["target"] if same else row["exemplar"])
        return Pair(row["picture"], target, exemplar, exemplar, target, same)

    def photos(self, number: int) -> Photos:
        row = self._rows[number]
        target, exemplar = (read_photo(self._file(row, name)) for name in ("target", "exemplar"))
        ids = None
        if self.labelled:
            size = (len(target), target.shape[1])
            ids = _read_label(self._file(row, "label"), self._file(row, "target"), size)
        return Photos(self.pair(number), target, exemplar, ids)

    def groups(self, pair: Pair) -> tuple[str, str]:
        return self._groups[pair.key], pair.exemplar.source


@contextmanager
def open_judged(location: str) -> Iterator[JudgedPairs]:
    """The pairs of a folder or URL of shards, or of a CSV file. Raises BadInput when there are none."""
    if not is_url(location) and Path(location).suffix.lower() == ".csv":
        yield JudgedList(Path(location))
        return
    with open_shards(location) as (manifest, store):
        yield JudgedShards(manifest, store)


def read_photo(path: Path) -> Array:
    """A picture as packing reads it: uint8 (H, W, 3) RGB. Raises BadInput when it is missing, broken or of 16 bits."""
    content = read_bytes(path)
    # A grey PNG of 16 bits is a map of numbers; decoders would take the upper half of each for a picture.
    if is_png(content) and content[PNG_DEPTH : PNG_DEPTH + 2] == GREY_16:
        raise BadInput(f"{path} has more than 8 bits per channel; write it as an 8-bit picture")
    return decode_picture(content, str(path))


def _read_label(path: Path, target: Path, size: tuple[int, int]) -> Array:
    """A target's label map of class ids, uint8 (H, W).

    Raises BadInput when it is none, or of another size than the target's (H, W), and when an EXIF mark of the target
    leaves open where it lies.
    """
    ids = read_ids(path)
    if ids.dtype != np.uint8:
        raise BadInput(f"{path} is no label map: its ids have more than 8 bits")
    return as_shown(ids, path, target, size, None, "write the photo anew, turned upright and without the mark")
