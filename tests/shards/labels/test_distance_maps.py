"""Reduced distance maps: byte for byte what the published system's own steps make, one after the other."""

import numpy as np
import pytest
from PIL import Image

from shards.labels import distance_maps, sketch
from shards.labels.distance_maps import distances, halved, halved_distances


@pytest.mark.parametrize("kind", ["noise", "black and white", "smooth"])
def test_halved_is_pillows_bilinear_filter(kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(1, 60, 2))
        plane = rng.integers(0, 256, (2 * height, 2 * width)).astype(np.uint8)
        if kind == "black and white":
            plane = np.where(plane > 128, 255, 0).astype(np.uint8)
        elif kind == "smooth":
            plane = np.clip(np.add.outer(np.arange(2 * height), np.arange(2 * width)) + plane // 128, 0, 255)
            plane = plane.astype(np.uint8)
        expected = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(halved(plane), np.asarray(expected))


@pytest.mark.parametrize("divisor", [0.3, 0.75, 1.1, 3.0])
def test_tables_give_what_each_plane_gives(monkeypatch: pytest.MonkeyPatch, divisor: float) -> None:
    """Specks anywhere, in boxes that touch no border, one, or all four."""
    monkeypatch.setattr(distance_maps, "_SMALL", 0)
    rng = np.random.default_rng(int(10 * divisor))
    for _ in range(40):
        rows, columns = (2 * int(side) for side in rng.integers(3, 40, 2))
        planes, boxes = np.full((3, rows, columns), 255, np.uint8), []
        for plane in planes:
            count, reach = rng.integers(1, 12, 2)
            y = np.clip(rng.integers(rows) + rng.integers(-reach, reach + 1, count), 0, rows - 1)
            x = np.clip(rng.integers(columns) + rng.integers(-reach, reach + 1, count), 0, columns - 1)
            plane[y, x] = 0
            boxes.append((int(y.min()), int(y.max()), int(x.min()), int(x.max())))
        expected = [halved(distances(plane, divisor)) for plane in planes]
        np.testing.assert_array_equal(halved_distances(planes, boxes, divisor), expected)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (64, 64), (144, 256), (48, 16)])
def test_sketches_are_drawn_plane_by_plane(height: int, width: int) -> None:
    """Any landmarks, such as cropped and wrong ones: the two ways give the same label."""
    rng = np.random.default_rng(height)
    for _ in range(8):
        face = rng.normal(256, rng.uniform(20, 200), (68, 2)).round().astype(int)
        label = sketch.draw(face, height, width)
        rows, columns = 2 * height, 2 * width
        down, right = rows / 512, columns / 512
        pieces = sketch.with_forehead(face)[[(piece + piece[-1:])[:3] for _, piece in sketch.PIECES]]
        piece, x, y = sketch.curves(pieces, density=max(1.0, down, right))
        lines = np.array([line for line, _ in sketch.PIECES])[piece]
        x, y = (x * right).astype(int), (y * down).astype(int)
        for line in range(14):
            plane = np.full((1, rows, columns), 255, np.uint8)
            of_line = lines == line
            sketch.brush(plane, 0, x[of_line], y[of_line], reach=1, value=0)
            expected = halved(distances(plane[0], 1.5 * (down + right))) if of_line.any() else 255
            np.testing.assert_array_equal(label[1 + line], np.broadcast_to(expected, (height, width)))
