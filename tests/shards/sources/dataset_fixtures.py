"""Small datasets in the layouts of their publishers: real pictures, labels and videos, drawn here."""

import colorsys
import csv
import itertools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np

from likeness.array import Array
from shards.worlds.film import film

# The parts of a scene in the order in which they are drawn, with hue, saturation and brightness in the plainest style.
PARTS = {"sky": (0.58, 0.5, 0.9), "building": (0.07, 0.3, 0.6), "road": (0.7, 0.1, 0.4), "car": (0.0, 0.9, 0.7)}
PARTS["edge"] = (0.0, 0.0, 0.1)


def scene(rng: np.random.Generator, style: int, ids: dict[str, int], width: int, height: int) -> tuple[Array, Array]:
    """A street: a picture, uint8 (height, width, 3), RGB, and its ids, uint8 (height, width).

    ids: the id of every part. The ids fix where things are; a part's colour depends on the part and on the style.
    """
    label = np.full((height, width), ids["sky"], np.uint8)
    horizon = int(height * rng.uniform(0.4, 0.6))
    for left in range(0, width, width // 4):
        roof = int(horizon * rng.uniform(0.2, 0.9))
        cv2.rectangle(label, (left, roof), (left + width // 5, horizon), ids["building"], -1)
    cv2.rectangle(label, (0, horizon), (width, height), ids["road"], -1)
    x, y = int(rng.uniform(0, 0.7) * width), int(rng.uniform(horizon, height * 0.8))
    cv2.rectangle(label, (x, y - height // 8), (x + width // 4, y + height // 16), ids["car"], -1)
    cv2.rectangle(label, (0, height - height // 16), (width, height), ids["edge"], -1)
    picture = np.zeros((height, width, 3))
    for part, (hue, saturation, brightness) in PARTS.items():
        colour = colorsys.hsv_to_rgb((hue + 0.15 * style) % 1, saturation, brightness / (1 + 0.5 * (style % 3)))
        picture[label == ids[part]] = colour
    noisy = picture * 255 + rng.normal(0, 4, (height, width, 1))
    return noisy.clip(0, 255).astype(np.uint8), label


def save(path: Path, picture: Array) -> None:
    """Writes an RGB or grey picture, JPEG or PNG as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)


def write_bdd100k(root: Path, pictures: int = 8, seed: int = 0, old: bool = False) -> None:
    """`pictures` usable ones in train and as many in val, half clear-daytime and half night, 128×72.

    In each split one picture more has no attributes, one has an undefined time of day, one by day an undefined
    weather; test has two. Every second picture of val has its attributes in the file of train. The first picture by
    night has an undefined weather. old: the layout and the attribute files of 2018.
    """
    rng = np.random.default_rng(seed)
    ids = {"sky": 10, "building": 2, "road": 0, "car": 13, "edge": 255}
    entries: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    images = root / ("seg/images" if old else "images/10k")
    masks, ending = (root / "seg/labels", "_train_id.png") if old else (root / "labels/sem_seg/masks", ".png")
    numbers = itertools.count()
    for split in ("train", "val", "test"):
        told = [("clear", "daytime") if number % 2 else ("rainy", "night") for number in range(pictures)]
        told[0] = ("undefined", "night")
        told += [("", ""), ("clear", "undefined"), ("undefined", "daytime")]
        for number, (weather, time) in enumerate(told if split != "test" else told[:2]):
            name = f"{next(numbers):08x}-{rng.integers(1 << 32):08x}"
            picture, label = scene(rng, int(time == "night"), ids, 128, 72)
            save(images / split / f"{name}.jpg", picture)
            if split == "test":
                continue
            save(masks / split / f"{name}{ending}", label)
            if weather:
                attributes = {"weather": weather, "scene": "city street", "timeofday": time}
                entry = {"name": f"{name}.jpg", "attributes": attributes, "timestamp": 10000, "labels": []}
                entries["train" if number % 2 else split].append(entry)
    for split, frames in entries.items():
        # one of the 100K pictures that is not among the 10K, and one that has no attributes
        frames.append(
            {"name": f"{split}.jpg", "attributes": {"weather": "foggy", "scene": "tunnel", "timeofday": "daytime"}}
        )
        frames.append({"name": f"{split}-bare.jpg", "labels": None})
        path = root / (f"labels/bdd100k_labels_images_{split}.json" if old else f"labels/det_20/det_{split}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(frames, indent=4))


def write_cityscapes(root: Path, pictures: int = 8, seed: int = 0) -> None:
    """`pictures` in train and as many in val, in two cities each, 128×64; two in test, with dummy labels.

    The label pictures hold raw ids; the bar at the bottom is 255, as some programs write a license plate. In instance
    maps the n-th picture's car is the n-th.
    """
    rng = np.random.default_rng(seed)
    ids = {"sky": 23, "building": 11, "road": 7, "car": 26, "edge": 255}
    cities = {"train": ("aachen", "bochum"), "val": ("frankfurt", "munster"), "test": ("berlin",)}
    for split, places in cities.items():
        for number in range(pictures if split != "test" else 2):
            style = number % len(places)
            city = places[style]
            name = f"{city}_{number:06d}_{rng.integers(1000):06d}"
            picture, label = scene(rng, style, ids, 128, 64)
            save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", picture)
            label = label if split != "test" else np.zeros_like(label)
            save(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", label)
            numbers = label.astype(np.uint16)
            numbers[label == ids["car"]] = ids["car"] * 1000 + number
            save(root / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", numbers)
            save(root / "gtFine" / split / city / f"{name}_gtFine_color.png", picture)
            (root / "gtFine" / split / city / f"{name}_gtFine_polygons.json").write_text("{}")


def write_coco_stuff(root: Path, pictures: int = 8, seed: int = 0, images: str = "images/", labels: str = "") -> None:
    """`pictures` in train2017 and as many in val2017, of several shapes.

    images, labels: the folders of the two, with a slash; labels are in annotations/ when it is empty.
    """
    ids = {"sky": 156, "building": 95, "road": 148, "car": 2, "edge": 255}
    folders = [(f"{images}{split}", f"{labels or 'annotations/'}{split}") for split in ("train2017", "val2017")]
    _write_unstyled(root, folders, "{:012d}", ids, pictures, seed)


def write_ade20k(root: Path, pictures: int = 8, seed: int = 0) -> None:
    """`pictures` in training and as many in validation, of several shapes."""
    ids = {"sky": 3, "building": 2, "road": 7, "car": 21, "edge": 0}
    folders = [(f"images/{split}", f"annotations/{split}") for split in ("training", "validation")]
    _write_unstyled(root, folders, "ADE_{:08d}", ids, pictures, seed)


def _write_unstyled(
    root: Path, folders: list[tuple[str, str]], name: str, ids: dict[str, int], pictures: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for images, labels in folders:
        for number in range(pictures):
            width, height = ((128, 96), (96, 128), (100, 75))[number % 3]
            picture, label = scene(rng, number % 5, ids, width, height)
            save(root / images / f"{name.format(number + 1)}.jpg", picture)
            save(root / labels / f"{name.format(number + 1)}.png", label)


def write_pictures(
    root: Path, pictures: int = 16, seed: int = 0, styles: bool = True, classes: bool = True, void: int = 255
) -> None:
    """`pictures` of 96×64 in two folders and several formats, in the styles dusk and noon.

    styles, classes: whether styles.csv and classes.json are written. void: the id of the bar at the bottom.
    """
    rng = np.random.default_rng(seed)
    ids = {"sky": 1, "building": 2, "road": 5, "car": 7, "edge": void}
    rows = []
    for number in range(pictures):
        style, place = number % 2, ("town", "sea/north")[number // 2 % 2]
        ending = ("jpg", "PNG", "webp", "jpeg")[number % 4]
        picture, label = scene(rng, style, ids, 96, 64)
        save(root / "images" / place / f"{number}.{ending}", picture)
        save(root / "labels" / place / f"{number}.png", label)
        rows.append((f"{place}/{number}.{ending}", ("noon", "dusk")[style]))
    if styles:
        with (root / "styles.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("picture", "style"), *rows])
    if classes:
        told = {"names": list(ids), "ids": list(ids.values()), "void": void}
        (root / "classes.json").write_text(json.dumps(told))


def write_face_forensics(root: Path, pictures: int = 4, seed: int = 0, size: int = 64, splits: bool = True) -> None:
    """FaceForensics++: `pictures` YouTube videos in each of train, val and test, and two of actors, 1 s of size×size.

    The YouTube videos are there in c23 and c40, those of actors in raw; one manipulated video lies beside.
    splits: whether the split files are written. `pictures` must be even, as the files hold pairs.
    """
    with tempfile.TemporaryDirectory() as folder:
        videos = _films(Path(folder), 3 * pictures + 2, seed, size)
        numbers = [f"{number:03d}" for number in range(3 * pictures)]
        for number, video in zip(numbers, videos, strict=False):
            for way in ("c23", "c40"):
                _copy(video, root / "original_sequences/youtube" / way / "videos" / f"{number}.mp4")
        for number, video in enumerate(videos[3 * pictures :]):
            _copy(video, root / "original_sequences/actors/raw/videos" / f"{number + 1:02d}__talking_outside.mp4")
        _copy(videos[0], root / "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4")
    if splits:
        (root / "splits").mkdir()
        for place, split in enumerate(("train", "val", "test")):
            ours = numbers[place::3]
            pairs = [[first, second] for first, second in zip(ours[::2], ours[1::2], strict=True)]
            (root / "splits" / f"{split}.json").write_text(json.dumps(pairs, indent=2))


def write_face_forensics_2018(root: Path, pictures: int = 4, seed: int = 0, size: int = 64) -> None:
    """FaceForensics of 2018: `pictures` videos in each of train, val and test, H.264 in AVI, each altered as well."""
    with tempfile.TemporaryDirectory() as folder:
        videos = iter(_films(Path(folder), 3 * pictures, seed, size))
        for split in ("train", "val", "test"):
            for number in range(pictures):
                for kind in ("original", "altered"):
                    (root / split / kind).mkdir(parents=True, exist_ok=True)
                name = f"{split}{number:08d}_0_.avi"
                # AVI has no presentation times of its own, so frames may not be stored out of order.
                subprocess.run(
                    [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(next(videos)), "-c:v", "libx264",
                     "-bf", "0", "-qp", "0", str(root / split / "original" / name)],
                    check=True,
                )  # fmt: skip
                shutil.copy(root / split / "original" / name, root / split / "altered" / name)


def _films(folder: Path, videos: int, seed: int, size: int) -> list[Path]:
    """Faces that move; their sidecars stay behind."""
    film("faces", folder / "videos", videos=videos, seconds=1, size=size, seed=seed)
    return sorted((folder / "videos").glob("*.mp4"))


def _copy(video: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(video, to)
