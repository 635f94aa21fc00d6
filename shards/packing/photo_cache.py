"""The cache of labelled photos while shards are packed: every file is decoded once, and never again after a kill.

It is a folder of units. A unit holds the photos of one video, or of some hundred still pictures, as two files:
the encoded pictures one after another, and a JSON index that is written last. Its
name is a hash of what it is made of (files with their sizes and times, and how they are labelled), so that whoever
finds a unit can use it: the same command after a kill, and the other slices of a job array.
"""

import errno
import hashlib
import json
import os
import signal
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from likeness.array import Array
from likeness.atomic import new_file, write_text
from likeness.command import BadInput
from likeness.process.system_errors import in_words
from shards.labels.kinds import kind_of
from shards.media.pictures import encode_picture
from shards.operators.labelling import Labelling, Photo
from shards.operators.photos import labelled_photos
from shards.packing.retrieval import Features, describe
from shards.reading.samples import INSTANCES, PICTURE_FORMATS
from shards.records import LABELLED_SIDES, Frame, Pair
from shards.sources.dataset import Item
from shards.worlds.sidecar import sidecar_path

JPEG_QUALITY = 95
STILLS_PER_UNIT = 200
THUMB = 16
"""Sides of the small copy that similarity is judged by, in pixels."""
OPEN_FILES = 128
"""Units whose pictures are open at a time."""

Places = dict[str, tuple[int, int]]
"""Where the files of a photo lie among its unit's: offset and bytes by extension."""


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of photos before pairs are drawn."""

    labelling: Labelling
    """How photos are read and labelled."""
    picture_format: str = "jpg"
    """How they are encoded: `jpg` (at JPEG_QUALITY) or `png`."""
    features: Features | None = None
    """What describes them for retrieval; None where exemplars are not found by retrieval."""

    def __post_init__(self) -> None:
        if self.picture_format not in PICTURE_FORMATS:
            raise BadInput(f"no picture format {self.picture_format!r}; choose one of {', '.join(PICTURE_FORMATS)}")


@dataclass(frozen=True)
class Unit:
    """Items that are preprocessed together."""

    name: str
    """The unit's name in the cache, without suffix."""
    items: tuple[Item, ...]
    """The videos or still pictures."""


@dataclass(frozen=True)
class ItemResult:
    """What became of one item."""

    source: str
    """The item's name in the dataset."""
    frames: tuple[Frame, ...] = ()
    """Its labelled photos, in order; none where it could not be read."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Frames by what became of them: `used`, or why they were left out."""
    error: str | None = None
    """Why it could not be read at all; None where it could."""


def units_of(items: Sequence[Item], preprocessing: Preprocessing) -> list[Unit]:
    """Groups items into units, in their order; the grouping depends on the list of items alone."""
    groups: list[list[Item]] = []
    for item in items:
        if not (item.still and groups and groups[-1][0].still and len(groups[-1]) < STILLS_PER_UNIT):
            groups.append([])
        groups[-1].append(item)
    how = repr((preprocessing.labelling, preprocessing.picture_format, preprocessing.features, JPEG_QUALITY, THUMB))
    return [Unit(_name(group, how), tuple(group)) for group in groups]


def _name(items: Sequence[Item], how: str) -> str:
    digest = hashlib.sha256(how.encode())
    for item in items:
        for path in (item.path, item.label, item.instances, sidecar_path(item.path)):
            known = path.stat() if path is not None and path.is_file() else None
            digest.update(f"{item.source}\0{item.style}\0{known and (known.st_size, known.st_mtime_ns)}\0".encode())
    return digest.hexdigest()[:32]


def preprocess(
    units: Sequence[Unit], preprocessing: Preprocessing, folder: Path, workers: int = 1, first: Sequence[int] = ()
) -> None:
    """Writes the units that are not there yet, with `workers` processes; `first` says which to begin with.

    A broken item is noted in its unit and stops nothing. Raises BadInput for what concerns all items alike, such as
    a detector that is not installed.
    """
    # The others last and from the end: slices that run at the same time meet in the middle instead of at each unit.
    own = set(first)
    order = [units[number] for number in first] + [u for number, u in enumerate(units) if number not in own][::-1]
    items = sum(len(unit.items) for unit in units)
    with tqdm(total=items, desc="labelling", unit="file") as progress:
        if workers <= 1:
            for unit in order:
                preprocess_unit(unit, preprocessing, folder)
                progress.update(len(unit.items))
            return
        # Processes that begin anew, not forks: detectors and decoders run threads, which forks do not survive.
        # Ctrl-C reaches all of them; it is this process that ends the others, once their files are done.
        count = min(workers, max(1, len(order)))
        ignored = (signal.SIGINT, signal.SIG_IGN)
        with ProcessPoolExecutor(count, get_context("spawn"), signal.signal, ignored) as pool:
            running = {pool.submit(preprocess_unit, unit, preprocessing, folder): unit for unit in order}
            try:
                for done in as_completed(running):
                    done.result()
                    progress.update(len(running[done].items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def preprocess_unit(unit: Unit, preprocessing: Preprocessing, folder: Path) -> None:
    """Writes a unit into the cache's folder, unless it is there."""
    if not (folder / f"{unit.name}.json").is_file():
        reading = [(item.source, partial(labelled_photos, item, preprocessing.labelling)) for item in unit.items]
        write_unit(folder, unit.name, reading, preprocessing)


def write_unit(
    folder: Path,
    name: str,
    sources: Iterable[tuple[str, Callable[[Counter[str]], Iterable[Photo]]]],
    preprocessing: Preprocessing,
) -> None:
    """Writes the photos of each source; one that raises BadInput is noted with the reason and leaves no photos.

    sources: (name, what gives its photos and counts what it leaves out).
    """
    results: list[ItemResult] = []
    places: list[Places] = []
    with new_file(folder / f"{name}.bin") as new, new.open("wb") as file:
        for source, photos in sources:
            start, known = file.tell(), len(places)
            frames: list[Frame] = []
            outcomes: Counter[str] = Counter()
            error = None
            try:
                for photo in _read(photos(outcomes)):
                    places.append({})
                    for extension, content in encode_photo(photo, preprocessing).items():
                        places[-1][extension] = file.tell(), len(content)
                        file.write(content)
                    frames.append(replace(photo.frame, hash=perceptual_hash(photo.image)))
            except BadInput as reason:
                file.seek(start)
                file.truncate()
                del places[known:]
                frames, error = [], str(reason)
            results.append(ItemResult(source, tuple(frames), dict(outcomes), error))
    data = {"items": [_to_json(result) for result in results], "places": places}
    write_text(folder / f"{name}.json", json.dumps(data, sort_keys=True) + "\n")


_OF_A_FILE = (
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EIO,
    errno.ENXIO,
    errno.ESTALE,
    errno.ENAMETOOLONG,
)
"""What is wrong with one file and says nothing of the others, or of where is written."""


def _read(photos: Iterable[Photo]) -> Iterator[Photo]:
    """The photos; a file that the system does not let be read is a broken one."""
    try:
        yield from photos
    except OSError as error:
        if error.errno not in _OF_A_FILE:
            raise
        raise BadInput(in_words(error) or str(error)) from error


def _to_json(result: ItemResult) -> dict[str, Any]:
    return {**asdict(result), "frames": [frame.to_json() for frame in result.frames]}


def encode_photo(photo: Photo, preprocessing: Preprocessing) -> dict[str, bytes]:
    """The files of a photo by extension, a small copy of it, and its features where they are wanted.

    Raises BadInput when photo, label picture or instance map has not the schema's size.
    """
    schema, picture_format = preprocessing.labelling.schema, preprocessing.picture_format
    frame, image = photo.frame, np.ascontiguousarray(photo.image)
    name = f"{frame.source} frame {frame.number}"
    if image.shape != (schema.height, schema.width, 3):
        raise BadInput(f"{name} has shape {image.shape}, not the size {schema.width}×{schema.height}")
    contents = {picture_format: encode_picture(image, picture_format, JPEG_QUALITY)}
    if kind_of(schema).png(schema):
        if photo.label_picture is None or photo.label_picture.shape[:2] != image.shape[:2]:
            raise BadInput(f"{name} has no label picture of its size, which labels of kind {schema.kind} need here")
        contents["label.png"] = encode_picture(np.ascontiguousarray(photo.label_picture, np.uint8))
    if preprocessing.labelling.instances:
        if photo.instances is None or photo.instances.shape != image.shape[:2]:
            raise BadInput(f"{name} has no instance map of its size")
        contents["instances.png"] = encode_picture(np.ascontiguousarray(photo.instances, np.uint16))
    contents["thumb"] = cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA).tobytes()
    if preprocessing.features is not None:
        contents["features"] = describe(image, preprocessing.features).astype(np.float32).tobytes()
    return contents


def perceptual_hash(image: Array) -> str:
    """A 64-bit difference hash in 16 hex digits: which of two neighbours is brighter, at 9×8.

    Copies, other sizes and other encodings of a picture differ in a few bits, unrelated pictures in about 32.
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


class PhotoCache:
    """The photos of units, for reading. Memory holds only where they lie.

    Raises BadInput when a unit is missing.
    """

    def __init__(self, folder: Path, units: Sequence[Unit], preprocessing: Preprocessing) -> None:
        self.folder, self.preprocessing = folder, preprocessing
        schema = preprocessing.labelling.schema
        self._has_label_pictures = kind_of(schema).png(schema) is not None
        self.results: list[ItemResult] = []
        self._places: dict[tuple[str, int], tuple[str, Places]] = {}
        self._open: OrderedDict[str, int] = OrderedDict()
        for unit in units:
            data = json.loads((folder / f"{unit.name}.json").read_text(encoding="utf-8"))
            places = iter(data["places"])
            for entry in data["items"]:
                frames = tuple(Frame.from_json(frame) for frame in entry["frames"])
                self.results.append(ItemResult(**{**entry, "frames": frames}))
                for frame in frames:
                    self._places[frame.source, frame.number] = unit.name, next(places)

    def __enter__(self) -> "PhotoCache":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def members(self, pair: Pair) -> dict[str, bytes]:
        """The members of a pair's sample by extension."""
        members = {"json": (json.dumps(pair.to_json(), sort_keys=True) + "\n").encode()}
        picture_format = self.preprocessing.picture_format
        for side, frame in pair.frames.items():
            members[f"{side}.{picture_format}"] = self.content(frame, picture_format)
            if self._has_label_pictures and side in LABELLED_SIDES:
                members[f"{side}.label.png"] = self.content(frame, "label.png")
            if self.preprocessing.labelling.instances and side == "target":
                members[INSTANCES] = self.content(frame, "instances.png")
        return members

    def content(self, frame: Frame, extension: str) -> bytes:
        """One of the files of a photo."""
        unit, places = self._places[frame.source, frame.number]
        offset, length = places[extension]
        return os.pread(self._descriptor(unit), length, offset)

    def size(self, frame: Frame) -> int:
        """Bytes of a photo's picture, and of its label picture where it has one."""
        _, places = self._places[frame.source, frame.number]
        return sum(length for name, (_, length) in places.items() if name in ("jpg", "png", "label.png"))

    def thumb(self, frame: Frame) -> Array:
        """A small copy: uint8 (16, 16, 3)."""
        return np.frombuffer(self.content(frame, "thumb"), np.uint8).reshape(THUMB, THUMB, 3)

    def features(self, frame: Frame) -> Array:
        """What retrieval compares: float32 (D,), of length 1."""
        return np.frombuffer(self.content(frame, "features"), np.float32)

    def _descriptor(self, unit: str) -> int:
        if unit not in self._open:
            self._open[unit] = os.open(self.folder / f"{unit}.bin", os.O_RDONLY)
            if len(self._open) > OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(unit)
        return self._open[unit]
