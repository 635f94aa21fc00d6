"""What all brushes of a face share: the canvas, the head on it, the light, and palettes."""

import numpy as np

from likeness.array import Array
from shards.worlds.drawing import Canvas, Colour, loop, mix, ramp
from shards.worlds.faces.landmarks import Head
from shards.worlds.faces.styles import Style


class Portrait:
    """One face that is being drawn, back to front. Points are in fractions of the picture's side."""

    def __init__(self, canvas: Canvas, head: Head, marks: Array, style: Style) -> None:
        self.canvas, self.head, self.marks, self.style = canvas, head, marks, style
        self.state, self.unit = head.state, head.unit
        self.light = np.array([np.cos(style.light_angle), np.sin(style.light_angle)])
        self.lamp = mix((205, 225, 255), (255, 214, 150), style.light_warmth)
        self.skin = self.palette(style.skin)
        self.hair_tones = self.palette(style.hair_colour, 1.15)
        self.middle = head.at([[0.0, 0.1, 0.0]])[0]
        s = self.state
        self.width = s.face_width
        # The body hangs straight down from the neck, which follows only a part of the tilt.
        self.neck = self.head.origin + self.unit * np.array([-1.0 * np.sin(s.roll), 1.72 * s.face_length])
        forehead = self.crown(1.0, 0.0, -0.1, 11)[2:-2]
        self.face = loop(np.concatenate([marks[:17], head.at(forehead, -0.05)]), 4)

    def palette(self, colour: Colour, depth: float = 1.0) -> Array:
        """A colour in shadow, as it is, and in light."""
        strength = self.style.light_strength * depth
        shadow = mix(colour, (40, 22, 60), 0.16 + 0.42 * strength)
        lit = mix(mix(colour, self.lamp, 0.1 + 0.36 * strength), colour, 0.1)
        return ramp(shadow, colour, lit)

    def crown(self, outer: float, lift: float, level: float, points: int = 15) -> Array:
        """An arc over the skull from the image right to the image left, as head points (n, 2).

        outer: widening of the skull; lift: how much higher than the skull; level: where it ends beside the face.
        """
        t = np.linspace(0, np.pi, points)
        c, s = np.cos(t), np.sin(t)
        x = self.width * outer * np.sign(c) * np.abs(c) ** 0.86
        y = -0.12 - (1.12 + lift) * s**0.92
        arc = np.stack([x, y], axis=1)
        ends = np.array([[self.width * outer, level]])
        return np.concatenate([ends, arc, ends * [-1, 1]])
