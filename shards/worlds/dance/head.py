"""Face, hair and hat."""

import numpy as np

from shards.worlds.dance.dancer import Dancer
from shards.worlds.dance.keypoints import (
    L_EAR,
    L_EYE,
    NECK,
    NOSE,
    R_EAR,
    R_EYE,
)
from shards.worlds.drawing import curve, ellipse, shifted, tone


def draw_hair_behind(dancer: Dancer) -> None:
    shape, r = dancer.style.hair_shape, dancer.radius
    if shape == "long":
        fall = dancer.points[NECK] * 0.6 + dancer.hips * 0.4
        left = [
            shifted(fall, -1.15 * r, 0),
            dancer.on_head(-1.25, 0.0),
            dancer.on_head(-0.9, 0.95),
            dancer.on_head(0, 1.3),
        ]
        right = [dancer.on_head(0.9, 0.95), dancer.on_head(1.25, 0.0), shifted(fall, 1.15 * r, 0)]
        back = np.concatenate([curve(np.array(left)), curve(np.array(right))])
        dancer.canvas.shaded(back, dancer.hair, dancer.skull, (2.2 * r, 4 * r), dancer.light)
    elif shape == "afro":
        ball = dancer.on_head(0, 0.35)
        dancer.canvas.shaded(ellipse(ball, (1.75 * r, 1.7 * r)), dancer.hair, ball, (2 * r, 2 * r), dancer.light)
    elif shape == "tail":
        behind = (dancer.points[R_EAR] + dancer.points[L_EAR]) / 2 - dancer.points[NOSE]
        behind = np.array([np.sign(behind[0]) or 1.0, 0.0]) * r
        tail = curve(
            np.array(
                [
                    dancer.on_head(0, 0.8),
                    dancer.on_head(0, 0.9) + behind * 1.5,
                    dancer.skull + behind * 2.1 + [0, 1.9 * r],
                ]
            )
        )
        dancer.canvas.stroke(tail, np.linspace(0.9, 0.3, len(tail)) * r, tone(dancer.hair, 110))
    elif shape == "bun":
        knot = dancer.on_head(0, 1.5)
        dancer.canvas.shaded(ellipse(knot, (0.6 * r, 0.55 * r)), dancer.hair, knot, (0.7 * r, 0.7 * r), dancer.light)


def draw_head(dancer: Dancer) -> None:
    canvas, p, style, r = dancer.canvas, dancer.points, dancer.style, dancer.radius
    angle = float(np.arctan2(dancer.across[1], dancer.across[0]))
    for ear in (R_EAR, L_EAR):
        canvas.disc(p[ear] - 0.1 * r * dancer.up, 0.24 * r, tone(dancer.skin, 90))
    canvas.shaded(
        ellipse(dancer.on_head(0, -0.05), (0.95 * r, 1.2 * r), angle),
        dancer.skin,
        dancer.skull,
        (1.1 * r, 1.3 * r),
        dancer.light,
    )
    for eye in (R_EYE, L_EYE):
        canvas.disc(p[eye], 0.15 * r, (252, 252, 252))
        canvas.disc(p[eye], 0.11 * r, (28, 20, 26))
        brow = p[eye] + 0.32 * r * dancer.up
        canvas.stroke(
            np.array([brow - 0.2 * r * dancer.across, brow + 0.2 * r * dancer.across]),
            0.09 * r,
            tone(dancer.hair, 60),
        )
    canvas.disc(p[NOSE], 0.11 * r, tone(dancer.skin, 50))
    mouth = p[NOSE] - 0.42 * r * dancer.up
    smile = curve(
        np.array(
            [
                mouth - 0.34 * r * dancer.across + 0.08 * r * dancer.up,
                mouth - 0.06 * r * dancer.up,
                mouth + 0.34 * r * dancer.across + 0.08 * r * dancer.up,
            ]
        )
    )
    canvas.stroke(smile, 0.12 * r, (176, 52, 62))
    if style.hair_shape != "bald":
        _draw_cap(dancer)
    if style.hat != "none":
        _draw_hat(dancer)


def _draw_cap(dancer: Dancer) -> None:
    """The hair on top of the head."""
    r = dancer.radius
    cap = np.array([[-1.05, 0.0], [-1.02, 0.6], [-0.6, 1.18], [0, 1.34], [0.6, 1.18], [1.02, 0.6], [1.05, 0.0],
                    [0.86, 0.4], [0.5, 0.66], [0.0, 0.74], [-0.5, 0.66], [-0.86, 0.4]])  # fmt: skip
    outline = np.stack([dancer.on_head(x, y) for x, y in cap])
    dancer.canvas.shaded(
        np.concatenate([curve(outline[:7]), curve(outline[6:])]),
        dancer.hair,
        dancer.skull,
        (1.2 * r, 1.5 * r),
        dancer.light,
    )


def _draw_hat(dancer: Dancer) -> None:
    canvas, style, r = dancer.canvas, dancer.style, dancer.radius
    tones = dancer.palette(style.hat_colour)
    dome = np.array([[-1.12, 0.5], [-0.95, 1.15], [-0.5, 1.55], [0, 1.65], [0.5, 1.55], [0.95, 1.15], [1.12, 0.5]])
    outline = np.stack([dancer.on_head(x, y) for x, y in dome])
    canvas.shaded(curve(outline), tones, dancer.on_head(0, 0.9), (1.3 * r, 1.3 * r), dancer.light)
    if style.hat == "cap":
        peak = np.array([[-1.1, 0.5], [-0.6, 0.75], [0.6, 0.75], [1.1, 0.5], [0.6, 0.42], [-0.6, 0.42]])
        canvas.fill(curve(np.stack([dancer.on_head(x, y) for x, y in peak])), tone(tones, 40))
    else:
        canvas.stroke(np.stack([dancer.on_head(-1.15, 0.5), dancer.on_head(1.15, 0.5)]), 0.4 * r, tone(tones, 60))
        canvas.disc(dancer.on_head(0, 1.75), 0.3 * r, tone(tones, 200))
