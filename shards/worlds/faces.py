"""The faces world: a talking head.

The label (68 landmarks) fixes all geometry: the outline of the face, its features, and through the head's place,
size and turn also where hair, ears, neck and shoulders are. Style is everything else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from likeness.array import Array
from shards.labels.kinds import SKETCH
from shards.worlds.drawing import Canvas, Colour, curve, ellipse, hsv, loop, mix, ramp, shifted, tone, wander

KIND = SKETCH

HAIR_SHAPES = ("bald", "short", "side", "fringe", "curly", "bob", "long", "bun", "quiff")
NECKLINES = ("crew", "vee", "collar", "turtle")
PATTERNS = ("plain", "stripes", "bars", "dots", "checks")
BACKDROPS = ("vertical", "horizontal", "diagonal", "glow", "split", "stripes", "discs", "panel")
GLASSES = ("none", "round", "square")
BEARDS = ("none", "stubble", "goatee", "full")

SKINS: tuple[Colour, ...] = (
    (255, 224, 203), (250, 207, 178), (236, 188, 150), (217, 163, 118), (190, 133, 90), (156, 103, 68),
    (120, 78, 52), (88, 56, 40),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (28, 24, 26), (62, 40, 28), (105, 66, 38), (152, 98, 52), (222, 178, 96), (240, 218, 160), (176, 70, 34),
    (206, 204, 204), (130, 128, 134), (38, 66, 140), (150, 48, 120), (30, 120, 112),
)  # fmt: skip
EYES: tuple[Colour, ...] = (
    (74, 44, 24), (44, 100, 168), (62, 128, 70), (128, 92, 36), (104, 120, 134), (36, 140, 140),
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """What the landmarks know. Lengths are in head units (half a face's width is about 1), angles in radians.

    x, y: the head's centre (between the eyes), and scale: one head unit, in fractions of the picture's side.
    yaw > 0 turns the face to the image right, pitch > 0 nods downward, roll > 0 tilts clockwise.
    jaw: the chin's exponent, from pointed (1.7) to square (2.9).
    mouth_open, blink, brow_raise: 0..1; smile: -0.4 (sad) to 1.
    """

    x: float
    y: float
    scale: float
    yaw: float
    pitch: float
    roll: float
    face_width: float
    face_length: float
    jaw: float
    eye_spacing: float
    eye_size: float
    brow_height: float
    nose_length: float
    mouth_width: float
    mouth_open: float
    smile: float
    blink: float
    brow_raise: float


@dataclass(frozen=True)
class Style:
    """What the landmarks do not know. Every field is drawn independently of the others.

    light_angle: radians, the direction that light comes from, 0 = image right, -pi/2 = above.
    light_strength, light_warmth, brow_darkness, blush: 0..1.
    """

    skin: Colour
    hair_shape: str
    hair_colour: Colour
    brow_darkness: float
    eye_colour: Colour
    lip_colour: Colour
    blush: float
    freckles: bool
    beard: str
    glasses: str
    glasses_colour: Colour
    clothes_colour: Colour
    clothes_second: Colour
    clothes_pattern: str
    neckline: str
    backdrop: str
    backdrop_a: Colour
    backdrop_b: Colour
    light_angle: float
    light_strength: float
    light_warmth: float


FACTORS: tuple[str, ...] = tuple(Style.__dataclass_fields__)


def height_of(size: int) -> int:
    """The picture's height for a width of `size`: faces are square."""
    return size


def sample_style(rng: np.random.Generator) -> Style:
    """A person and a place: each factor drawn by itself."""
    shade = rng.uniform(0, len(SKINS) - 1.001)
    skin = mix(SKINS[int(shade)], SKINS[int(shade) + 1], shade % 1)
    hair = HAIRS[rng.integers(9) if rng.random() < 0.75 else rng.integers(9, len(HAIRS))]
    return Style(
        skin=skin,
        hair_shape=_choice(rng, HAIR_SHAPES),
        hair_colour=mix(hair, hsv(rng.random(), 0.5, rng.uniform(0.2, 0.9)), 0.12),
        brow_darkness=float(rng.uniform(0.25, 1)),
        eye_colour=EYES[rng.integers(len(EYES))],
        lip_colour=hsv(rng.uniform(-0.09, 0.04), rng.uniform(0.4, 0.85), rng.uniform(0.5, 0.92)),
        blush=float(rng.uniform(0, 1)),
        freckles=bool(rng.random() < 0.2),
        beard=_choice(rng, BEARDS, (0.64, 0.12, 0.1, 0.14)),
        glasses=_choice(rng, GLASSES, (0.6, 0.2, 0.2)),
        glasses_colour=hsv(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.08, 0.75)),
        clothes_colour=hsv(rng.random(), rng.uniform(0.25, 0.95), rng.uniform(0.2, 0.97)),
        clothes_second=hsv(rng.random(), rng.uniform(0.0, 0.9), rng.uniform(0.25, 1)),
        clothes_pattern=_choice(rng, PATTERNS),
        neckline=_choice(rng, NECKLINES),
        backdrop=_choice(rng, BACKDROPS),
        backdrop_a=hsv(rng.random(), rng.uniform(0.3, 0.95), rng.uniform(0.3, 0.98)),
        backdrop_b=hsv(rng.random(), rng.uniform(0.15, 0.9), rng.uniform(0.3, 1)),
        light_angle=float(rng.choice([-0.35, -1.1, -2.05, -2.8]) + rng.uniform(-0.25, 0.25)),
        light_strength=float(rng.uniform(0.25, 1)),
        light_warmth=float(rng.uniform(0, 1)),
    )


def _choice(rng: np.random.Generator, names: tuple[str, ...], shares: tuple[float, ...] | None = None) -> str:
    return names[int(rng.choice(len(names), p=shares))]


def sample_states(rng: np.random.Generator, frames: int, fps: float) -> list[State]:
    """One video's motion: a person who looks around, speaks, smiles and blinks.

    rng: decides the face's build and the motion. frames, fps: how many, and how many for each second.
    """
    t = np.arange(frames) / fps
    scale = rng.uniform(0.185, 0.26) * (1 + wander(rng, t, 0.22, 4.5))
    x = rng.uniform(0.42, 0.58) + wander(rng, t, 0.2, 4.0)
    y = rng.uniform(0.4, 0.52) + wander(rng, t, 0.11, 3.5)
    yaw = rng.uniform(-0.1, 0.1) + wander(rng, t, 0.28, 3.5)
    pitch = wander(rng, t, 0.16, 3.0)
    roll = rng.uniform(-0.06, 0.06) + wander(rng, t, 0.2, 4.0)
    speech = np.clip(0.5 + wander(rng, t, 1.1, 5.0), 0, 1)
    mouth = speech * (0.5 + wander(rng, t, 0.5, 0.55))
    smile = np.clip(rng.uniform(-0.1, 0.5) + wander(rng, t, 0.6, 4.0), -0.4, 1)
    raised = np.clip(rng.uniform(0.1, 0.4) + wander(rng, t, 0.5, 3.0), 0, 1)
    winks = np.cumsum(rng.uniform(1.4, 4.0, int(frames / fps) + 3)) - 1.0
    blink = np.exp(-(((t[:, None] - winks) / 0.11) ** 2)).max(axis=1)
    build = {
        "face_width": rng.uniform(0.9, 1.08),
        "face_length": rng.uniform(0.92, 1.1),
        "jaw": rng.uniform(1.75, 2.8),
        "eye_spacing": rng.uniform(0.39, 0.47),
        "eye_size": rng.uniform(0.175, 0.235),
        "brow_height": rng.uniform(0.29, 0.4),
        "nose_length": rng.uniform(0.36, 0.5),
        "mouth_width": rng.uniform(0.3, 0.42),
    }
    margin = 1.12 * scale
    moving = {
        "x": np.clip(x, margin + 0.02, 0.98 - margin),
        "y": np.clip(y, 0.3, 0.965 - 1.55 * scale),
        "scale": scale,
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "mouth_open": mouth.clip(0, 1),
        "smile": smile,
        "blink": blink,
        "brow_raise": raised,
    }
    fixed = {name: round(float(value), 5) for name, value in build.items()}
    return [State(**fixed, **{name: round(float(v[i]), 5) for name, v in moving.items()}) for i in range(frames)]


class _Head:
    """The solid head of a state: takes points of the head (x, y, z in head units) to the picture."""

    def __init__(self, state: State) -> None:
        cy, sy = np.cos(state.yaw), np.sin(state.yaw)
        cp, sp = np.cos(state.pitch), np.sin(state.pitch)
        cr, sr = np.cos(state.roll), np.sin(state.roll)
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        tilt = np.array([[cr, -sr, 0], [sr, cr, 0]])
        self.matrix = tilt @ nod @ turn * state.scale
        self.origin = np.array([state.x, state.y])
        self.unit = state.scale
        self.state = state

    def at(self, points: Any, z: Any = None) -> Array:
        """Points (n, 3), or (n, 2) with a depth `z`, on the picture: (n, 2) in fractions of its side."""
        p = np.asarray(points, float)
        if z is not None:
            p = np.concatenate([p, np.broadcast_to(np.asarray(z, float), len(p))[:, None]], axis=1)
        return np.asarray(p @ self.matrix.T + self.origin, float)


def _depth(x: Any) -> Any:
    """How far the face's front lies before its centre, at a distance x from its middle."""
    return 0.5 - 0.45 * np.asarray(x, float) ** 2


def _landmarks(head: _Head) -> Array:
    """The 68 landmarks in fractions of the picture's side, float (68, 2)."""
    s = head.state
    opened, w = s.mouth_open, s.face_width
    theta = np.linspace(0, np.pi, 17)
    cosine, sine = np.cos(theta), np.sin(theta)
    jaw_y = -0.08 + (1.27 * s.face_length + 0.13 * opened) * np.abs(sine) ** (2 / s.jaw)
    jaw = np.stack([-w * np.sign(cosine) * np.abs(cosine) ** (2 / s.jaw), jaw_y, -0.2 + 0.45 * sine**2], axis=1)

    along = np.linspace(-1, 1, 5)
    brow_y = -s.brow_height - 0.16 * s.brow_raise - 0.085 * (1 - along**2) + 0.03 * s.smile * along
    right_x = s.eye_spacing + 0.27 * along + 0.02
    right_brow = np.stack([right_x, brow_y + 0.05 * (along > 0.9), _depth(right_x)], axis=1)
    left_brow = (right_brow * [-1, 1, 1])[::-1]

    tip = s.nose_length
    bridge = np.stack([np.zeros(4), np.linspace(-0.02, tip, 4), np.linspace(0.55, 0.86, 4)], axis=1)
    under = np.array([-0.19, -0.1, 0.0, 0.1, 0.19])
    base_y = tip + np.array([0.08, 0.12, 0.14, 0.12, 0.08])
    base = np.stack([under, base_y, np.array([0.52, 0.6, 0.66, 0.6, 0.52])], axis=1)

    lids = 1 - 0.93 * s.blink
    upper, lower = 0.105 * lids * (1 + 0.25 * s.brow_raise), 0.07 * (1 - 0.6 * s.blink - 0.25 * max(s.smile, 0.0))
    eye_x = np.array([-1, -0.42, 0.42, 1, 0.42, -0.42]) * s.eye_size + s.eye_spacing
    lid_y = np.array([0.015, -upper, -upper * 1.02, -0.01, lower * 0.9, lower])
    lid_y = lid_y + 0.012 * s.blink * np.array([0.3, 1, 1, 0.3, 0, 0])
    right_eye = np.stack([eye_x, lid_y, _depth(eye_x) - 0.06], axis=1)
    left_eye = (right_eye * [-1, 1, 1])[[3, 2, 1, 0, 5, 4]]

    middle = tip + 0.14 + 0.42 * (1.19 * s.face_length - tip - 0.14)
    reach = s.mouth_width * (1 + 0.2 * s.smile - 0.16 * opened)
    corner = middle - 0.09 * s.smile + 0.05 * opened
    gap = 0.26 * opened
    top = middle - 0.085 + 0.015 * s.smile
    bottom = middle + 0.1 + gap + 0.02 * s.smile
    x = np.array([-1, -0.62, -0.22, 0, 0.22, 0.62, 1, 0.6, 0.24, 0, -0.24, -0.6]) * reach
    y = np.array([corner, 0, top, top + 0.022, top, 0, corner, 0, bottom, bottom + 0.006, bottom, 0])
    y[[1, 5]] = 0.5 * corner + 0.5 * top
    y[[7, 11]] = 0.32 * corner + 0.68 * bottom
    outer = np.stack([x, y, _depth(1.1 * x) + 0.06], axis=1)
    inner_x = np.array([-0.86, -0.25, 0, 0.25, 0.86, 0.25, 0, -0.25]) * reach
    inner_top, inner_bottom = middle - 0.004, middle + 0.004 + gap
    inner_y = np.array(
        [corner, inner_top, inner_top, inner_top, corner, inner_bottom, inner_bottom + 0.01, inner_bottom]
    )
    inner_y[[0, 4]] = corner + 0.06 * (middle - corner)
    inner = np.stack([inner_x, inner_y, _depth(1.1 * inner_x) + 0.03], axis=1)
    return head.at(np.concatenate([jaw, left_brow, right_brow, bridge, base, left_eye, right_eye, outer, inner]))


def annotate(state: State, size: int) -> dict[str, Any]:
    """`landmarks`: 68 [x, y] integer pairs in a 512×512 frame laid over the picture, whatever its size.

    In the usual order: 0-16 jaw from the image left, 17-21 and 22-26 brows, 27-30 bridge and 31-35 base of the
    nose, 36-41 and 42-47 eyes, 48-59 outer and 60-67 inner mouth (specification 5.4).
    """
    points = np.floor(_landmarks(_Head(state)) * 512).clip(0, 511).astype(int)
    return {"landmarks": points.tolist()}


def render(state: State, style: Style, size: int) -> Array:
    """The picture of a state in a style: uint8 (size, size, 3), RGB. The same arguments give the same picture."""
    canvas = Canvas(size, size)
    head = _Head(state)
    marks = _landmarks(head)
    painter = _Painter(canvas, head, marks, style)
    painter.backdrop()
    painter.hair_behind()
    painter.body()
    painter.skull()
    painter.features()
    painter.hair()
    painter.glasses()
    return canvas.finish()


class _Painter:
    """Draws one face, back to front."""

    def __init__(self, canvas: Canvas, head: _Head, marks: Array, style: Style) -> None:
        self.canvas, self.head, self.marks, self.style = canvas, head, marks, style
        self.state, self.unit = head.state, head.unit
        self.light = np.array([np.cos(style.light_angle), np.sin(style.light_angle)])
        self.lamp = mix((205, 225, 255), (255, 214, 150), style.light_warmth)
        self.skin = self.palette(style.skin)
        self.hair_tones = self.palette(style.hair_colour, 1.15)
        self.middle = head.at([[0.0, 0.1, 0.0]])[0]
        s = self.state
        self.width = s.face_width
        # The body hangs straight down from the neck, which follows only a part of the tilt.
        self.neck = self.head.origin + self.unit * np.array([-1.0 * np.sin(s.roll), 1.72 * s.face_length])

    def palette(self, colour: Colour, depth: float = 1.0) -> Array:
        """A colour in shadow, as it is, and in light."""
        strength = self.style.light_strength * depth
        shadow = mix(colour, (40, 22, 60), 0.16 + 0.42 * strength)
        lit = mix(mix(colour, self.lamp, 0.1 + 0.36 * strength), colour, 0.1)
        return ramp(shadow, colour, lit)

    def backdrop(self) -> None:
        a, b = self.style.backdrop_a, self.style.backdrop_b
        kind = self.style.backdrop
        page = np.array([[-0.01, -0.01], [1.01, -0.01], [1.01, 1.01], [-0.01, 1.01]])
        between = ramp(a, mix(a, b, 0.5), b)
        slopes = {"vertical": (0.0, 1.0), "horizontal": (1.0, 0.0), "diagonal": (1.0, 1.0)}
        if kind in slopes:
            self.canvas.graded(page, between, np.zeros(2), np.array(slopes[kind]))
            return
        self.canvas.graded(page, ramp(mix(a, (255, 255, 255), 0.12), a, mix(a, (0, 0, 0), 0.2)), page[0], page[3])
        if kind == "glow":
            for i in range(24):
                self.canvas.disc(np.array([0.5, 0.42]), 0.72 - 0.026 * i, mix(a, b, (i + 1) / 24))
        elif kind == "split":
            self.canvas.fill(np.array([[0.62, 0.0], [1.01, 0.0], [1.01, 1.01], [0.38, 1.01]]), b)
        elif kind == "stripes":
            for i in range(-4, 8, 2):
                x = i / 7
                self.canvas.fill(np.array([[x, 1.01], [x + 0.5, -0.01], [x + 0.643, -0.01], [x + 0.143, 1.01]]), b)
        elif kind == "discs":
            for row in range(6):
                for column in range(6):
                    self.canvas.disc(np.array([0.2 * column - 0.1 * (row % 2) + 0.05, 0.2 * row]), 0.062, b)
        else:
            for i in range(3):
                left = 0.04 + 0.32 * i
                frame = np.array([[left, 0.06], [left + 0.28, 0.06], [left + 0.28, 0.72], [left, 0.72]])
                self.canvas.fill(frame, b)
                self.canvas.fill(shifted(frame, 0.0, 0.012), mix(b, a, 0.3))

    def crown(self, outer: float, lift: float, level: float, points: int = 15) -> Array:
        """An arc over the skull from the image right to the image left, as head points (n, 2).

        outer: widening of the skull; lift: how much higher than the skull; level: where it ends beside the face.
        """
        t = np.linspace(0, np.pi, points)
        c, s = np.cos(t), np.sin(t)
        x = self.width * outer * np.sign(c) * np.abs(c) ** 0.86
        y = -0.12 - (1.12 + lift) * s**0.92
        arc = np.stack([x, y], axis=1)
        ends = np.array([[self.width * outer, level]])
        return np.concatenate([ends, arc, ends * [-1, 1]])

    def hair_behind(self) -> None:
        style, head = self.style, self.head
        if style.hair_shape not in ("bob", "long", "curly", "bun"):
            return
        back = self.palette(mix(style.hair_colour, (20, 10, 30), 0.25))
        if style.hair_shape == "bun":
            knot = head.at([[0.0, -1.5]], -0.3)[0]
            self.canvas.shaded(
                ellipse(knot, (0.42 * self.unit, 0.38 * self.unit)), self.hair_tones, knot,
                (0.5 * self.unit, 0.5 * self.unit), self.light,
            )  # fmt: skip
            return
        if style.hair_shape == "curly":
            arc = curve(self.crown(1.16, 0.22, 0.5), 3)
            for x, y in [*arc[::3], *(arc[[0, -1]] - [0, 0.3])]:
                self.canvas.disc(head.at([[x, y]], -0.4)[0], 0.25 * self.unit, tone(back, 110))
            self.canvas.fill(head.at(arc, -0.4), tone(back, 110))
            return
        low, wide = (1.15, 1.24) if style.hair_shape == "bob" else (2.15, 1.3)
        arc = self.crown(wide, 0.14, low * 0.55)
        tail = np.array([[-wide * 1.06 * self.width, low], [-0.5, low + 0.13], [0.5, low + 0.13]])
        tail = np.concatenate([tail, [[wide * 1.06 * self.width, low]]])
        self.canvas.shaded(
            head.at(loop(np.concatenate([arc, tail]), 4), -0.45), back, self.middle,
            (1.5 * self.unit, 1.9 * self.unit), self.light,
        )  # fmt: skip

    def body(self) -> None:
        style, u, neck = self.style, self.unit, self.neck
        canvas = self.canvas

        def place(points: Any) -> Array:
            return np.asarray(neck + u * np.asarray(points, float), float)

        jaw_left, jaw_right = self.marks[4], self.marks[12]
        throat = np.array([jaw_left * 0.8 + jaw_right * 0.2, jaw_right * 0.8 + jaw_left * 0.2])
        column = np.concatenate([throat, place([[0.62, 0.2], [0.8, 0.5], [-0.8, 0.5], [-0.62, 0.2]])])
        canvas.shaded(column, self.skin, neck - [0, 0.2 * u], (0.95 * u, 1.6 * u), self.light)
        # The chin's shadow on the neck.
        shade = tone(self.skin, 10)
        shadow = np.concatenate([shifted(self.marks[3:14], 0, 0.24 * u), shifted(self.marks[[13, 3]], 0, -0.2 * u)])
        with canvas.clipped(column):
            canvas.soft(shadow - self.light * 0.1 * u, shade, 0.75, 0.07 * u)

        bottom = (1.02 - neck[1]) / u + 0.3
        shoulders = [[0.55, 0.02], [0.95, 0.16], [1.55, 0.36], [2.0, 0.72], [2.3, 1.5]]
        right = np.array([*shoulders, [2.45, max(bottom, 2.0)]])
        outline = np.concatenate([curve(right), curve(right * [-1, 1])[::-1]])
        dips = {"crew": 0.34, "vee": 0.95, "collar": 0.62, "turtle": 0.1}
        dip = dips[style.neckline]
        if style.neckline == "vee":
            opening = np.array([[-0.3, 0.45], [0.0, dip], [0.3, 0.45]])
        elif style.neckline == "collar":
            opening = np.array([[-0.2, 0.3], [0.0, dip], [0.2, 0.3]])
        else:
            opening = curve(np.array([[-0.55, 0.02], [-0.32, dip * 0.8], [0.0, dip], [0.32, dip * 0.8], [0.55, 0.02]]))
        cloth = self.palette(style.clothes_colour)
        shirt = place(np.concatenate([outline, opening]))
        canvas.shaded(shirt, cloth, place([[0.0, 0.9]])[0], (2.5 * u, 2.2 * u), self.light)
        self.pattern(shirt, place)
        second = self.palette(style.clothes_second)
        if style.neckline == "collar":
            for side in (-1, 1):
                flap = place(np.array([[0.56, -0.12], [0.02, 0.62], [0.52, 0.82], [0.92, 0.2]]) * [side, 1])
                canvas.fill(shifted(flap, 0, 0.04 * u), tone(cloth, 30))
                canvas.fill(flap, tone(second, 128 + 60 * side * self.light[0]))
        elif style.neckline == "turtle":
            roll = [[-0.66, 0.3], [-0.62, -0.18], [0.0, -0.06], [0.62, -0.18], [0.66, 0.3], [0.0, 0.44]]
            canvas.shaded(place(loop(roll, 4)), cloth, place([[0.0, 0.1]])[0], (0.8 * u, 0.8 * u), self.light)
            canvas.stroke(place(curve(np.array([[-0.66, 0.27], [0.0, 0.43], [0.66, 0.27]]))), 0.05 * u, tone(cloth, 20))
        else:
            canvas.stroke(place(opening), 0.09 * u, tone(second, 128))

    def pattern(self, shirt: Array, place: Any) -> None:
        style, canvas, u = self.style, self.canvas, self.unit
        if style.clothes_pattern == "plain":
            return
        second = self.palette(style.clothes_second)
        if style.clothes_pattern in ("stripes", "checks"):
            strips = [
                np.array([[x, -0.3], [x + 0.2, -0.3], [x + 0.2, 3.5], [x, 3.5]]) for x in np.arange(-2.5, 2.5, 0.5)
            ]
        else:
            strips = []
        if style.clothes_pattern == "bars":
            strips = [
                np.array([[-2.6, y], [2.6, y], [2.6, y + 0.22], [-2.6, y + 0.22]]) for y in np.arange(0.1, 3.2, 0.5)
            ]
        box = canvas.box(shirt)
        mask = canvas.mask(shirt, box)
        if not mask.size:
            return
        with canvas.clipped(shirt):
            for strip in strips:
                level = 128 + 45 * float(strip[:, 0].mean()) / 2.5 * self.light[0]
                canvas.fill(place(strip), tone(second, level))
            if style.clothes_pattern == "checks":
                for y in np.arange(0.0, 3.2, 0.5):
                    bar = place(np.array([[-2.6, y], [2.6, y], [2.6, y + 0.1], [-2.6, y + 0.1]]))
                    canvas.fill(bar, tone(second, 60))
            elif style.clothes_pattern == "dots":
                for row, y in enumerate(np.arange(0.15, 3.2, 0.36)):
                    for x in np.arange(-2.4 + 0.2 * (row % 2), 2.5, 0.4):
                        canvas.disc(place([[x, y]])[0], 0.095 * u, tone(second, 128 + 20 * x * self.light[0]))

    def skull(self) -> None:
        canvas, head, marks, u = self.canvas, self.head, self.marks, self.unit
        for side in (-1, 1):
            ear = np.array([[0.92, -0.12], [1.1, -0.2], [1.2, -0.02], [1.14, 0.22], [1.0, 0.4], [0.9, 0.3]])
            ear = ear * [side * self.width, 1]
            outline = head.at(loop(ear), -0.3)
            canvas.shaded(outline, self.skin, self.middle, (1.15 * u, 1.5 * u), self.light)
            fold = np.array([[1.04, -0.08], [1.12, 0.0], [1.08, 0.16], [1.02, 0.24]]) * [side * self.width, 1]
            canvas.stroke(head.at(curve(fold), -0.28), 0.04 * u, tone(self.skin, 20))
        forehead = self.crown(1.0, 0.0, -0.1, 11)[2:-2]
        self.face = loop(np.concatenate([marks[:17], head.at(forehead, -0.05)]), 4)
        canvas.shaded(self.face, self.skin, self.middle, (1.08 * u, 1.35 * u), self.light)

    def features(self) -> None:
        canvas, head, marks, style, u = self.canvas, self.head, self.marks, self.style, self.unit
        shade, glow = tone(self.skin, 25), tone(self.skin, 250)
        if style.blush > 0.05:
            pink = mix(style.skin, (235, 60, 80), 0.65)
            for x in (-0.52, 0.52):
                cheek = head.at([[x, 0.42]], 0.35)[0]
                canvas.soft(ellipse(cheek, (0.22 * u, 0.15 * u)), pink, 0.55 * style.blush, 0.08 * u)
        if style.freckles:
            spot = mix(style.skin, (120, 55, 25), 0.55)
            for x, y in ((0.28, 0.3), (0.4, 0.26), (0.5, 0.36), (0.36, 0.4), (0.6, 0.28), (0.47, 0.48), (0.62, 0.42)):
                for side in (-1, 1):
                    canvas.disc(head.at([[side * x, y]], _depth([x]))[0], 0.024 * u, spot)
        self.beard()
        # Eye sockets, then the nose: a shadow on the side away from the light, a bright ridge, nostrils.
        for eye in (marks[36:42], marks[42:48]):
            centre = (eye[0] + eye[3]) / 2
            canvas.soft(ellipse(centre - [0, 0.06 * u], (0.27 * u, 0.16 * u)), shade, 0.3, 0.05 * u)
        away = -1 if self.light[0] > 0 else 1
        flank = np.array([marks[27], marks[30], marks[33], marks[35] if away > 0 else marks[31]])
        canvas.soft(flank, shade, 0.55, 0.035 * u)
        canvas.soft(ellipse(marks[30] - [0, 0.02 * u], (0.1 * u, 0.08 * u)), glow, 0.6, 0.035 * u)
        canvas.stroke(curve(marks[31:36]), np.interp(np.arange(21), [0, 10, 20], [0.02, 0.05, 0.02]) * u, shade)
        for nostril in (marks[32], marks[34]):
            canvas.fill(ellipse(nostril, (0.05 * u, 0.03 * u)), tone(self.skin, 0))
        self.mouth()
        for eye, inward in ((marks[36:42], 1), (marks[42:48], -1)):
            self.eye(eye, inward)
        dark = mix(mix(style.skin, style.hair_colour, 0.55), (24, 16, 18), style.brow_darkness)
        brow = mix(style.skin, dark, 0.5 + 0.5 * style.brow_darkness)
        for row in (marks[17:22], marks[26:21:-1]):
            line = curve(row)
            thick = np.interp(np.arange(len(line)), [0, 9, len(line) - 1], [0.02, 0.1, 0.09])
            canvas.stroke(line, thick * u * (0.7 + 0.6 * style.brow_darkness), brow)

    def beard(self) -> None:
        style, head, marks, u = self.style, self.head, self.marks, self.unit
        if style.beard == "none":
            return
        lip = marks[[48, 50, 51, 52, 54]] - [0, 0.09 * u]
        jaw = marks[2:15]
        colour = mix(style.hair_colour, style.skin, 0.1)
        if style.beard == "goatee":
            tall = float(np.linalg.norm(marks[8] - marks[51])) / 2 + 0.1 * u
            ring = ellipse((marks[51] + marks[8]) / 2 + [0, 0.06 * u], (0.42 * u, tall), self.state.roll)
            with self.canvas.clipped(self.face):
                self.canvas.soft(ring, colour, 1.0, 0.012 * u)
            return
        cheeks = head.at(np.array([[0.9, 0.35], [0.7, 0.52]]) * [self.width, 1], [0.1, 0.25])
        other = head.at(np.array([[-0.7, 0.52], [-0.9, 0.35]]) * [self.width, 1], [0.25, 0.1])
        zone = np.concatenate([jaw, cheeks, lip[::-1], other])
        opacity, blur = (0.38, 0.05) if style.beard == "stubble" else (1.0, 0.012)
        with self.canvas.clipped(self.face):
            self.canvas.soft(zone, mix(colour, (20, 16, 20), 0.2 if opacity < 1 else 0.0), opacity, blur * u)

    def mouth(self) -> None:
        canvas, marks, style, u = self.canvas, self.marks, self.style, self.unit
        outer, inner = marks[48:60], marks[60:68]
        lip = mix(style.lip_colour, tone(self.skin, 128), 0.12)
        lips = np.concatenate([curve(outer[:7], 4), curve(np.concatenate([outer[6:], outer[:1]]), 4)])
        canvas.soft(ellipse(outer[9] + [0, 0.09 * u], (0.2 * u, 0.05 * u)), tone(self.skin, 20), 0.5, 0.03 * u)
        canvas.fill(lips, mix(lip, (30, 0, 20), 0.14))
        lower = np.concatenate([curve(np.concatenate([outer[6:], outer[:1]]), 4), curve(inner[[0, 7, 6, 5, 4]], 4)])
        canvas.fill(lower, lip)
        shine = (outer[9] * 0.55 + inner[6] * 0.45) + [0.04 * u * self.light[0], 0]
        canvas.soft(ellipse(shine, (0.12 * u, 0.022 * u), self.state.roll), (255, 240, 240), 0.5, 0.012 * u)
        gap = float(np.linalg.norm(inner[6] - inner[2]))
        hole = np.concatenate([curve(inner[:5], 4), curve(inner[[4, 5, 6, 7, 0]], 4)])
        canvas.fill(hole, (70, 14, 24))
        if gap > 0.03 * u:
            with canvas.clipped(hole):
                down = (inner[6] - inner[2]) / gap
                tongue = inner[6] - down * 0.02 * u
                canvas.fill(ellipse(tongue, (0.2 * u, 0.09 * u), self.state.roll), (208, 84, 96))
                edge = curve(inner[:5], 4)
                teeth = np.concatenate([edge - down * 0.05 * u, (edge + down * min(0.085 * u, 0.5 * gap))[::-1]])
                canvas.fill(teeth, (250, 247, 240))
        line = curve(inner[:5], 4)
        canvas.stroke(line, 0.026 * u, mix(lip, (50, 0, 20), 0.6))

    def eye(self, corners: Array, inward: int) -> None:
        """One eye; `inward` is +1 when the nose is on its right."""
        canvas, u, style = self.canvas, self.unit, self.style
        upper, lower = curve(corners[:4], 4), curve(corners[[3, 4, 5, 0]], 4)
        opening = np.concatenate([upper, lower[1:]])
        s = self.state
        centre = (corners[0] + corners[3]) / 2
        down = np.array([-np.sin(s.roll), np.cos(s.roll)])
        iris = centre + u * np.array([0.16 * s.yaw, 0.0]) - down * 0.012 * u + down * 0.1 * s.pitch * u
        radius = 0.098 * u
        with canvas.clipped(opening):
            canvas.fill(opening, (250, 250, 248))
            canvas.disc(iris, radius, mix(style.eye_colour, (0, 0, 0), 0.45))
            canvas.disc(iris, radius * 0.84, style.eye_colour)
            canvas.disc(shifted(iris, 0, 0.03 * u), radius * 0.55, mix(style.eye_colour, (255, 255, 255), 0.25))
            canvas.disc(iris, radius * 0.46, (16, 12, 16))
            canvas.stroke(upper + down * 0.02 * u, 0.05 * u, (190, 190, 200))
            canvas.disc(iris + self.light * 0.045 * u, radius * 0.26, (255, 255, 255))
        lash = mix(style.skin, (20, 12, 14), 0.85)
        if inward < 0:
            upper = upper[::-1]
        canvas.stroke(upper, np.linspace(0.062, 0.03, len(upper)) * u, lash)
        canvas.stroke(lower, 0.016 * u, mix(style.skin, lash, 0.5))
        canvas.stroke(upper - down * 0.075 * u, 0.02 * u, tone(self.skin, 30))

    def hair(self) -> None:
        style, head, u = self.style, self.head, self.unit
        shape = style.hair_shape
        if shape == "bald":
            self.canvas.soft(
                ellipse(head.at([[0.0, -0.85]], 0.3)[0] + self.light * 0.3 * u, (0.24 * u, 0.12 * u)),
                (255, 255, 255), 0.4, 0.08 * u,
            )  # fmt: skip
            return
        outer, lift, level, line = _CUTS[shape]
        arc = self.crown(outer, lift, level)
        line = line * [self.width, 1]
        if shape == "quiff":
            bump = np.interp(arc[:, 0] / self.width, [-1.2, -0.7, 0.0, 0.5, 0.95, 1.2], [0, 0.1, 0.22, 0.36, 0.05, 0])
            arc = arc - np.stack([0 * bump, bump * (arc[:, 1] < -0.3)], axis=1)
        edge = curve(line, 4)
        depth_edge = np.interp(np.abs(edge[:, 0]), [0, 0.75, 1.05], [0.42, 0.25, -0.05])
        rim = curve(arc, 4)
        front = head.at(edge, depth_edge)
        shadow = np.concatenate([front, head.at(rim * 0.9, 0.1)])
        with self.canvas.clipped(self.face):
            self.canvas.soft(shifted(shadow, 0, 0.09 * u) - self.light * 0.04 * u, tone(self.skin, 0), 0.5, 0.035 * u)
        cap = np.concatenate([head.at(rim, -0.15), front])
        if shape == "curly":
            for x, y in rim[::4]:
                self.canvas.disc(
                    head.at([[x, y]], -0.1)[0],
                    0.2 * u,
                    tone(self.hair_tones, 128 + 70 * self.light[0] * x - 60 * self.light[1] * -y),
                )
        self.canvas.shaded(cap, self.hair_tones, self.middle, (1.4 * u, 1.7 * u), self.light)
        if shape == "curly":
            for i, (x, y) in enumerate(edge[2::3]):
                self.canvas.disc(head.at([[x, y - 0.06]], 0.2)[0], 0.13 * u, tone(self.hair_tones, 95 + 50 * (i % 2)))
            for x, y in rim[3:-3:4] * 0.86:
                self.canvas.disc(
                    head.at([[x, y]], 0.1)[0], 0.1 * u, tone(self.hair_tones, 170 + 50 * self.light[0] * x)
                )
            return
        # Strands run from the crown's rim towards the hairline.
        with self.canvas.clipped(cap):
            for share, level_of in ((0.12, 70), (0.26, 165), (0.4, 80), (0.55, 170), (0.7, 75), (0.86, 160)):
                start = rim[int(share * (len(rim) - 1))]
                end = edge[int((1 - share) * (len(edge) - 1))]
                bend = (start + end) / 2 + [0.12 * (0.5 - share), -0.06]
                strand = curve(np.array([start, bend, end]), 6)
                width = np.interp(np.arange(len(strand)), [0, 6, len(strand) - 1], [0.02, 0.07, 0.01])
                self.canvas.stroke(
                    head.at(strand, [*np.linspace(-0.15, 0.3, len(strand))]),
                    width * u,
                    tone(self.hair_tones, level_of),
                )
            gleam = head.at([[0.0, -0.95 - 0.5 * lift]], 0.2)[0] + self.light * 0.35 * u
            self.canvas.soft(
                ellipse(gleam, (0.42 * u, 0.09 * u), self.state.roll), tone(self.hair_tones, 255), 0.75, 0.06 * u
            )

    def glasses(self) -> None:
        style, marks, u, canvas = self.style, self.marks, self.unit, self.canvas
        if style.glasses == "none":
            return
        rims = []
        for eye in (marks[36:42], marks[42:48]):
            centre = (eye[0] + eye[3]) / 2 + [0, 0.02 * u]
            wide = float(np.linalg.norm(eye[3] - eye[0])) / 2 + 0.1 * u
            if style.glasses == "round":
                rims.append(ellipse(centre, (wide, 0.29 * u), self.state.roll, 36))
            else:
                c, s = np.cos(self.state.roll), np.sin(self.state.roll)
                corner = np.array([[-1, -0.75], [0, -0.82], [1, -0.75], [0.95, 0.6], [0, 0.9], [-0.95, 0.6]])
                corner = corner * [wide * 1.05, 0.27 * u]
                rims.append(loop(corner @ np.array([[c, s], [-s, c]]) + centre))
        for rim in rims:
            box = canvas.box(rim)
            mask = canvas.mask(rim, box)
            canvas.veil(box, mask.astype(np.float32) * np.float32(0.14 / 255), (210, 235, 255))
            canvas.stroke(np.concatenate([rim, rim[:2]]), 0.065 * u, style.glasses_colour)
        left, right = marks[39], marks[42]
        canvas.stroke(
            curve(np.array([left, (left + right) / 2 - [0, 0.06 * u], right])), 0.055 * u, style.glasses_colour
        )
        for eye, temple in ((marks[36], marks[0]), (marks[45], marks[16])):
            start = eye + (temple - eye) * 0.2
            canvas.stroke(np.array([start, temple - [0, 0.1 * u]]), 0.05 * u, style.glasses_colour)


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
