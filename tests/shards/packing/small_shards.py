"""Small shards: of drawn photos and labels of any kind, and how small videos are packed."""

from pathlib import Path
from typing import Any

import numpy as np

from shards import labels
from shards.operators.labelling import Labelling, Photo
from shards.packing.pairs import PRESETS, preset, sample_pairs
from shards.packing.photo_cache import PhotoCache, Preprocessing, Unit, write_unit
from shards.packing.plan import Packing
from shards.packing.write import write_shards
from shards.records import Frame, LabelKind, Manifest

HEIGHT, WIDTH = 32, 48
SOURCES = ("a.mp4", "b/b.mp4", "c.mp4")


def photos(kind: LabelKind) -> list[Photo]:
    """Five frames of each of three videos, smooth pictures with a hue per video."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    made = []
    for style, source in enumerate(SOURCES):
        hue = rng.uniform(40, 200, 3)
        for number in range(5):
            wave = 40 * np.sin(rows / 9 + number) + 10 * np.cos(columns / 7 - number)
            image = np.clip(hue + wave[..., None], 0, 255).astype(np.uint8)
            points = rng.integers(0, 512, (68, 2))
            keypoints = rng.uniform(0, 1, (18, 3))
            frame = Frame(
                source,
                number,
                number / 8,
                f"style-{style}",
                tuple((int(x), int(y)) for x, y in points) if kind == "sketch" else None,
                tuple((float(x), float(y), float(c)) for x, y, c in keypoints) if kind == "pose" else None,
            )
            ids = rng.choice(np.array([0, 7, 18, 255], np.uint8), (HEIGHT, WIDTH)) if kind == "classes" else None
            made.append(Photo(frame, image, ids))
    return made


def photo_cache(folder: Path, kind: LabelKind, picture_format: str = "jpg") -> PhotoCache:
    """A cache of `photos`, all in one unit."""
    folder.mkdir()
    preprocessing = Preprocessing(Labelling("worlds", labels.standard_schema(kind, HEIGHT, WIDTH)), picture_format)
    sources = [(name, lambda _, name=name: [p for p in photos(kind) if p.frame.source == name]) for name in SOURCES]
    write_unit(folder, "unit", sources, preprocessing)
    return PhotoCache(folder, [Unit("unit", ())], preprocessing)


def packed(folder: Path, kind: LabelKind = "sketch", picture_format: str = "jpg", pairs: int = 23) -> Manifest:
    """Packs pairs of `photos` into shards of 10."""
    folder.mkdir()
    schema = labels.standard_schema(kind, HEIGHT, WIDTH)
    with photo_cache(folder.with_name(f"{folder.name}-cache"), kind, picture_format) as shown:
        frames = [frame for made in shown.results for frame in made.frames]
        drawn = sample_pairs(frames, PRESETS["default"], pairs, seed=4)
        shards = write_shards(drawn, shown, folder, samples_per_shard=10)
    sources = {"train": SOURCES, "test": ("d.mp4",)}
    manifest = Manifest(schema, "train", 4, PRESETS["default"].to_json(), shards, sources)  # type: ignore[arg-type]
    manifest.save(folder)
    return manifest


def packing(videos: Path, **changes: Any) -> Packing:
    """How the small videos are packed; changes: fields of Packing."""
    settings = {"pairs": 41, "size": 32, "test_pairs": 9, "test_fraction": 0.3, "samples_per_shard": 6, "seed": 2}
    return Packing(videos, **{"sampling": preset("default"), **settings, **changes})
