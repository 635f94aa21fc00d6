"""Face sketches: 68 landmarks drawn as 14 curved lines with one distance map per line (specification 5.4).

All geometry is computed in a 512×512 frame laid over the picture, whatever the size of the picture.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.distance_maps import halved, halved_distances
from shards.records import LabelSchema

FRAME = 512
"""The side of the frame in whose cells landmarks are given."""
LANDMARKS = 68
STEEPEST = 1.0
DISTANCE_DIVISOR = 3.0

# name, landmark indices (68 to 82 are the added forehead points), colour for people
_LINES: tuple[tuple[str, tuple[int, ...], tuple[int, int, int]], ...] = (
    ("face outline", (*range(17), *range(68, 83), 0), (236, 196, 160)),
    ("right brow", (17, 18, 19, 20, 21), (255, 159, 67)),
    ("left brow", (22, 23, 24, 25, 26), (255, 202, 87)),
    ("nose bridge", (28, 31), (120, 224, 143)),
    ("nose base", (31, 32, 33, 34, 35), (56, 203, 137)),
    ("nose other side", (35, 28), (46, 213, 175)),
    ("right eye above", (36, 37, 38, 39), (84, 160, 255)),
    ("right eye below", (39, 40, 41, 36), (46, 134, 222)),
    ("left eye above", (42, 43, 44, 45), (125, 211, 252)),
    ("left eye below", (45, 46, 47, 42), (72, 190, 240)),
    ("lips above", (48, 49, 50, 51, 52, 53, 54), (255, 107, 129)),
    ("lips below", (54, 55, 56, 57, 58, 59, 48), (238, 82, 130)),
    ("mouth above", (60, 61, 62, 63, 64), (224, 134, 255)),
    ("mouth below", (64, 65, 66, 67, 60), (190, 110, 240)),
)
POLYLINES: tuple[tuple[int, ...], ...] = tuple(indices for _, indices, _ in _LINES)


def pieces_of(polyline: Sequence[int]) -> list[tuple[int, ...]]:
    """Cuts a polyline into pieces of three points with step two; the last piece may have two points."""
    return [tuple(polyline[start : start + 3]) for start in range(0, len(polyline) - 1, 2)]


PIECES: tuple[tuple[int, tuple[int, ...]], ...] = tuple(
    (line, piece) for line, polyline in enumerate(POLYLINES) for piece in pieces_of(polyline)
)
"""(polyline number, landmark indices) of all 42 pieces."""

# A piece of two points repeats its last one, so that all pieces form one (42, 3) array.
_PIECE_POINTS = np.array([(piece + piece[-1:])[:3] for _, piece in PIECES])
_PIECE_LINES = np.array([line for line, _ in PIECES])


def schema(height: int, width: int) -> LabelSchema:
    """15 channels: the sketch, then one distance map for each of the 14 lines."""
    return LabelSchema(
        kind="sketch",
        channels=1 + len(_LINES),
        height=height,
        width=width,
        names=("sketch", *(f"distance to {name}" for name, _, _ in _LINES)),
        colours=((255, 255, 255), *(colour for _, _, colour in _LINES)),
    )


def with_forehead(landmarks: Array) -> Array:
    """Adds the 15 forehead points: (68, 2) integers to (83, 2) integers.

    They are the jaw points 15 … 1, mirrored upward about b, the mean height of the jaw's ends, and
    flattened: y' = b + floor(2(b - y) / 3), rounded down.
    """
    jaw = landmarks[1:16][::-1]
    both = landmarks[0, 1] + landmarks[16, 1]
    return np.concatenate([landmarks, np.stack([jaw[:, 0], both // 2 + (both - 2 * jaw[:, 1]) // 3], axis=1)])


def curves(pieces: Array, density: float = 1.0) -> tuple[Array, Array, Array]:
    """Samples the parabola through each piece: (P, 3, 2) integer points to (number of its piece, x, y) per sample.

    A piece whose last two points coincide is a straight line. The curve is a function of the axis
    with the larger step between neighbouring points, sampled `density` times per unit of that axis from the
    smaller to the larger end, both included; coordinates are truncated to integers. Pieces steeper than |a| > 1, and
    those that turn back on their axis, give no samples.

    Nor do pieces of three points of which two neighbours share their place on that axis: no parabola goes through
    them. The published code fits one all the same (`scipy.optimize.curve_fit`), and rounding decides whether its |a| is
    some 40 or below 1: of random pieces whose first two points share it, scipy 1.11 and 1.17 both draw 3 to 4 %, of
    those whose last two do about half, and agree on which no more often than two coins do.
    """
    pieces = np.asarray(pieces, dtype=np.float64)
    steps = np.abs(np.diff(pieces, axis=1)).max(axis=1)
    swapped = steps[:, 0] < steps[:, 1]
    points = np.where(swapped[:, None, None], pieces[:, :, ::-1], pieces)
    (x0, x1, x2), (y0, y1, y2) = points.transpose(2, 1, 0)

    straight = ((x0 == x1) & (y0 == y1)) | ((x1 == x2) & (y1 == y2))
    middle = np.where(straight, (x0 + x2) / 2, x1)
    height = np.where(straight, (y0 + y2) / 2, y1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bend = ((y2 - height) / (x2 - middle) - (height - y0) / (middle - x0)) / (x2 - x0)
    drawn = np.flatnonzero(np.isfinite(bend) & (np.abs(bend) <= STEEPEST))

    a, b, c = _parabolas(
        (x0[drawn], middle[drawn], x2[drawn]),
        (y0[drawn], height[drawn], y2[drawn]),
    )
    low, high = np.minimum(x0, x2)[drawn], np.maximum(x0, x2)[drawn]
    counts = np.ceil((high - low) * density).astype(np.int64)
    owner = np.repeat(np.arange(len(drawn)), counts)
    ends = np.cumsum(counts)
    order = np.arange(len(owner)) - (ends - counts)[owner]
    along = order * ((high - low) / np.maximum(counts - 1, 1))[owner] + low[owner]
    several = counts > 1
    along[(ends - 1)[several]] = high[several]
    across = a[owner] * along * along + b[owner] * along + c[owner]
    piece = drawn[owner]
    # Straight lines are evaluated exactly, or rounding would make level ones waver between two rows.
    level = bend[piece] == 0
    x0, x2, y0, y2 = (values[piece[level]] for values in (x0, x2, y0, y2))
    across[level] = y0 + (along[level] - x0) * (y2 - y0) / (x2 - x0)

    turned = swapped[piece]
    return piece, np.where(turned, across, along).astype(np.int64), np.where(turned, along, across).astype(np.int64)


def _parabolas(x: tuple[Array, Array, Array], y: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Coefficients (a, b, c) of the parabolas through three points each, by a QR decomposition.

    Where a curve meets an integer, rounding decides which side of it the truncation falls. Least squares by
    QR is what the published numbers (specification 9.1) were made with; written out element by
    element, it gives the same pixels on every processor.
    """
    square, constant, linear = [v * v for v in x], [np.ones_like(v) for v in x], list(x)

    def dot(u: list[Array], v: Sequence[Array]) -> Array:
        product: Array = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
        return product

    def unit(u: list[Array]) -> tuple[Array, list[Array]]:
        norm = np.sqrt(dot(u, u))
        return norm, [value / norm for value in u]

    norm_a, q_a = unit(square)
    a_c, a_b = dot(q_a, constant), dot(q_a, linear)
    norm_c, q_c = unit([value - a_c * q for value, q in zip(constant, q_a, strict=True)])
    rest = [value - a_b * q for value, q in zip(linear, q_a, strict=True)]
    c_b = dot(q_c, rest)
    norm_b, q_b = unit([value - c_b * q for value, q in zip(rest, q_c, strict=True)])
    b = dot(q_b, y) / norm_b
    c = (dot(q_c, y) - c_b * b) / norm_c
    a = (dot(q_a, y) - a_c * c - a_b * b) / norm_a
    return a, b, c


def brush(canvas: Array, planes: Array | int, x: Array, y: Array, reach: int, value: int) -> None:
    """Sets `value` at (plane, y, x) of `canvas`, a contiguous (planes, H, W), with a square brush of side 2·reach.

    Offsets run from -reach to reach - 1 on both axes; what lies outside is moved to the border.
    """
    height, width = canvas.shape[-2:]
    flat = canvas.reshape(-1)
    columns = [np.minimum(np.maximum(x + right, 0), width - 1) for right in range(-reach, reach)]
    for down in range(-reach, reach):
        starts = (np.minimum(np.maximum(y + down, 0), height - 1) + planes * height) * width
        for column in columns:
            flat[starts + column] = value


def draw(landmarks: Array, height: int, width: int) -> Array:
    """Draws the label of a face: uint8 (15, height, width); [0] the sketch, [1:] the distance maps.

    landmarks: (68, 2) integer (x, y) pairs in a 512×512 frame laid over the picture.
    Drawn at twice the picture size and reduced with Pillow's bilinear filter, as specification 5.4 does for 512 and
    256. At other sizes distances are measured in units of the same 512 frame, so that a channel means the same at any
    size (for pictures that are not square: in the mean unit of both axes).
    Raises BadInput for another number of landmarks.
    """
    landmarks = np.asarray(landmarks)
    if landmarks.shape != (LANDMARKS, 2):
        raise BadInput(f"a sketch is drawn from 68 (x, y) landmarks; these are of shape {landmarks.shape}")
    rows, columns = 2 * height, 2 * width
    down, right = rows / FRAME, columns / FRAME
    piece, x, y = curves(
        with_forehead(landmarks.astype(np.int64))[_PIECE_POINTS],
        density=max(1.0, down, right),
    )
    x, y = (x * right).astype(np.int64), (y * down).astype(np.int64)

    label = np.full((1 + len(_LINES), height, width), 255, np.uint8)
    sketch = np.zeros((1, rows, columns), np.uint8)
    brush(sketch, 0, x, y, reach=1, value=255)
    label[0] = halved(sketch[0])
    # Samples are in the order of their lines. A line without any is far from everywhere.
    lines, first = np.unique(_PIECE_LINES[piece], return_index=True)
    if len(lines):
        ground = np.full((len(lines), rows, columns), 255, np.uint8)
        brush(ground, np.repeat(np.arange(len(lines)), np.diff(first, append=len(x))), x, y, reach=1, value=0)
        boxes = np.stack([_ends(y, first, rows), _ends(x, first, columns)]).transpose(2, 0, 1).reshape(-1, 4)
        label[1 + lines] = halved_distances(
            ground, [(a, b, c, d) for a, b, c, d in boxes.tolist()], DISTANCE_DIVISOR * (down + right) / 2
        )
    return label


def _ends(at: Array, first: Array, size: int) -> Array:
    """The lowest and the highest place that a brush of reach 1 touches: (2, lines). first: where each line begins."""
    low, high = np.minimum.reduceat(at, first) - 1, np.maximum.reduceat(at, first)
    ends: Array = np.clip([low, high], 0, size - 1)
    return ends


@cache
def _palette(colours: tuple[tuple[int, int, int], ...]) -> Array:
    return np.asarray(colours, np.float32)


def picture(schema: LabelSchema, loaded: Array) -> Array:
    """The sketch for people: each line in its own colour on a dark ground, uint8 (H, W, 3)."""
    nearest = loaded[1:].argmin(axis=0)
    ink = np.minimum(loaded[0].astype(np.float32) * np.float32(1.6 / 255), 1)[..., None]
    ground = np.array((24, 26, 34), np.float32)
    mixed: Array = (ground + (_palette(schema.colours[1:])[nearest] - ground) * ink).round().astype(np.uint8)
    return mixed
