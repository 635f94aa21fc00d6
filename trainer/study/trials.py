"""The pairs that a study shows, with both methods' pictures of each."""

import hashlib
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from likeness.array import Array
from likeness.command import BadInput
from likeness.folders import Unused
from shards.media.pictures import decode_picture, read_bytes
from shards.reading.samples import PICTURE_FORMATS, Members, OpenShard, check_shard, decode_photo
from shards.records import LabelSchema, Manifest, load_manifest
from trainer.evaluate.painted_folder import painted_in

EXEMPLAR = tuple(f"exemplar.{name}" for name in PICTURE_FORMATS)
"""The names that an exemplar's member of a sample can have."""


@dataclass(frozen=True)
class PaintedFile:
    """One method's picture of a pair."""

    path: Path
    """The file."""
    sha256: str
    """The SHA-256 that it had when the study was begun."""

    def read(self) -> Array:
        """uint8 (H, W, 3) RGB. Raises BadInput when the file is gone or another one by now."""
        content = read_bytes(self.path)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise BadInput(f"{self.path} has changed since the study was begun; put it back, or begin another study")
        return decode_picture(content, str(self.path))


@dataclass(frozen=True)
class Trial:
    """One pair to show."""

    key: str
    """The pair's key."""
    sample: Members
    """Its members in the shard, as far as they hold the exemplar."""
    a: PaintedFile
    """The picture of the method whose share is reported."""
    b: PaintedFile
    """The picture of the method that it is compared with."""

    @property
    def shown(self) -> str:
        """A fingerprint of the three pictures, by which answers on other pictures are told."""
        exemplar = [self.sample[name] for name in EXEMPLAR if name in self.sample]
        sums = [hashlib.sha256(content).hexdigest() for content in exemplar]
        return hashlib.sha256(" ".join([*sums, self.a.sha256, self.b.sha256]).encode()).hexdigest()[:16]


def trials_of(a: Path, b: Path, pairs: Path, number: int | None, seed: int) -> tuple[list[Trial], LabelSchema]:
    """`number` pairs that the two folders have pictures of, drawn at random; all for None or where there are fewer.

    A pure function of the files. With one seed, fewer pairs are among those of more.

    Raises BadInput, naming the file, when a picture is missing in one folder only, cannot be read, has not the size of
    the shards' photos, or stands there twice; or when there is nothing to show.
    """
    if a.resolve() == b.resolve():
        raise BadInput(f"--a and --b are both {a}; give the folders of two methods")
    manifest, folder = load_manifest(pairs)
    places = _places(manifest, folder)
    pictures = {method: _pictures(method, places, pairs) for method in (a, b)}
    painted = sorted(key for key in places if key in pictures[a] or key in pictures[b])
    if not painted:
        raise BadInput(f"neither {a} nor {b} holds a picture of a pair of {pairs}, such as {min(places)}.png")
    # A permutation's front, and not a draw of so many: with one seed, fewer pairs are then among those of more.
    drawn = [painted[int(at)] for at in np.random.default_rng(seed).permutation(len(painted))[:number]]
    by_shard: defaultdict[Path, list[str]] = defaultdict(list)
    for key in drawn:
        by_shard[places[key][0]].append(key)
    trials: dict[str, Trial] = {}
    with tqdm(total=len(drawn), desc="checking", unit="pair") as progress:
        for path, keys in by_shard.items():
            with OpenShard(path) as opened:
                for key in keys:
                    sample = opened.members(places[key][1], EXEMPLAR)
                    decode_photo(sample, "exemplar", manifest.schema)
                    of_a, of_b = (_painted(pictures[method], key, method, manifest.schema) for method in (a, b))
                    trials[key] = Trial(key, sample, of_a, of_b)
                    progress.update()
    return [trials[key] for key in drawn], manifest.schema


def _places(manifest: Manifest, folder: Path) -> dict[str, tuple[Path, int]]:
    """The shard of every pair, and its number in it, by key. Raises BadInput when a shard is missing or cut off."""
    places: dict[str, tuple[Path, int]] = {}
    for shard in tqdm(manifest.shards, desc="reading", unit="shard"):
        check_shard(folder, shard)
        with OpenShard(folder / shard.name) as opened:
            places |= {entry.key: (opened.path, number) for number, entry in enumerate(opened.entries)}
    return places


def _pictures(folder: Path, places: Mapping[str, object], pairs: Path) -> dict[str, Path]:
    """The pictures of a folder by key; says what in it is not used. places: by the keys of the pairs.

    Raises BadInput when it is none, or has a picture twice.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder of pictures; paint some with `python -m deploy batch --out {folder}`")
    unused = Unused()
    pictures = painted_in(folder, unused)
    for key in sorted(pictures.keys() - places.keys()):
        unused.add(f"of no pair of {pairs}", key)
    for note in unused.notes():
        print(f"note: {folder}: {note}", file=sys.stderr)
    return pictures


def _painted(pictures: Mapping[str, Path], key: str, folder: Path, schema: LabelSchema) -> PaintedFile:
    if key not in pictures:
        raise BadInput(
            f"{folder / key}.png is missing, and the other folder has a picture of that pair; paint the same pairs "
            "with both methods"
        )
    path = pictures[key]
    content = read_bytes(path)
    height, width = decode_picture(content, str(path)).shape[:2]
    if (height, width) != (schema.height, schema.width):
        raise BadInput(
            f"{path} is {width}×{height} pixels, but the photos of the shards are {schema.width}×{schema.height}; "
            "give pictures of that size"
        )
    return PaintedFile(path, hashlib.sha256(content).hexdigest())
