"""What is behind a face: walls of eight kinds."""

import numpy as np

from shards.worlds.drawing import mix, ramp, shifted
from shards.worlds.faces.portrait import Portrait


def draw_backdrop(p: Portrait) -> None:
    """Fills the whole picture."""
    a, b = p.style.backdrop_a, p.style.backdrop_b
    kind = p.style.backdrop
    page = np.array([[-0.01, -0.01], [1.01, -0.01], [1.01, 1.01], [-0.01, 1.01]])
    between = ramp(a, mix(a, b, 0.5), b)
    slopes = {"vertical": (0.0, 1.0), "horizontal": (1.0, 0.0), "diagonal": (1.0, 1.0)}
    if kind in slopes:
        p.canvas.graded(page, between, np.zeros(2), np.array(slopes[kind]))
        return
    p.canvas.graded(page, ramp(mix(a, (255, 255, 255), 0.12), a, mix(a, (0, 0, 0), 0.2)), page[0], page[3])
    if kind == "glow":
        for i in range(24):
            p.canvas.disc(np.array([0.5, 0.42]), 0.72 - 0.026 * i, mix(a, b, (i + 1) / 24))
    elif kind == "split":
        p.canvas.fill(np.array([[0.62, 0.0], [1.01, 0.0], [1.01, 1.01], [0.38, 1.01]]), b)
    elif kind == "stripes":
        for i in range(-4, 8, 2):
            x = i / 7
            p.canvas.fill(np.array([[x, 1.01], [x + 0.5, -0.01], [x + 0.643, -0.01], [x + 0.143, 1.01]]), b)
    elif kind == "discs":
        for row in range(6):
            for column in range(6):
                p.canvas.disc(np.array([0.2 * column - 0.1 * (row % 2) + 0.05, 0.2 * row]), 0.062, b)
    else:
        for i in range(3):
            left = 0.04 + 0.32 * i
            frame = np.array([[left, 0.06], [left + 0.28, 0.06], [left + 0.28, 0.72], [left, 0.72]])
            p.canvas.fill(frame, b)
            p.canvas.fill(shifted(frame, 0.0, 0.012), mix(b, a, 0.3))
