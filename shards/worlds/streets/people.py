"""People on foot, and on bicycles and motorcycles."""

import numpy as np

from shards.worlds.drawing import ellipse, ribbon
from shards.worlds.streets.brushes import Brush
from shards.worlds.streets.camera import View
from shards.worlds.streets.street import BICYCLE, FOCAL, MOTORCYCLE, NEAR, PERSON, RIDER, Thing


def person(thing: Thing, view: View, brush: Brush) -> None:
    _, x, z, _, height, phase = thing
    if z < NEAR + 0.4:
        return
    board = view.flat(x, z)
    k = height / 1.75
    swing = 0.24 * np.sin(2 * np.pi * phase) * k
    hip, chest = 0.85 * k, 1.42 * k
    brush.deck(board(ellipse([0, 0.02], (0.36, 0.06), points=12))[None], "tyre", z, 0.8)
    for s in (-1, 1):
        leg = np.array([[0.06 * s * k, hip], [s * swing * 0.6 + 0.05 * s * k, hip / 2], [s * swing, 0.0]])
        brush.put(board(ribbon(leg, np.array([0.17, 0.14, 0.1]) * k)), PERSON, "trousers", z, 1.0 + 0.2 * s)
    for s in (-1, 1):
        arm = np.array(
            [[0.2 * s * k, chest - 0.08 * k], [0.27 * s * k, 1.1 * k], [0.24 * s * k - s * swing * 0.7, 0.82 * k]]
        )
        brush.put(board(ribbon(arm, np.array([0.12, 0.1, 0.08]) * k)), PERSON, "clothes", z, 0.8)
    torso = np.array([[-0.15, 0.8], [0.15, 0.8], [0.23, 1.36], [0.1, 1.46], [-0.1, 1.46], [-0.23, 1.36]]) * k
    brush.put(board(torso), PERSON, "clothes", z)
    brush.put(board(ellipse([0, 1.6 * k], (0.11 * k, 0.14 * k), points=14)), PERSON, "skin", z)
    hair = ellipse([0, 1.66 * k], (0.12 * k, 0.1 * k), points=14)
    brush.put(board(hair), PERSON, "trunk", z, 0.6)


def cycle(thing: Thing, view: View, brush: Brush) -> None:
    """Bicycles and motorcycles from behind or before, with a rider on them or parked."""
    kind, x, z, _, _, phase = thing
    name = kind[:-1]
    if z < NEAR + 0.5:
        return
    board = view.flat(x, z)
    motor = name in ("motorcycle", "biker")
    train_id = MOTORCYCLE if motor else BICYCLE
    wide = 0.13 if motor else 0.06
    brush.deck(board(ellipse([0, 0.02], (0.3, 0.06), points=12))[None], "tyre", z, 0.8)
    brush.put(board([[-wide, 0], [wide, 0], [wide, 0.62], [-wide, 0.62]]), train_id, "tyre", z, 1.4)
    if motor:
        body = [[-0.24, 0.4], [0.24, 0.4], [0.3, 0.85], [0.14, 1.0], [-0.14, 1.0], [-0.3, 0.85]]
        brush.put(board(body), train_id, "ahead", z)
    else:
        brush.put(board([[-0.05, 0.5], [0.05, 0.5], [0.06, 0.98], [-0.06, 0.98]]), train_id, "ahead", z)
    bar = np.array([[-0.34, 1.02], [0, 0.95], [0.34, 1.02]])
    brush.put(board(ribbon(bar, 0.07)), train_id, "pole", z)
    tail = kind.endswith("+")
    brush.deck(board(ellipse([0, 0.72], (0.09, 0.06), points=10))[None], "tail" if tail else "head", z)
    brush.glow(board([[0, 0.72]])[0], 0.3 * FOCAL / z + 0.002, "tail" if tail else "head", z)
    if name not in ("rider", "biker"):
        return
    turn = 0.0 if motor else 0.12 * np.sin(2 * np.pi * phase)
    for s in (-1, 1):
        knee = 0.55 + s * turn
        leg = np.array([[0.1 * s, 0.98], [0.22 * s, knee + 0.12], [0.16 * s, knee - 0.3]])
        brush.put(board(ribbon(leg, np.array([0.17, 0.14, 0.1]))), RIDER, "trousers", z)
        arm = np.array([[0.18 * s, 1.42], [0.32 * s, 1.2], [0.3 * s, 1.02]])
        brush.put(board(ribbon(arm, 0.1)), RIDER, "clothes", z, 0.8)
    brush.put(
        board([[-0.16, 0.9], [0.16, 0.9], [0.23, 1.42], [0.1, 1.5], [-0.1, 1.5], [-0.23, 1.42]]), RIDER, "clothes", z
    )
    brush.put(board(ellipse([0, 1.62], (0.12, 0.14), points=14)), RIDER, "skin", z)
    brush.put(board(ellipse([0, 1.69], (0.135, 0.1), points=14)), RIDER, "white" if not motor else "dark", z)
