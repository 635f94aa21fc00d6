"""What is behind a dancer: wall, floor, light and shadow."""

import numpy as np

from shards.worlds.dance.dancer import Dancer
from shards.worlds.dance.keypoints import (
    L_ANKLE,
    R_ANKLE,
)
from shards.worlds.drawing import ellipse, mix, ramp

HORIZON = 0.64
"""Where the wall meets the floor."""


def draw_stage(dancer: Dancer) -> None:
    """Fills the whole picture with wall and floor, and lets the light fall in from one side as a soft pool."""
    _draw_wall(dancer)
    _draw_floor(dancer)
    skirting = np.array([[-0.01, HORIZON - 0.018], [1.01, HORIZON - 0.018], [1.01, HORIZON], [-0.01, HORIZON]])
    dancer.canvas.fill(skirting, mix(dancer.style.floor_a, (20, 16, 24), 0.5))
    pool = ellipse([0.5 + 0.3 * dancer.light[0], 0.3], (0.33, 0.36))
    dancer.canvas.soft(pool, (255, 246, 220), 0.16 + 0.26 * dancer.style.light_strength, 0.1)


def _draw_wall(dancer: Dancer) -> None:
    canvas, style = dancer.canvas, dancer.style
    a, b = style.wall_a, style.wall_b
    wall = np.array([[-0.01, -0.01], [1.01, -0.01], [1.01, HORIZON], [-0.01, HORIZON]])
    canvas.graded(wall, ramp(mix(a, (0, 0, 0), 0.25), a, mix(a, (255, 255, 255), 0.15)), wall[0], wall[3])
    if style.wall == "panels":
        for i in range(4):
            x = 0.03 + 0.245 * i
            canvas.fill(np.array([[x, 0.06], [x + 0.205, 0.06], [x + 0.205, 0.56], [x, 0.56]]), b)
            canvas.fill(
                np.array([[x + 0.02, 0.08], [x + 0.185, 0.08], [x + 0.185, 0.54], [x + 0.02, 0.54]]),
                mix(b, a, 0.35),
            )
    elif style.wall == "curtain":
        for i in range(13):
            x = i / 13
            fold = np.array([[x, -0.01], [x + 0.045, -0.01], [x + 0.05, HORIZON], [x - 0.005, HORIZON]])
            canvas.graded(fold, ramp(b, mix(a, b, 0.5), a), fold[0], fold[1])
    elif style.wall == "discs":
        for row in range(4):
            for column in range(6):
                canvas.disc(np.array([0.2 * column + 0.1 * (row % 2), 0.06 + 0.17 * row]), 0.055, b)
        canvas.fill(np.array([[-0.01, HORIZON], [1.01, HORIZON], [1.01, 0.7], [-0.01, 0.7]]), style.floor_a)
    elif style.wall == "rays":
        for i in range(0, 14, 2):
            angles = np.pi * np.array([i, i + 1]) / 14
            far = np.array([0.5, HORIZON]) + 1.3 * np.stack([-np.cos(angles), -np.sin(angles)], axis=1)
            canvas.fill(np.concatenate([[[0.5, HORIZON]], far]), b)
    elif style.wall == "bricks":
        for row in range(8):
            for column in range(-1, 6):
                x, y = 0.2 * column + 0.1 * (row % 2), 0.08 * row
                brick = np.array([[x, y], [x + 0.19, y], [x + 0.19, y + 0.07], [x, y + 0.07]])
                canvas.fill(brick, mix(b, a, 0.15 * ((row * 3 + column) % 3)))


def _draw_floor(dancer: Dancer) -> None:
    canvas, style = dancer.canvas, dancer.style
    a, b = style.floor_a, style.floor_b
    floor = np.array([[-0.01, HORIZON], [1.01, HORIZON], [1.01, 1.01], [-0.01, 1.01]])
    canvas.graded(floor, ramp(mix(a, (0, 0, 0), 0.3), a, mix(a, (255, 255, 255), 0.12)), floor[0], floor[3])
    if style.floor in ("planks", "tiles"):
        for i in range(-8, 9):
            far = 0.5 + np.array([i, i + 0.5]) * 0.09
            near = 0.5 + (far - 0.5) * 2.6
            if style.floor == "planks" or i % 2:
                canvas.fill(
                    np.array([[far[0], HORIZON], [far[1], HORIZON], [near[1], 1.01], [near[0], 1.01]]),
                    mix(a, b, 0.75),
                )
        if style.floor == "tiles":
            for top in (0.665, 0.725, 0.82, 0.95):
                low = top + 0.02 + 0.1 * (top - HORIZON)
                canvas.fill(np.array([[-0.01, top], [1.01, top], [1.01, low], [-0.01, low]]), mix(a, b, 0.4))
    elif style.floor == "ring":
        canvas.fill(ellipse([0.5, 0.86], (0.46, 0.13), points=48), b)
        canvas.fill(ellipse([0.5, 0.86], (0.38, 0.1), points=48), mix(a, b, 0.25))


def draw_shadow(dancer: Dancer) -> None:
    feet = dancer.points[[R_ANKLE, L_ANKLE]]
    for x in feet[:, 0]:
        dancer.canvas.soft(ellipse([x - 0.07 * dancer.light[0], 0.928], (0.1, 0.02)), (10, 8, 20), 0.5, 0.014)
    middle = (feet[:, 0].mean() + dancer.hips[0]) / 2 - 0.1 * dancer.light[0]
    dancer.canvas.soft(ellipse([middle, 0.93], (0.15, 0.026)), (10, 8, 20), 0.35, 0.02)
