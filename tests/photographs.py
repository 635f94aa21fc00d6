"""Real photographs, those that come with scikit-image: cut into files of many sizes, as folders of people have them."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from likeness.array import Array

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "retina")
PARTS = 3


def photographs() -> dict[str, Array]:
    """18 parts of six photographs, uint8 RGB of different sizes, by the name of their file without its ending."""
    data = pytest.importorskip(
        "skimage.data", reason="NOT TESTED HERE: install scikit-image, which has the photographs"
    )
    parts = {}
    for name in NAMES:
        photo = getattr(data, name)()
        rows, columns = photo.shape[0] // 2, photo.shape[1] // 2
        for number in range(PARTS):
            top, left = number * rows // PARTS, number * columns // PARTS
            parts[f"{name}/{number}"] = np.ascontiguousarray(photo[top : top + rows, left : left + columns])
    return parts


def write_photos(root: Path) -> None:
    """A folder of photographs, JPEG and PNG, in subfolders."""
    for number, (name, photo) in enumerate(photographs().items()):
        _save(root / f"{name}.{'png' if number % 2 else 'jpg'}", photo)


def write_picture_pairs(root: Path, styled: bool = True) -> None:
    """Photographs in `images`, and in `labels` what a painter with few colours might have made of each.

    styled: with a styles.csv that calls every photograph a style.
    """
    names = []
    for name, photo in photographs().items():
        _save(root / "images" / f"{name}.jpg", photo)
        _save(root / "labels" / f"{name}.png", painted(photo))
        names.append(name)
    if styled:
        with (root / "styles.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["picture", "style"])
            rows.writerows([f"{name}.jpg", name.partition("/")[0]] for name in names)


def painted(photo: Array) -> Array:
    """A photograph in smooth patches of five values per colour."""
    smooth = cv2.medianBlur(photo, 9)
    return ((smooth.astype(np.float32) / 255 * 4).round() * (255 / 4)).astype(np.uint8)


def _save(path: Path, picture: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])
