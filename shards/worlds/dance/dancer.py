"""What all brushes of a dancer share: the canvas, the body's measures, the light, palettes, and limbs."""

from itertools import pairwise

import numpy as np

from likeness.array import Array
from shards.worlds.dance.keypoints import (
    L_EAR,
    L_HIP,
    NECK,
    NOSE,
    R_EAR,
    R_HIP,
)
from shards.worlds.dance.styles import Style
from shards.worlds.drawing import Canvas, Colour, mix, ramp, tone


class Dancer:
    """One dancer who is being drawn, back to front. Points are in fractions of the picture's side."""

    def __init__(self, canvas: Canvas, points: Array, style: Style) -> None:
        self.canvas, self.points, self.style = canvas, points, style
        self.light = np.array([np.cos(style.light_angle), np.sin(style.light_angle)])
        p = points
        self.hips = (p[R_HIP] + p[L_HIP]) / 2
        # A length that all widths hang on: the torso, whose length on the picture changes little.
        self.unit = float(np.linalg.norm(p[NECK] - self.hips)) * 0.5 + 0.5 * 0.245
        face = (p[R_EAR] + p[L_EAR]) / 2
        self.skull = face * 0.75 + p[NOSE] * 0.25
        up = self.skull - p[NECK]
        self.up = up / max(float(np.linalg.norm(up)), 1e-6)
        self.across = np.array([-self.up[1], self.up[0]])
        self.radius = 0.052 * self.unit / 0.245
        self.skin = self.palette(style.skin)
        self.top = self.palette(style.top_colour)
        self.bottom = self.palette(style.bottom_colour)
        self.hair = self.palette(style.hair_colour)

    def palette(self, colour: Colour) -> Array:
        strength = self.style.light_strength
        return ramp(
            mix(colour, (24, 14, 50), 0.2 + 0.4 * strength),
            colour,
            mix(colour, (255, 250, 230), 0.12 + 0.38 * strength),
        )

    def limb(self, points: Array, widths: list[float], palette: Array) -> None:
        """A tapering tube through the points, in shadow on one side and lit on the other."""
        k = self.unit / 0.245
        w = np.asarray(widths) * k
        line = np.concatenate([np.linspace(a, b, 5)[:-1] for a, b in pairwise(points)])
        line = np.concatenate([line, points[-1:]])
        wide = np.interp(np.linspace(0, len(w) - 1, len(line)), np.arange(len(w)), w)
        for shift, share, level in ((0.0, 1.0, 50), (0.08, 0.84, 128), (0.22, 0.4, 178)):
            moved = line + self.light * shift * wide[:, None]
            self.canvas.stroke(moved, wide * share, tone(palette, level))
            for joint, width in (
                (moved[0], wide[0]),
                (moved[len(line) // 2], wide[len(line) // 2]),
                (moved[-1], wide[-1]),
            ):
                self.canvas.disc(joint, width * share / 2, tone(palette, level))

    def on_head(self, x: float, y: float) -> Array:
        """A place on the head: x to the image right, y up, in head radii."""
        return np.asarray(self.skull + self.radius * (x * self.across + y * self.up), float)
