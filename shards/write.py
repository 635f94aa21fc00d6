"""From a folder of videos to shards of pairs and their manifest."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import webdataset
from tqdm import tqdm

from shards.atomic import new_folder, refuse_existing
from shards.command import BadInput
from shards.labels import standard_schema
from shards.pairs import Sampling, paired_frames, sample_pairs, split_sources
from shards.records import (
    SIDES,
    SIZE_MULTIPLE,
    Frame,
    LabelSchema,
    Manifest,
    Pair,
    Shard,
    Split,
    check_size,
    sha256_of,
)
from shards.samples import LABELLED_SIDES, PICTURE_FORMATS
from shards.sources.videos import OPERATORS, Photo, find_videos, labelled_frames
from shards.worlds import WORLDS
from shards.worlds.sidecar import sidecar_of, sidecar_path

Array = np.ndarray[Any, Any]

JPEG_QUALITY = 95


class Album:
    """The encoded photos of a job in one nameless temporary file, so that memory holds only where they lie.

    Every photo is encoded once, however many samples show it. The file takes about as much room as the
    photos, some 30 KB each at 256×256, and the system removes it, even when the process is killed.
    """

    def __init__(self, folder: Path, schema: LabelSchema, picture_format: str = "jpg") -> None:
        if picture_format not in PICTURE_FORMATS:
            raise BadInput(f"no picture format {picture_format!r}; choose one of {', '.join(PICTURE_FORMATS)}")
        self.schema = schema
        self.picture_format = picture_format
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self.places: dict[tuple[str, int, str], tuple[int, int]] = {}

    def __enter__(self) -> "Album":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, photo: Photo) -> None:
        """Keeps a photo, and its label picture for `classes`. Raises BadInput when it has not the schema's size."""
        frame, image = photo.frame, np.ascontiguousarray(photo.image)
        name = f"{frame.source} frame {frame.number}"
        if image.shape != (self.schema.height, self.schema.width, 3):
            raise BadInput(f"{name} has shape {image.shape}, not the size {self.schema.width}×{self.schema.height}")
        if self.picture_format == "jpg":
            content = simplejpeg.encode_jpeg(image, JPEG_QUALITY, colorsubsampling="444")
        else:
            content = _png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._keep(frame, self.picture_format, content)
        if self.schema.kind == "classes":
            if photo.ids is None or photo.ids.shape != image.shape[:2]:
                raise BadInput(f"{name} has no label picture of its size; label schemas of kind classes need one")
            self._keep(frame, "label.png", _png(np.ascontiguousarray(photo.ids, np.uint8)))

    def _keep(self, frame: Frame, extension: str, content: bytes) -> None:
        self.places[frame.source, frame.number, extension] = self.file.tell(), len(content)
        self.file.write(content)

    def members(self, pair: Pair) -> dict[str, bytes]:
        """The members of a pair's sample by extension."""
        content = {"json": (json.dumps(pair.to_json(), sort_keys=True) + "\n").encode()}
        for side in SIDES:
            frame = getattr(pair, side)
            content[f"{side}.{self.picture_format}"] = self._kept(frame, self.picture_format)
            if self.schema.kind == "classes" and side in LABELLED_SIDES:
                content[f"{side}.label.png"] = self._kept(frame, "label.png")
        return content

    def _kept(self, frame: Frame, extension: str) -> bytes:
        start, length = self.places[frame.source, frame.number, extension]
        self.file.seek(start)
        return self.file.read(length)


def write_shards(pairs: Sequence[Pair], album: Album, folder: Path, samples_per_shard: int = 1000) -> tuple[Shard, ...]:
    """Writes `pairs-000000.tar` and so on into a folder; the same pairs and photos give the same bytes.

    Raises BadInput when `samples_per_shard` is less than 1.
    """
    if samples_per_shard < 1:
        raise BadInput(f"{samples_per_shard} samples per shard; ask for at least 1")
    shards = []
    with tqdm(total=len(pairs), desc="packing", unit="sample") as progress:
        for number, first in enumerate(range(0, len(pairs), samples_per_shard)):
            path = folder / f"pairs-{number:06d}.tar"
            chunk = pairs[first : first + samples_per_shard]
            # Time, owner and mode are fixed: they would make equal shards differ.
            fixed = {"user": "", "group": "", "mode": 0o444, "mtime": 0}
            with path.open("wb") as file, webdataset.TarWriter(file, encoder=False, **fixed) as tar:
                for pair in chunk:
                    tar.write({"__key__": pair.key, **album.members(pair)})
                    progress.update()
            shards.append(Shard(path.name, len(chunk), path.stat().st_size, sha256_of(path)))
    return tuple(shards)


def pack(
    source: Path,
    out: Path,
    sampling: Sampling,
    pairs: int | None = None,
    seed: int = 0,
    size: int = 256,
    operator: str = "auto",
    every: int | None = None,
    test_out: Path | None = None,
    test_pairs: int = 200,
    test_fraction: float = 0.1,
    samples_per_shard: int = 1000,
    picture_format: str = "jpg",
) -> list[tuple[Path, Manifest]]:
    """Decodes the videos under `source`, samples pairs and writes shards with their manifest.

    pairs: None means `sampling.repeat` per frame. size: the picture width; the height is the same, or 9/16 of
    it for streets. every: keep every n-th frame; None means 10 on footage (specification 5.4) and 1 on worlds.
    test_out: where held-out pairs go, drawn from a share `test_fraction` of the videos that training then never
    sees, exemplars always of another style than the target; None means that all videos are for training.

    Returns (folder, manifest) of what was written. On any error nothing is left behind. Raises BadInput when an
    output exists, a video is broken or has no label, or the videos allow no pairs.
    """
    outputs = [path for path in (out, test_out) if path is not None]
    _check_outputs(outputs)
    check_size(size, size)
    videos = {video.relative_to(source).as_posix(): video for video in find_videos(source)}
    operator, schema = _labelling(videos, operator, size)
    every = every if every is not None else 10 if operator == "face-landmarks" else 1
    sources: dict[Split, tuple[str, ...]] = {"train": tuple(sorted(videos)), "test": ()}
    if test_out is not None:
        sources = split_sources(tuple(videos), test_fraction, seed)
    with _new_folders(outputs) as folders, Album(folders[0], schema, picture_format) as album:
        frames: dict[str, list[Frame]] = {}
        for name, video in tqdm(sorted(videos.items()), desc="decoding", unit="video"):
            frames[name] = []
            for photo in labelled_frames(video, source, schema, operator, every):
                album.add(photo)
                frames[name].append(photo.frame)
        written = []
        splits: tuple[Split, ...] = ("train", "test")
        for split, folder, path in zip(splits, folders, outputs, strict=False):
            # Held-out exemplars come from other videos, as in the paper's tests (specification 5.1).
            drawn = replace(sampling, same_style_rate=0.0) if split == "test" else sampling
            index = [frame for name in sources[split] for frame in frames[name]]
            paired = paired_frames(index, drawn)
            if len(paired) < len(index):
                tqdm.write(
                    f"{split}: {len(index) - len(paired)} of {len(index)} frames take no part, for want of another "
                    "frame in their window",
                    file=sys.stderr,
                )
            asked = test_pairs if split == "test" else sampling.repeat * len(paired) if pairs is None else pairs
            shards = write_shards(sample_pairs(paired, drawn, asked, seed), album, folder, samples_per_shard)
            how = {**drawn.to_json(), "labels": operator, "every": every}
            manifest = Manifest(schema, split, seed, how, shards, sources)
            manifest.save(folder)
            written.append((path, manifest))
    return written


def _labelling(videos: Mapping[str, Path], operator: str, size: int) -> tuple[str, LabelSchema]:
    """The label operator that `auto` stands for, and the schema that its labels have."""
    if operator not in ("auto", *OPERATORS):
        raise BadInput(f"no label operator {operator!r}; choose one of auto, {', '.join(OPERATORS)}")
    bare = [name for name, video in videos.items() if not sidecar_path(video).is_file()]
    if operator == "auto":
        operator = "face-landmarks" if len(bare) == len(videos) else "worlds"
    if operator == "face-landmarks":
        return operator, standard_schema("sketch", size, size)
    if bare:
        raise BadInput(
            f"{bare[0]} has no sidecar {sidecar_path(Path(bare[0])).name}; draw the world again, or use --labels "
            "face-landmarks"
        )
    worlds = {name: (sidecar_of(video) or {})["world"] for name, video in videos.items()}
    first, world = next(iter(worlds.items()))
    for name, other in worlds.items():
        if other != world:
            raise BadInput(f"{name} is of the world {other!r}, but {first} of {world!r}; pack one world at a time")
    height = WORLDS[world].height_of(size)
    if height % SIZE_MULTIPLE:
        raise BadInput(
            f"{world} pictures of --size {size} would be {height} pixels high, which is not a multiple of "
            f"{SIZE_MULTIPLE}; choose a multiple of 256"
        )
    return operator, standard_schema(WORLDS[world].KIND, height, size)


def _check_outputs(outputs: Sequence[Path]) -> None:
    for path in outputs:
        refuse_existing(path)
    whole = [path.resolve() for path in outputs]
    for one in whole:
        if sum(other == one or one in other.parents for other in whole) > 1:
            raise BadInput(f"--out and --test-out lie within each other ({one}); choose two separate folders")


@contextmanager
def _new_folders(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """As `new_folder`, for several: all of them appear, or none."""
    appeared: list[Path] = []

    @contextmanager
    def nested(left: Sequence[Path], folders: list[Path]) -> Iterator[list[Path]]:
        if not left:
            yield folders
            return
        with new_folder(left[0]) as folder, nested(left[1:], [*folders, folder]) as all_folders:
            yield all_folders
        appeared.append(left[0])

    try:
        with nested(paths, []) as folders:
            yield folders
    except BaseException:
        for path in appeared:
            shutil.rmtree(path)
        raise


def _png(array: Array) -> bytes:
    encoded, content = cv2.imencode(".png", array)
    if not encoded:
        raise ValueError(f"cannot encode an array of shape {array.shape} as PNG")
    return content.tobytes()
