"""Hair of nine shapes: what is behind the head, and what lies on it."""

import numpy as np

from likeness.array import Array
from shards.worlds.drawing import curve, ellipse, loop, mix, shifted, tone
from shards.worlds.faces.portrait import Portrait

_Cut = tuple[float, float, float, Array]

# For each shape: widening and lift of the hair over the skull, the level where it ends beside the face, and the
# hairline from the image left to the image right in head units.
_CUTS: dict[str, _Cut] = {
    "short": (1.05, 0.1, 0.02, np.array(
        [[-0.96, 0.02], [-0.9, -0.3], [-0.74, -0.6], [-0.3, -0.7], [0, -0.72], [0.3, -0.7], [0.74, -0.6], [0.9, -0.3],
         [0.96, 0.02]])),
    "side": (1.08, 0.2, 0.1, np.array(
        [[-0.97, 0.1], [-0.9, -0.24], [-0.74, -0.46], [-0.3, -0.55], [0.1, -0.66], [0.45, -0.92], [0.6, -0.7],
         [0.86, -0.4], [0.97, 0.1]])),
    "fringe": (1.1, 0.16, 0.3, np.array(
        [[-0.98, 0.3], [-0.92, -0.1], [-0.84, -0.42], [-0.45, -0.47], [0, -0.5], [0.45, -0.47], [0.84, -0.42],
         [0.92, -0.1], [0.98, 0.3]])),
    "curly": (1.14, 0.24, 0.15, np.array(
        [[-0.97, 0.1], [-0.88, -0.35], [-0.6, -0.62], [-0.3, -0.66], [0, -0.68], [0.3, -0.66], [0.6, -0.62],
         [0.88, -0.35], [0.97, 0.1]])),
    "bob": (1.2, 0.17, 0.95, np.array(
        [[-0.98, 1.0], [-0.88, 0.3], [-0.84, -0.2], [-0.5, -0.62], [-0.25, -0.9], [0.2, -0.66], [0.8, -0.3],
         [0.88, 0.3], [0.98, 1.0]])),
    "long": (1.22, 0.16, 1.5, np.array(
        [[-1.0, 1.6], [-0.92, 0.5], [-0.84, -0.15], [-0.45, -0.65], [0.0, -0.98], [0.45, -0.65], [0.84, -0.15],
         [0.92, 0.5], [1.0, 1.6]])),
    "bun": (1.04, 0.1, -0.02, np.array(
        [[-0.97, -0.02], [-0.9, -0.38], [-0.7, -0.66], [-0.35, -0.8], [0, -0.84], [0.35, -0.8], [0.7, -0.66],
         [0.9, -0.38], [0.97, -0.02]])),
    "quiff": (1.03, 0.12, -0.05, np.array(
        [[-0.96, -0.05], [-0.92, -0.35], [-0.78, -0.62], [-0.4, -0.74], [0, -0.82], [0.4, -0.76], [0.78, -0.6],
         [0.92, -0.35], [0.96, -0.05]])),
}  # fmt: skip


def draw_hair_behind(p: Portrait) -> None:
    style, head = p.style, p.head
    if style.hair_shape not in ("bob", "long", "curly", "bun"):
        return
    back = p.palette(mix(style.hair_colour, (20, 10, 30), 0.25))
    if style.hair_shape == "bun":
        knot = head.at([[0.0, -1.5]], -0.3)[0]
        p.canvas.shaded(
            ellipse(knot, (0.42 * p.unit, 0.38 * p.unit)), p.hair_tones, knot,
            (0.5 * p.unit, 0.5 * p.unit), p.light,
        )  # fmt: skip
        return
    if style.hair_shape == "curly":
        arc = curve(p.crown(1.16, 0.22, 0.5), 3)
        for x, y in [*arc[::3], *(arc[[0, -1]] - [0, 0.3])]:
            p.canvas.disc(head.at([[x, y]], -0.4)[0], 0.25 * p.unit, tone(back, 110))
        p.canvas.fill(head.at(arc, -0.4), tone(back, 110))
        return
    low, wide = (1.15, 1.24) if style.hair_shape == "bob" else (2.15, 1.3)
    arc = p.crown(wide, 0.14, low * 0.55)
    tail = np.array([[-wide * 1.06 * p.width, low], [-0.5, low + 0.13], [0.5, low + 0.13]])
    tail = np.concatenate([tail, [[wide * 1.06 * p.width, low]]])
    p.canvas.shaded(
        head.at(loop(np.concatenate([arc, tail]), 4), -0.45), back, p.middle,
        (1.5 * p.unit, 1.9 * p.unit), p.light,
    )  # fmt: skip


def draw_hair(p: Portrait) -> None:
    style, head, u = p.style, p.head, p.unit
    shape = style.hair_shape
    if shape == "bald":
        p.canvas.soft(
            ellipse(head.at([[0.0, -0.85]], 0.3)[0] + p.light * 0.3 * u, (0.24 * u, 0.12 * u)),
            (255, 255, 255), 0.4, 0.08 * u,
        )  # fmt: skip
        return
    outer, lift, level, line = _CUTS[shape]
    arc = p.crown(outer, lift, level)
    line = line * [p.width, 1]
    if shape == "quiff":
        bump = np.interp(arc[:, 0] / p.width, [-1.2, -0.7, 0.0, 0.5, 0.95, 1.2], [0, 0.1, 0.22, 0.36, 0.05, 0])
        arc = arc - np.stack([0 * bump, bump * (arc[:, 1] < -0.3)], axis=1)
    edge = curve(line, 4)
    depth_edge = np.interp(np.abs(edge[:, 0]), [0, 0.75, 1.05], [0.42, 0.25, -0.05])
    rim = curve(arc, 4)
    front = head.at(edge, depth_edge)
    shadow = np.concatenate([front, head.at(rim * 0.9, 0.1)])
    with p.canvas.clipped(p.face):
        p.canvas.soft(shifted(shadow, 0, 0.09 * u) - p.light * 0.04 * u, tone(p.skin, 0), 0.5, 0.035 * u)
    cap = np.concatenate([head.at(rim, -0.15), front])
    if shape == "curly":
        for x, y in rim[::4]:
            p.canvas.disc(
                head.at([[x, y]], -0.1)[0],
                0.2 * u,
                tone(p.hair_tones, 128 + 70 * p.light[0] * x - 60 * p.light[1] * -y),
            )
    p.canvas.shaded(cap, p.hair_tones, p.middle, (1.4 * u, 1.7 * u), p.light)
    if shape == "curly":
        for i, (x, y) in enumerate(edge[2::3]):
            p.canvas.disc(head.at([[x, y - 0.06]], 0.2)[0], 0.13 * u, tone(p.hair_tones, 95 + 50 * (i % 2)))
        for x, y in rim[3:-3:4] * 0.86:
            p.canvas.disc(head.at([[x, y]], 0.1)[0], 0.1 * u, tone(p.hair_tones, 170 + 50 * p.light[0] * x))
    else:
        # One clip for both: cutting twice would soften the edge twice.
        with p.canvas.clipped(cap):
            _draw_strands(p, rim, edge)
            gleam = head.at([[0.0, -0.95 - 0.5 * lift]], 0.2)[0] + p.light * 0.35 * u
            p.canvas.soft(ellipse(gleam, (0.42 * u, 0.09 * u), p.state.roll), tone(p.hair_tones, 255), 0.75, 0.06 * u)


def _draw_strands(p: Portrait, rim: Array, edge: Array) -> None:
    """Strands from the crown's rim towards the hairline (both in head units)."""
    for share, level_of in ((0.12, 70), (0.26, 165), (0.4, 80), (0.55, 170), (0.7, 75), (0.86, 160)):
        start = rim[int(share * (len(rim) - 1))]
        end = edge[int((1 - share) * (len(edge) - 1))]
        bend = (start + end) / 2 + [0.12 * (0.5 - share), -0.06]
        strand = curve(np.array([start, bend, end]), 6)
        width = np.interp(np.arange(len(strand)), [0, 6, len(strand) - 1], [0.02, 0.07, 0.01])
        p.canvas.stroke(
            p.head.at(strand, [*np.linspace(-0.15, 0.3, len(strand))]),
            width * p.unit,
            tone(p.hair_tones, level_of),
        )
