"""The camera of a street: metres to places in the picture."""

from collections.abc import Callable
from typing import Any

import numpy as np

from likeness.array import Array
from shards.worlds.streets.street import CAMERA_HEIGHT, FOCAL, NEAR, State, Thing


class View:
    """The camera: metres in its frame (x right, y up, z ahead) to fractions of the picture's width."""

    def __init__(self, state: State) -> None:
        self.state = state

    def at(self, x: Any, y: Any, z: Any) -> Array:
        """Points (n, 2) for coordinates that broadcast together."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        s = self.state
        near = np.maximum(z, NEAR)
        u = 0.5 + FOCAL * (x / near + 0.5 * s.bend * near - s.heading)
        v = s.horizon - FOCAL * (y - CAMERA_HEIGHT) / near
        points = np.empty((*np.broadcast_shapes(u.shape, v.shape), 2))
        points[..., 0], points[..., 1] = u, v
        return points

    def flat(self, x: float, z: float) -> Callable[[Any], Array]:
        """Places on an upright board at (x, z): metres right of its foot and up to points."""
        foot = self.at(x, 0.0, z)
        scale = np.array([FOCAL, -FOCAL]) / max(z, NEAR)
        return lambda points: np.asarray(foot + np.asarray(points, float) * scale, float)

    def hidden(self, thing: Thing) -> bool:
        """Whether a thing without length lies beside the picture."""
        _, x, z, length, _, _ = thing
        if length or z < NEAR:
            return False
        s = self.state
        return abs(FOCAL * (x / z + 0.5 * s.bend * z - s.heading)) > 0.5 + FOCAL * 3.0 / z


def quad(view: View, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Array:
    """An upright rectangle from (x0, z0) to (x1, z1) and y0 to y1."""
    return view.at([x[0], x[1], x[1], x[0]], [y[0], y[0], y[1], y[1]], [z[0], z[1], z[1], z[0]])


def windows(view: View, x: float, z: tuple[float, float], y: tuple[float, float], step: float, fill: float) -> Array:
    """Rectangles in rows and columns on a front along the road: (n, 4, 2)."""
    columns = max(int((z[1] - z[0]) / step), 1)
    rows = max(int((y[1] - y[0]) / step), 1)
    z0 = z[0] + (z[1] - z[0]) * (np.arange(columns) + 0.5) / columns - step * fill / 2
    y0 = y[0] + (y[1] - y[0]) * (np.arange(rows) + 0.5) / rows - step * fill * 0.6
    z0, y0 = (v.ravel() for v in np.meshgrid(z0, y0))
    keep = z0 > NEAR
    z0, y0 = z0[keep][:, None], y0[keep][:, None]
    zs = z0 + step * fill * np.array([[0, 1, 1, 0]])
    ys = y0 + step * fill * 1.2 * np.array([[0, 0, 1, 1]])
    return view.at(x, ys, zs)
