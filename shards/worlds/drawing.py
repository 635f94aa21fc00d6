"""Brushes that the three worlds share: an oversampled canvas, smooth curves, shaded fills, smooth motion.

Points are (n, 2) arrays of (x, y) in *fractions of the picture width*, x to the right, y down; colours are
RGB triples of 0..255.
"""

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np

from likeness.array import Array

Colour = tuple[int, int, int]

_SHIFT = 4


def oversampling(size: int) -> int:
    """How many times finer than the picture the canvas is, 2 to 4: small pictures need it more and cost less."""
    return 2 if size >= 96 else 3 if size >= 48 else 4


class Canvas:
    """An RGB canvas `oversampling(width)` times as fine as the picture, uint8 (H, W, 3) in `pixels`."""

    def __init__(self, width: int, height: int) -> None:
        self.factor = oversampling(width)
        self.width, self.height = width, height
        self.unit = width * self.factor
        self.pixels: Array = np.zeros((height * self.factor, width * self.factor, 3), np.uint8)

    def finish(self) -> Array:
        """The picture: uint8 (height, width, 3)."""
        return cv2.resize(self.pixels, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def _fixed(self, points: Array) -> Array:
        return np.rint((points * self.unit - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def fill(self, points: Array, colour: Colour) -> None:
        """Fills a polygon with one colour."""
        cv2.fillPoly(self.pixels, [self._fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def fills(self, polygons: Array, colour: Colour) -> None:
        """Fills many polygons that do not overlap, (n, corners, 2), with one colour."""
        if len(polygons):
            cv2.fillPoly(self.pixels, list(self._fixed(polygons)), colour, cv2.LINE_AA, _SHIFT)

    def disc(self, centre: Array, radius: float, colour: Colour) -> None:
        """Fills a circle."""
        x, y = self._fixed(centre)
        cv2.circle(
            self.pixels, (int(x), int(y)), round(radius * self.unit * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT
        )

    def stroke(self, points: Array, width: float | Array, colour: Colour) -> None:
        """Draws an open line of the given width (one number, or one for each point)."""
        self.fill(ribbon(points, width), colour)

    def box(self, points: Array, margin: float = 0.0) -> tuple[slice, slice]:
        """The rows and columns that a polygon can touch, cut to the canvas."""
        left, top, wide, high = cv2.boundingRect(self._fixed(points) >> _SHIFT)
        extra = int(margin * self.unit) + 3
        height, width = self.pixels.shape[:2]
        x0, x1 = max(left - extra, 0), min(left + wide + extra, width)
        y0, y1 = max(top - extra, 0), min(top + high + extra, height)
        return slice(min(y0, height), max(y1, 0)), slice(min(x0, width), max(x1, 0))

    def mask(self, points: Array, box: tuple[slice, slice]) -> Array:
        """The coverage of a polygon inside `box`: uint8 0..255."""
        rows, columns = box
        mask = np.zeros((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)), np.uint8)
        corner = np.array([columns.start, rows.start], np.int32) << _SHIFT
        if mask.size:
            cv2.fillPoly(mask, [self._fixed(points) - corner], 255, cv2.LINE_AA, _SHIFT)
        return mask

    def grid(self, box: tuple[slice, slice]) -> tuple[Array, Array]:
        """x as a row and y as a column: the pixel centres of `box`, float32."""
        rows, columns = box
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5)) / np.float32(self.unit)
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5)) / np.float32(self.unit)
        return x[None, :], y[:, None]

    def shaded(self, points: Array, palette: Array, centre: Array, radius: tuple[float, float], light: Array) -> None:
        """Fills a polygon as if it lay on an ellipsoid under a light.

        palette: (256, 3) uint8 from the darkest to the brightest (`ramp`). centre, radius: the ellipsoid.
        light: unit vector in the picture, pointing to where the light comes from.
        """
        self.fill(points, tone(palette, 128))
        box = self.box(points)
        mask = self.mask(points, box)
        if not mask.size:
            return
        x, y = self.grid(box)
        x, y = (x - np.float32(centre[0])) / np.float32(radius[0]), (y - np.float32(centre[1])) / np.float32(radius[1])
        along_x = np.float32(150) + np.float32(75 * light[0]) * x - np.float32(45) * x * x
        along_y = np.float32(75 * light[1]) * y - np.float32(45) * y * y
        self._lay(box, mask, _tones(along_x + along_y), palette)

    def graded(self, points: Array, palette: Array, start: Array, end: Array) -> None:
        """Fills a polygon with a straight gradient that is `palette[0]` at `start` and `palette[255]` at `end`."""
        box = self.box(points)
        mask = self.mask(points, box)
        if not mask.size:
            return
        self.fill(points, tone(palette, 128))
        x, y = self.grid(box)
        way = np.asarray(end, float) - start
        way = way / max(float(way @ way), 1e-9) * 255
        field = np.float32(way[0]) * (x - np.float32(start[0])) + np.float32(way[1]) * (y - np.float32(start[1]))
        self._lay(box, mask, _tones(field), palette)

    def _lay(self, box: tuple[slice, slice], mask: Array, tones: Array, palette: Array) -> None:
        colours = cv2.applyColorMap(tones, palette[:, None, :])
        whole = np.equal(mask, 255).view(np.uint8)
        target = self.pixels[box]
        target[:] = cv2.copyTo(colours, whole, target)

    def soft(self, points: Array, colour: Colour, opacity: float, blur: float) -> None:
        """Lays a blurred polygon of partial opacity over the canvas. blur: standard deviation."""
        box = self.box(points, 2.5 * blur)
        mask = self.mask(points, box)
        if not mask.size:
            return
        # A large blur looks the same computed at a quarter of the resolution.
        sigma = blur * self.unit
        if sigma > 6:
            height, width = mask.shape
            small = cv2.resize(mask, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), (width, height))
        elif sigma > 0.3:
            mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        self.veil(box, mask.astype(np.float32) * np.float32(opacity / 255), colour)

    def veil(self, box: tuple[slice, slice], alpha: Array, colour: Colour) -> None:
        """Mixes `colour` into `box` by `alpha`, float32 (rows, columns) in [0, 1]."""
        target = self.pixels[box]
        over = np.empty_like(target)
        over[:] = colour
        target[:] = cv2.blendLinear(over, target, alpha, 1 - alpha)

    def clipped(self, points: Array) -> "Clip":
        """A context in which everything that is drawn appears only inside a polygon."""
        return Clip(self, points)


class Clip:
    """Keeps what is drawn in its `with` body inside a polygon."""

    def __init__(self, canvas: Canvas, points: Array) -> None:
        self.canvas, self.points = canvas, points
        self.box = canvas.box(points)

    def __enter__(self) -> None:
        self.before = self.canvas.pixels.copy()

    def __exit__(self, *_: object) -> None:
        alpha = self.canvas.mask(self.points, self.box).astype(np.float32) / np.float32(255)
        if alpha.size:
            inside = self.canvas.pixels[self.box]
            self.before[self.box] = cv2.blendLinear(
                np.ascontiguousarray(inside), np.ascontiguousarray(self.before[self.box]), alpha, 1 - alpha
            )
        self.canvas.pixels = self.before


def _tones(field: Array) -> Array:
    """float32 to uint8 0..255, clipped."""
    return np.minimum(np.maximum(field, 0), 255).astype(np.uint8)


def _basis(steps: int) -> Array:
    t = np.arange(steps) / steps
    return 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1)


_BASES = {steps: _basis(steps) for steps in (3, 4, 5, 6, 8, 10)}


def loop(points: Array | Sequence[Sequence[float]], steps: int = 5) -> Array:
    """A closed smooth (Catmull-Rom) curve through the points, `steps` samples for each."""
    p = np.asarray(points, float)
    around = np.concatenate([p[-1:], p, p[:2]])
    return _between(around, steps)


def curve(points: Array | Sequence[Sequence[float]], steps: int = 5) -> Array:
    """An open smooth (Catmull-Rom) curve through the points, both ends included."""
    p = np.asarray(points, float)
    q = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    return np.concatenate([_between(q, steps), p[-1:]])


def _between(knots: Array, steps: int) -> Array:
    """`steps` samples from the second to the third of every four knots in a row."""
    spans = len(knots) - 3
    windows = np.empty((spans, 4, knots.shape[1]))
    for i in range(4):
        windows[:, i] = knots[i : i + spans]
    between: Array = (_BASES[steps] @ windows).reshape(-1, knots.shape[1])
    return between


def ribbon(points: Array, width: float | Array) -> Array:
    """The outline of an open line of a width (one number, or one for each point)."""
    way = np.empty((len(points), 2))
    way[1:-1] = points[2:] - points[:-2]
    way[0], way[-1] = points[1] - points[0], points[-1] - points[-2]
    reach = np.sqrt(way[:, 0] ** 2 + way[:, 1] ** 2)
    side = way[:, ::-1] * ((width / 2) / np.maximum(reach, 1e-9))[:, None]
    side[:, 0] *= -1
    return np.concatenate([points + side, (points - side)[::-1]])


def ellipse(
    centre: Sequence[float] | Array, radius: tuple[float, float], angle: float = 0.0, points: int = 28
) -> Array:
    """A polygon close to an ellipse; `angle` in radians, clockwise on the screen."""
    if points not in _CIRCLES:
        t = np.arange(points) * (2 * np.pi / points)
        _CIRCLES[points] = np.stack([np.cos(t), np.sin(t)], axis=1)
    c, s = math.cos(angle), math.sin(angle)
    wide, high = radius
    turn = np.array([[wide * c, wide * s], [-high * s, high * c]])
    outline: Array = _CIRCLES[points] @ turn + np.asarray(centre, float)
    return outline


_CIRCLES: dict[int, Array] = {}


def shifted(points: Array, x: float, y: float) -> Array:
    """Points moved by (x, y)."""
    moved: Array = points + np.array((x, y))
    return moved


def tone(palette: Array, level: float) -> Colour:
    """One colour of a palette (256, 3); levels outside 0..255 are its ends."""
    red, green, blue = palette[int(min(255.0, max(0.0, level)))].tolist()
    return red, green, blue


def mix(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """`a` with a share (0..1) of `b`."""
    red, green, blue = (int(min(255.0, max(0.0, p + (q - p) * share)) + 0.5) for p, q in zip(a, b, strict=True))
    return red, green, blue


def ramp(dark: Sequence[float], middle: Sequence[float], bright: Sequence[float]) -> Array:
    """A palette (256, 3) uint8 through three colours."""
    t = np.linspace(0, 2, 256)[:, None]
    d, m, b = (np.asarray(c, float) for c in (dark, middle, bright))
    tones: Array = np.rint(np.where(t < 1, d + (m - d) * t, m + (b - m) * (t - 1))).clip(0, 255).astype(np.uint8)
    return tones


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of a hue (any real, 1 is a full turn), saturation and value (0..1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(1.0, max(0.0, saturation)), min(1.0, max(0.0, value)))
    return round(red * 255), round(green * 255), round(blue * 255)


def wander(rng: np.random.Generator, times: Array, amplitude: float, period: float) -> Array:
    """A smooth random path over `times` (seconds), within ±`amplitude`, that turns about every `period` seconds."""
    waves = [
        weight * np.sin(2 * np.pi * (times / (period * stretch * rng.uniform(0.8, 1.25)) + rng.random()))
        for weight, stretch in ((0.6, 1.0), (0.25, 0.53), (0.15, 0.31))
    ]
    return np.asarray(amplitude * sum(waves), float)
