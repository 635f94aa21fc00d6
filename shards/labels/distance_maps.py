"""Distance maps of lines drawn at twice a label's size, and their reduction to it, as the published system makes them.

`halved` is Pillow's bilinear filter at one half, byte for byte. `halved_distances` gives what `halved` makes of
`distances`, and spares nearly all of the work: a line fills a small box, and outside a box distances grow by one a
pixel, so that rows of the reduced map lie ready in tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import cv2
import numpy as np

from likeness.array import Array


def distances(plane: Array, divisor: float) -> Array:
    """L1 distance of every pixel to the nearest zero of `plane`, divided, rounded down, clipped to 255: uint8."""
    return _divided(cv2.distanceTransform(plane, cv2.DIST_L1, 3), divisor)


def _divided(distance: Array, divisor: float) -> Array:
    # One pass that rounds to the nearest, shifted so that it rounds down: quotients of whole distances lie further
    # than 1e-4 below the next integer.
    rounded: Array = cv2.convertScaleAbs(distance, alpha=1 / divisor, beta=1e-4 - 0.5)
    return rounded


def halved(plane: Array) -> Array:
    """Half the size: uint8 (2H, 2W) to (H, W), byte for byte Pillow's `resize` with `BILINEAR`.

    Reducing, Pillow widens the filter: at one half four taps of 1, 3, 3 and 1 eighths on each axis, of those that lie
    outside the picture none, and the others made to sum to one again; columns first, rounded to bytes, then rows.
    """
    half: Array = _halved(plane[None], _WHOLE, _WHOLE)[0]
    return half


Ends = tuple[bool, bool]
"""Whether a part of a plane begins, and ends, where the plane does; else it has one line more there."""
_WHOLE = True, True


def _halved(parts: Array, rows: Ends, columns: Ends) -> Array:
    """Parts of planes, uint8 (P, h, w), all at one place."""
    count, height, width = parts.shape
    across = _halved_rows(cv2.transpose(parts.reshape(-1, width)), columns)
    return _halved_rows(cv2.transpose(across).reshape(count, height, -1), rows)


def _halved_rows(parts: Array, ends: Ends) -> Array:
    first, last = ends
    taps = np.empty((*parts.shape[:-2], parts.shape[-2] + first + last, parts.shape[-1]), np.uint16)
    taps[..., first : taps.shape[-2] - last, :] = parts
    inner = taps[..., 1:-1:2, :] + taps[..., 2::2, :]
    inner *= 3
    for end, line in ((first, 0), (last, -1)):
        if end:
            taps[..., line, :] = 0
    inner += taps[..., :-2:2, :]
    inner += taps[..., 3::2, :]
    reduced = inner + 4
    reduced >>= 3
    for end, line in ((first, 0), (last, -1)):
        if end:
            weight = 6 if first and last and inner.shape[-2] == 1 else 7
            reduced[..., line, :] = _rounded(inner[..., line, :], weight)
    return reduced.astype(np.uint8)


def _rounded(total: Array, weight: Array | int) -> Array:
    """total / weight, to the nearest whole number, halves upward."""
    return (2 * total + weight) // (2 * weight)


_SMALL = 160 * 160
"""Pixels of a plane up to which less work takes more time, as there is more to set up."""
_PATTERNS = (
    *(((-p, 0, n, n + o), (1, 3, 3, 1)) for p, n, o in product((-1, 0, 1), repeat=3)),
    *(((0, 0, n, n + o), (0, 3, 3, 1)) for n, o in product((-1, 0, 1), repeat=2)),
    *(((-p, 0, n, 0), (1, 3, 3, 0)) for p, n in product((-1, 0, 1), repeat=2)),
)
"""What the four taps may see along a box's side: distances less that at the second tap, and weights. Neighbours differ
by at most one; the last 18 patterns are those of the plane's first and last line."""
_FIRST, _LAST = 27, 36
_SLOPES = (
    ((1, 0, -1, -2), (1, 3, 3, 1)),
    ((-1, 0, 1, 2), (1, 3, 3, 1)),
    ((0, 0, -1, -2), (0, 3, 3, 1)),
    ((-1, 0, 1, 0), (1, 3, 3, 0)),
)
"""What they see across a box's side: distances that fall towards the box before it and rise behind it; inside the
plane, and at its first and its last line."""


@dataclass(frozen=True)
class _Table:
    """The reduced map on one axis's both sides of a box, by pattern (45) and distance at the second taps."""

    before: Array
    """uint8 (45, 2, n, lines): for the pattern and the parity and half of `start - distance` at the first line, the
    lines before the box."""
    behind: Array
    """uint8 (45, 2, n, lines): for those of `distance - least`, the lines behind the box."""
    first: Array
    """uint8 (45, m): the plane's first line, by distance - least."""
    last: Array
    """uint8 (45, m): the plane's last line."""
    least: int
    """The distance of the first entry; distances carried on through a box and behind it may be negative."""


@lru_cache(maxsize=8)
def _tables(rows: int, columns: int, divisor: float) -> tuple[_Table, _Table]:
    """For left and right of a box, and for above and below it. rows, columns: of the plane."""
    longest = max(rows, columns)
    values = np.arange(-longest, rows + columns + longest)
    values = values[: len(values) // 2 * 2]
    quotients = _divided(np.arange(values[-1] + 5, dtype=np.float32)[None], divisor)[0].astype(np.int32)

    def reduced(horizontal: Sequence[object], vertical: Sequence[object]) -> Array:
        """(horizontal, vertical, values), uint8."""
        (across, across_weights), (down, down_weights) = (
            np.array(windows, np.int32).transpose(1, 2, 0) for windows in (horizontal, vertical)
        )
        total: Array | int = 0
        for tap in range(4):
            seen: Array | int = 0
            for other in range(4):
                offsets = across[other][:, None, None] + down[tap][:, None]
                seen = seen + across_weights[other][:, None, None] * quotients[np.maximum(values + offsets, 0)]
            seen = _rounded(np.asarray(seen), across_weights.sum(axis=0)[:, None, None])
            total = total + down_weights[tap][:, None] * seen
        return _rounded(np.asarray(total), down_weights.sum(axis=0)[:, None]).astype(np.uint8)

    def table(by_slope: Array, lines: int) -> _Table:
        falling, rising, first, last = by_slope
        before, behind = (
            np.lib.stride_tricks.sliding_window_view(
                np.ascontiguousarray(each.reshape(len(each), -1, 2).transpose(0, 2, 1)), lines, axis=2
            )
            for each in (falling[:, ::-1], rising)
        )
        return _Table(before, behind, first, last, int(values[0]))

    return (
        table(reduced(_SLOPES, _PATTERNS), columns // 2),
        table(reduced(_PATTERNS, _SLOPES).transpose(1, 0, 2), rows // 2),
    )


class _Span:
    """A box's extent along one axis: the first and the last line that hold a pixel of it, of a plane's `size`."""

    def __init__(self, low: int, high: int, size: int) -> None:
        self.low, self.high = low, high
        first, end = low // 2, high // 2 + 1
        self.reduced = slice(first, end)
        """The reduced lines that see more than one side of the box."""
        self.seen = slice(max(2 * first - 1, 0), min(2 * end + 1, size))
        """The lines that these are made of."""
        self.ends = first == 0, 2 * end >= size


def halved_distances(planes: Array, boxes: Sequence[tuple[int, int, int, int]], divisor: float) -> Array:
    """`halved(distances(plane, divisor))` of several planes at once: uint8 (P, 2H, 2W) to (P, H, W).

    boxes: of each plane the first and last row and the first and last column that hold a zero.
    """
    count, rows, columns = planes.shape
    if rows * columns <= _SMALL:
        return _halved(np.stack([distances(plane, divisor) for plane in planes]), _WHOLE, _WHOLE)
    sideways, upright = _tables(rows, columns, divisor)
    spans = [(_Span(top, bottom, rows), _Span(left, right, columns)) for top, bottom, left, right in boxes]
    parts = []
    # Distances along the four sides of each box, as they would be in the plane's first column and row.
    left, right = np.empty((2, count, rows), np.int32)
    above, below = np.empty((2, count, columns), np.int32)
    for number, (down, across) in enumerate(spans):
        part = cv2.distanceTransform(planes[number, down.seen, across.seen], cv2.DIST_L1, 3)
        parts.append(part)
        row, column = down.seen.start, across.seen.start
        left[number, down.seen] = part[:, across.low - column] + across.low
        right[number, down.seen] = part[:, across.high - column] - across.high
        above[number, across.seen] = part[down.low - row] + down.low
        below[number, across.seen] = part[down.high - row] - down.high
    for sides, which in (((left, right), 0), ((above, below), 1)):
        _carry_on(sides, [span[which].seen for span in spans])
    (left, left_pattern), (right, right_pattern) = _at_second_taps(left), _at_second_taps(right)
    (above, above_pattern), (below, below_pattern) = _at_second_taps(above), _at_second_taps(below)

    reduced: Array = _lines(sideways.before, left_pattern, sideways.least + _entries(sideways) - 1 - left)
    reduced[:, :, 0] = sideways.first[left_pattern, left - sideways.least]
    rightmost = sideways.last[right_pattern, right + columns - 2 - sideways.least]
    right -= sideways.least
    top = upright.first[above_pattern, above - upright.least]
    bottom = upright.last[below_pattern, below + rows - 2 - upright.least]
    above = upright.least + _entries(upright) - 1 - above
    below -= upright.least
    for number, (down, across) in enumerate(spans):
        label, part = reduced[number], parts[number]
        inside, lines = across.reduced, down.reduced
        if inside.stop < columns // 2:
            label[:, inside.stop :] = _lines(sideways.behind[..., inside.stop :], right_pattern[number], right[number])
            label[:, -1] = rightmost[number]
        if lines.start:
            at = above_pattern[number, inside], above[number, inside]
            label[: lines.start, inside] = _lines(upright.before[..., : lines.start], *at).T
            label[0, inside] = top[number, inside]
        if lines.stop < rows // 2:
            at = below_pattern[number, inside], below[number, inside]
            label[lines.stop :, inside] = _lines(upright.behind[..., lines.stop :], *at).T
            label[-1, inside] = bottom[number, inside]
        label[lines, inside] = _halved(_divided(part, divisor)[None], down.ends, across.ends)[0]
    return reduced


def _entries(table: _Table) -> int:
    return int(table.first.shape[1])


def _lines(windows: Array, pattern: Array, start: Array) -> Array:
    """Rows of a table from a distance on."""
    lines: Array = windows[pattern, start & 1, start >> 1]
    return lines


def _carry_on(sides: Sequence[Array], known: Sequence[slice]) -> None:
    """Beyond what is known of a box's side distances grow by one a pixel."""
    along = np.arange(sides[0].shape[1])
    for number, part in enumerate(known):
        low, high = part.start, part.stop
        for side in sides:
            line = side[number]
            np.add(along[low:0:-1], line[low], out=line[:low])
            np.add(along[1 : len(along) - high + 1], line[high - 1], out=line[high:])


def _at_second_taps(side: Array) -> tuple[Array, Array]:
    """(P, 2n) distances along a side to those at the second taps, and the numbers of their patterns: (P, n) each."""
    steps = np.diff(side, axis=1) + 1
    second, third, fourth = steps[:, 1::2], steps[:, ::2], steps[:, 1::2]
    pattern = np.empty((len(side), side.shape[1] // 2), np.intp)
    pattern[:, 1:-1] = 9 * second[:, :-1] + 3 * third[:, 1:-1] + fourth[:, 1:]
    pattern[:, 0] = _FIRST + 3 * third[:, 0] + fourth[:, 0]
    pattern[:, -1] = _LAST + 3 * second[:, -1] + third[:, -1]
    return side[:, ::2], pattern
