"""Neck, shoulders and the shirt."""

from typing import Any

import numpy as np

from likeness.array import Array
from shards.worlds.drawing import curve, loop, shifted, tone
from shards.worlds.faces.portrait import Portrait


def draw_body(p: Portrait) -> None:
    style, u, neck = p.style, p.unit, p.neck
    canvas = p.canvas

    def place(points: Any) -> Array:
        return np.asarray(neck + u * np.asarray(points, float), float)

    jaw_left, jaw_right = p.marks[4], p.marks[12]
    throat = np.array([jaw_left * 0.8 + jaw_right * 0.2, jaw_right * 0.8 + jaw_left * 0.2])
    column = np.concatenate([throat, place([[0.62, 0.2], [0.8, 0.5], [-0.8, 0.5], [-0.62, 0.2]])])
    canvas.shaded(column, p.skin, neck - [0, 0.2 * u], (0.95 * u, 1.6 * u), p.light)
    # The chin's shadow on the neck.
    shade = tone(p.skin, 10)
    shadow = np.concatenate([shifted(p.marks[3:14], 0, 0.24 * u), shifted(p.marks[[13, 3]], 0, -0.2 * u)])
    with canvas.clipped(column):
        canvas.soft(shadow - p.light * 0.1 * u, shade, 0.75, 0.07 * u)

    bottom = (1.02 - neck[1]) / u + 0.3
    shoulders = [[0.55, 0.02], [0.95, 0.16], [1.55, 0.36], [2.0, 0.72], [2.3, 1.5]]
    right = np.array([*shoulders, [2.45, max(bottom, 2.0)]])
    outline = np.concatenate([curve(right), curve(right * [-1, 1])[::-1]])
    dips = {"crew": 0.34, "vee": 0.95, "collar": 0.62, "turtle": 0.1}
    dip = dips[style.neckline]
    if style.neckline == "vee":
        opening = np.array([[-0.3, 0.45], [0.0, dip], [0.3, 0.45]])
    elif style.neckline == "collar":
        opening = np.array([[-0.2, 0.3], [0.0, dip], [0.2, 0.3]])
    else:
        opening = curve(np.array([[-0.55, 0.02], [-0.32, dip * 0.8], [0.0, dip], [0.32, dip * 0.8], [0.55, 0.02]]))
    cloth = p.palette(style.clothes_colour)
    shirt = place(np.concatenate([outline, opening]))
    canvas.shaded(shirt, cloth, place([[0.0, 0.9]])[0], (2.5 * u, 2.2 * u), p.light)
    _pattern(p, shirt, place)
    second = p.palette(style.clothes_second)
    if style.neckline == "collar":
        for side in (-1, 1):
            flap = place(np.array([[0.56, -0.12], [0.02, 0.62], [0.52, 0.82], [0.92, 0.2]]) * [side, 1])
            canvas.fill(shifted(flap, 0, 0.04 * u), tone(cloth, 30))
            canvas.fill(flap, tone(second, 128 + 60 * side * p.light[0]))
    elif style.neckline == "turtle":
        roll = [[-0.66, 0.3], [-0.62, -0.18], [0.0, -0.06], [0.62, -0.18], [0.66, 0.3], [0.0, 0.44]]
        canvas.shaded(place(loop(roll, 4)), cloth, place([[0.0, 0.1]])[0], (0.8 * u, 0.8 * u), p.light)
        canvas.stroke(place(curve(np.array([[-0.66, 0.27], [0.0, 0.43], [0.66, 0.27]]))), 0.05 * u, tone(cloth, 20))
    else:
        canvas.stroke(place(opening), 0.09 * u, tone(second, 128))


def _pattern(p: Portrait, shirt: Array, place: Any) -> None:
    style, canvas, u = p.style, p.canvas, p.unit
    if style.clothes_pattern == "plain":
        return
    second = p.palette(style.clothes_second)
    if style.clothes_pattern in ("stripes", "checks"):
        strips = [np.array([[x, -0.3], [x + 0.2, -0.3], [x + 0.2, 3.5], [x, 3.5]]) for x in np.arange(-2.5, 2.5, 0.5)]
    else:
        strips = []
    if style.clothes_pattern == "bars":
        strips = [np.array([[-2.6, y], [2.6, y], [2.6, y + 0.22], [-2.6, y + 0.22]]) for y in np.arange(0.1, 3.2, 0.5)]
    box = canvas.box(shirt)
    mask = canvas.mask(shirt, box)
    if not mask.size:
        return
    with canvas.clipped(shirt):
        for strip in strips:
            level = 128 + 45 * float(strip[:, 0].mean()) / 2.5 * p.light[0]
            canvas.fill(place(strip), tone(second, level))
        if style.clothes_pattern == "checks":
            for y in np.arange(0.0, 3.2, 0.5):
                bar = place(np.array([[-2.6, y], [2.6, y], [2.6, y + 0.1], [-2.6, y + 0.1]]))
                canvas.fill(bar, tone(second, 60))
        elif style.clothes_pattern == "dots":
            for row, y in enumerate(np.arange(0.15, 3.2, 0.36)):
                for x in np.arange(-2.4 + 0.2 * (row % 2), 2.5, 0.4):
                    canvas.disc(place([[x, y]])[0], 0.095 * u, tone(second, 128 + 20 * x * p.light[0]))
