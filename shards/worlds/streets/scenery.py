"""What stands beside the road: buildings, trees, fences and walls, lamps, signs and traffic lights."""

import numpy as np

from shards.worlds.drawing import ellipse, ribbon
from shards.worlds.streets.brushes import Brush
from shards.worlds.streets.camera import View, quad, windows
from shards.worlds.streets.street import BUILDING, FENCE, FOCAL, LIGHT, NEAR, POLE, SIGN, VEGETATION, WALL, Thing


def building(thing: Thing, view: View, brush: Brush) -> None:
    _, x, z, length, height, _ = thing
    side = "left" if x + view.state.offset < 0 else "right"
    out = -14.0 if side == "left" else 14.0
    start, end = max(z, NEAR), z + length
    if z > NEAR:
        brush.put(quad(view, (x, x + out), (0, height), (z, z)), BUILDING, side, z, 0.72)
        panes = [
            view.at([x + out * a, x + out * (a + 0.1), x + out * (a + 0.1), x + out * a], [y, y, y + 1.5, y + 1.5], z)
            for a in (0.1, 0.32, 0.54) for y in np.arange(1.6, height - 1.6, 3.0)
        ]  # fmt: skip
        if z < 60 and panes:
            brush.deck(np.stack(panes), "window", z)
    brush.put(quad(view, (x, x), (0, height), (start, end)), BUILDING, side, (start + end) / 2)
    middle = (start + end) / 2
    brush.deck(quad(view, (x, x), (height - 0.35, height), (start, end))[None], "gable", middle, 0.9)
    brush.deck(quad(view, (x, x), (0, 0.5), (start, end))[None], side, middle, 0.6)
    if start < 70:
        brush.deck(windows(view, x, (z + 0.4, end - 0.4), (2.6, height - 0.5), 2.8, 0.5), "window", middle)
        brush.deck(windows(view, x, (z + 0.8, end - 0.8), (0.2, 2.6), 4.6, 0.42), "door", middle)


def tree(thing: Thing, view: View, brush: Brush) -> None:
    _, x, z, _, height, _ = thing
    if z < NEAR:
        return
    board = view.flat(x, z)
    brush.put(board([[-0.16, 0], [0.16, 0], [0.1, height * 0.5], [-0.1, height * 0.5]]), VEGETATION, "trunk", z)
    r = height * 0.24
    blobs = (
        (-0.75, 0.5, 0.8),
        (0.75, 0.52, 0.8),
        (0.0, 0.48, 0.85),
        (-0.45, 0.72, 0.8),
        (0.45, 0.74, 0.8),
        (0.0, 0.86, 0.75),
    )
    corners = 16 if z < 25 else 10
    for place, shade in ((0.0, 0.8), (1.0, 1.08)):
        for dx, dy, size in blobs:
            reach = size * r * (1.0 - 0.3 * place)
            outline = board(
                ellipse([dx * r - 0.12 * r * place, dy * height + 0.16 * r * place], (reach, reach), points=corners)
            )
            if place:
                brush.deck(outline[None], "leaf", z, shade)
            else:
                brush.put(outline, VEGETATION, "leaf", z, shade)


def barrier(thing: Thing, view: View, brush: Brush) -> None:
    kind, x, z, length, height, _ = thing
    start, end = max(z, NEAR), z + length
    front = quad(view, (x, x), (0, height), (start, end))
    middle = (start + end) / 2
    if kind == "wall":
        brush.put(front, WALL, "wall", middle, 0.85)
        brush.deck(quad(view, (x, x), (height - 0.2, height), (start, end))[None], "wall", middle, 1.1)
        return
    brush.put(front, FENCE, "fence", middle, 1.2)
    posts = np.arange(z, end, 0.7)
    posts = posts[posts > NEAR]
    if len(posts) and start < 45:
        gaps = np.stack([quad(view, (x, x), (0.12, height - 0.15), (p + 0.12, p + 0.62)) for p in posts])
        brush.deck(gaps, "fence", middle, 0.65)


def lamp(thing: Thing, view: View, brush: Brush) -> None:
    _, x, z, _, height, _ = thing
    if z < NEAR:
        return
    board = view.flat(x, z)
    inward = -1 if x + view.state.offset > 0 else 1
    pole = np.array([[0, 0], [0, height * 0.92], [inward * 0.4, height], [inward * 1.5, height + 0.1]])
    brush.put(board(ribbon(pole, np.array([0.2, 0.14, 0.12, 0.1]))), POLE, "pole", z)
    head = board(
        [[inward * 1.2, height + 0.2], [inward * 2.1, height + 0.2], [inward * 2.1, height], [inward * 1.2, height]]
    )
    brush.put(head, POLE, "lamp", z)
    brush.glow(board([[inward * 1.6, height - 0.1]])[0], 1.5 * FOCAL / z + 0.008, "lamp", z)


def sign(thing: Thing, view: View, brush: Brush) -> None:
    _, x, z, _, height, phase = thing
    if z < NEAR:
        return
    board = view.flat(x, z)
    brush.put(board([[-0.06, 0], [0.06, 0], [0.06, height], [-0.06, height]]), POLE, "pole", z)
    top = height + 0.1
    if phase < 0.2:
        outer, inner = ellipse([0, top], (0.5, 0.5), points=20), ellipse([0, top], (0.34, 0.34), points=20)
        brush.put(board(outer), SIGN, "red", z)
        brush.deck(board(inner)[None], "white", z)
    elif phase < 0.45:
        brush.put(
            board([[-0.48, top - 0.48], [0.48, top - 0.48], [0.48, top + 0.48], [-0.48, top + 0.48]]), SIGN, "blue", z
        )
        brush.deck(
            board([[-0.14, top - 0.36], [0.14, top - 0.36], [0.14, top + 0.36], [-0.14, top + 0.36]])[None], "white", z
        )
    else:
        brush.put(board([[-0.6, top - 0.42], [0.6, top - 0.42], [0, top + 0.62]]), SIGN, "red", z)
        brush.deck(board([[-0.36, top - 0.28], [0.36, top - 0.28], [0, top + 0.34]])[None], "white", z)


def signal(thing: Thing, view: View, brush: Brush) -> None:
    _, x, z, _, height, _ = thing
    if z < NEAR:
        return
    board = view.flat(x, z)
    brush.put(board([[-0.09, 0], [0.09, 0], [0.09, height], [-0.09, height]]), POLE, "pole", z)
    w = 0.3
    brush.put(board([[-w, height - 0.5], [w, height - 0.5], [w, height + 1.1], [-w, height + 1.1]]), LIGHT, "box", z)
    # The lower lamp burns; which one does cannot be seen from a label map.
    for dy, paint, shade in ((0.78, "red", 0), (0.3, "amber", 0), (-0.18, "green", 1)):
        spot = board(ellipse([0, height + dy], (0.19, 0.19), points=14))
        brush.deck(spot[None], paint if shade else "glass", z, 0.6)
    brush.glow(board([[0, height - 0.18]])[0], 0.5 * FOCAL / z + 0.004, "green", z)
