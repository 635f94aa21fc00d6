"""Points that do not tremble: the One-Euro filter over the frames of a video."""

import math

import numpy as np

from likeness.array import Array

LEAST_CUTOFF_HZ = 1.0
"""Below which frequency a point that rests may move: a detector's tremble is faster."""
SPEED = 4.0
"""How much the cutoff grows with speed, in Hz per size of the body or face and second: quick movements do not lag."""
SPEED_CUTOFF_HZ = 1.0
"""Of the speed itself, as its authors choose it."""
LONGEST_GAP_S = 0.5
"""After which points begin anew."""
LARGEST_JUMP = 0.5
"""Of their size; points that have moved further from one frame to the next are of another shot."""
SURE = 0.05
"""The confidence from which on a point's place counts."""


class OneEuro:
    """Smooths the points of a video's frames (Casiez, Roussel, Vogel: 1€ filter, CHI 2012), each coordinate for itself.

    Speeds are in sizes of the whole, the longer side of the points' bounding box, so that it does not matter how large
    a face is. Points of confidence below SURE stay as they are, and begin anew when they are seen again.
    """

    def __init__(self) -> None:
        self._places: Array | None = None
        self._speeds = np.empty(0)
        self._known = np.empty(0, bool)
        self._seconds = 0.0

    def smoothed(self, points: Array, seconds: float) -> Array:
        """The points, (N, 2) or (N, 3) with a confidence, of a frame at a time; times grow from call to call."""
        places = points[:, :2].astype(np.float64)
        seen = points[:, 2] >= SURE if points.shape[1] > 2 else np.ones(len(points), bool)
        if not seen.any():
            return points
        size = max(float(np.ptp(places[seen], axis=0).max()), 1e-9)
        gap = seconds - self._seconds
        if self._places is None or not 0 < gap <= LONGEST_GAP_S or self._jumped(places, seen, size):
            self._places, self._speeds, self._known = places, np.zeros_like(places), seen
        else:
            moved = (places - self._places) / gap
            speeds = _mixed(moved, self._speeds, SPEED_CUTOFF_HZ, gap)
            cutoffs = LEAST_CUTOFF_HZ + SPEED * np.abs(speeds) / size
            follows = (seen & self._known)[:, None]
            self._speeds = np.where(follows, speeds, 0.0)
            self._places = np.where(follows, _mixed(places, self._places, cutoffs, gap), places)
            self._known = seen
        self._seconds = seconds
        result = points.astype(np.float64)
        result[:, :2] = np.where(seen[:, None], self._places, places)
        return result

    def _jumped(self, places: Array, seen: Array, size: float) -> bool:
        assert self._places is not None
        both = seen & self._known
        if not both.any():
            return True
        return float(np.hypot(*(places - self._places)[both].T).mean()) > LARGEST_JUMP * size


def _mixed(new: Array, old: Array, cutoffs_hz: Array | float, gap_s: float) -> Array:
    """A low-pass filter's step: the share of the new value grows with the cutoff and the time that has passed."""
    angle = 2 * math.pi * np.asarray(cutoffs_hz) * gap_s
    share = angle / (angle + 1)
    mixed: Array = share * new + (1 - share) * old
    return mixed
