"""The solid head of a state, and where its 68 landmarks lie on the picture."""

from typing import Any

import numpy as np

from likeness.array import Array
from shards.worlds.faces.motion import State


class Head:
    """The solid head of a state: takes points of the head (x, y, z in head units) to the picture."""

    def __init__(self, state: State) -> None:
        cy, sy = np.cos(state.yaw), np.sin(state.yaw)
        cp, sp = np.cos(state.pitch), np.sin(state.pitch)
        cr, sr = np.cos(state.roll), np.sin(state.roll)
        # x points to the picture's right, y down and z at the viewer; 0 is between the eyes.
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        # Two rows: what comes out is seen from far away, without perspective, and depth is dropped.
        tilt = np.array([[cr, -sr, 0], [sr, cr, 0]])
        self.matrix = tilt @ nod @ turn * state.scale
        self.origin = np.array([state.x, state.y])
        self.unit = state.scale
        self.state = state

    def at(self, points: Any, z: Any = None) -> Array:
        """Points (n, 3), or (n, 2) with a depth `z`, on the picture: (n, 2) in fractions of its side."""
        p = np.asarray(points, float)
        if z is not None:
            p = np.concatenate([p, np.broadcast_to(np.asarray(z, float), len(p))[:, None]], axis=1)
        return np.asarray(p @ self.matrix.T + self.origin, float)


def depth(x: Any) -> Any:
    """How far the face's front lies before its centre, at a distance x from its middle."""
    return 0.5 - 0.45 * np.asarray(x, float) ** 2


def landmarks(head: Head) -> Array:
    """The 68 landmarks in fractions of the picture's side, float (68, 2)."""
    s = head.state
    opened, w = s.mouth_open, s.face_width
    theta = np.linspace(0, np.pi, 17)
    cosine, sine = np.cos(theta), np.sin(theta)
    # The jaw is half a superellipse of the exponent `jaw`: 2 is an ellipse, more is a squarer chin. An open mouth
    # lengthens it.
    jaw_y = -0.08 + (1.27 * s.face_length + 0.13 * opened) * np.abs(sine) ** (2 / s.jaw)
    jaw = np.stack([-w * np.sign(cosine) * np.abs(cosine) ** (2 / s.jaw), jaw_y, -0.2 + 0.45 * sine**2], axis=1)

    # The right of the picture is drawn and mirrored. Mirroring turns the order round, and landmarks are numbered from
    # the image's left, so that the copy is put in order again, here and at the eyes.
    along = np.linspace(-1, 1, 5)
    brow_y = -s.brow_height - 0.16 * s.brow_raise - 0.085 * (1 - along**2) + 0.03 * s.smile * along
    right_x = s.eye_spacing + 0.27 * along + 0.02
    right_brow = np.stack([right_x, brow_y + 0.05 * (along > 0.9), depth(right_x)], axis=1)
    left_brow = (right_brow * [-1, 1, 1])[::-1]

    tip = s.nose_length
    bridge = np.stack([np.zeros(4), np.linspace(-0.02, tip, 4), np.linspace(0.55, 0.86, 4)], axis=1)
    under = np.array([-0.19, -0.1, 0.0, 0.1, 0.19])
    base_y = tip + np.array([0.08, 0.12, 0.14, 0.12, 0.08])
    base = np.stack([under, base_y, np.array([0.52, 0.6, 0.66, 0.6, 0.52])], axis=1)

    # Never quite shut: the two lids of a closed eye stay two lines.
    lids = 1 - 0.93 * s.blink
    upper, lower = 0.105 * lids * (1 + 0.25 * s.brow_raise), 0.07 * (1 - 0.6 * s.blink - 0.25 * max(s.smile, 0.0))
    eye_x = np.array([-1, -0.42, 0.42, 1, 0.42, -0.42]) * s.eye_size + s.eye_spacing
    lid_y = np.array([0.015, -upper, -upper * 1.02, -0.01, lower * 0.9, lower])
    lid_y = lid_y + 0.012 * s.blink * np.array([0.3, 1, 1, 0.3, 0, 0])
    right_eye = np.stack([eye_x, lid_y, depth(eye_x) - 0.06], axis=1)
    left_eye = (right_eye * [-1, 1, 1])[[3, 2, 1, 0, 5, 4]]

    middle = tip + 0.14 + 0.42 * (1.19 * s.face_length - tip - 0.14)
    reach = s.mouth_width * (1 + 0.2 * s.smile - 0.16 * opened)
    corner = middle - 0.09 * s.smile + 0.05 * opened
    gap = 0.26 * opened
    top = middle - 0.085 + 0.015 * s.smile
    bottom = middle + 0.1 + gap + 0.02 * s.smile
    x = np.array([-1, -0.62, -0.22, 0, 0.22, 0.62, 1, 0.6, 0.24, 0, -0.24, -0.6]) * reach
    y = np.array([corner, 0, top, top + 0.022, top, 0, corner, 0, bottom, bottom + 0.006, bottom, 0])
    # The zeros above are filled in here: between the corners and the lips' middles.
    y[[1, 5]] = 0.5 * corner + 0.5 * top
    y[[7, 11]] = 0.32 * corner + 0.68 * bottom
    outer = np.stack([x, y, depth(1.1 * x) + 0.06], axis=1)
    inner_x = np.array([-0.86, -0.25, 0, 0.25, 0.86, 0.25, 0, -0.25]) * reach
    inner_top, inner_bottom = middle - 0.004, middle + 0.004 + gap
    inner_y = np.array(
        [corner, inner_top, inner_top, inner_top, corner, inner_bottom, inner_bottom + 0.01, inner_bottom]
    )
    inner_y[[0, 4]] = corner + 0.06 * (middle - corner)
    inner = np.stack([inner_x, inner_y, depth(1.1 * inner_x) + 0.03], axis=1)
    return head.at(np.concatenate([jaw, left_brow, right_brow, bridge, base, left_eye, right_eye, outer, inner]))
