"""The dance world: one dancer on a stage.

The label (18 body keypoints) fixes all geometry of the dancer: limbs, clothes, hair and shadow hang on the keypoints
alone. Clothes, hair, skin, stage and light are style.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from likeness.array import Array
from shards.labels.kinds import POSE
from shards.worlds.drawing import Canvas, Colour, curve, ellipse, hsv, mix, ramp, shifted, tone, wander

KIND = POSE

HAIR_SHAPES = ("bald", "short", "long", "bun", "afro", "tail")
HATS = ("none", "cap", "beanie")
PATTERNS = ("plain", "hoops", "sash", "halves", "emblem")
SLEEVES = ("none", "short", "long")
BOTTOMS = ("trousers", "shorts", "skirt", "gown")
WALLS = ("plain", "panels", "curtain", "discs", "rays", "bricks")
FLOORS = ("plain", "planks", "tiles", "ring")

HORIZON = 0.64
SKINS: tuple[Colour, ...] = ((252, 218, 194), (232, 182, 142), (198, 142, 98), (146, 96, 64), (92, 60, 44))

# Indices of the 18 keypoints. R and L are the dancer's: R is on the image left of somebody who faces us.
NOSE, NECK = 0, 1
R_SHOULDER, R_ELBOW, R_WRIST, L_SHOULDER, L_ELBOW, L_WRIST = 2, 3, 4, 5, 6, 7
R_HIP, R_KNEE, R_ANKLE, L_HIP, L_KNEE, L_ANKLE = 8, 9, 10, 11, 12, 13
R_EYE, L_EYE, R_EAR, L_EAR = 14, 15, 16, 17


@dataclass(frozen=True)
class State:
    """What the keypoints know: the keypoints, 18 (x, y) in fractions of the picture's sides, y down."""

    keypoints: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Style:
    """What the keypoints do not know. Every field is drawn independently of the others.

    light_angle: radians, the direction that light comes from, 0 = image right, -pi/2 = above.
    light_strength: 0..1.
    """

    skin: Colour
    hair_shape: str
    hair_colour: Colour
    hat: str
    hat_colour: Colour
    top_colour: Colour
    top_second: Colour
    top_pattern: str
    sleeves: str
    bottom: str
    bottom_colour: Colour
    shoe_colour: Colour
    wall: str
    wall_a: Colour
    wall_b: Colour
    floor: str
    floor_a: Colour
    floor_b: Colour
    light_angle: float
    light_strength: float


FACTORS: tuple[str, ...] = tuple(Style.__dataclass_fields__)


def height_of(size: int) -> int:
    """The picture's height for a width of `size`: dances are square."""
    return size


def sample_style(rng: np.random.Generator) -> Style:
    """A dancer and a stage: each factor drawn by itself."""

    def choice(names: tuple[str, ...], shares: tuple[float, ...] | None = None) -> str:
        return names[int(rng.choice(len(names), p=shares))]

    def colour(saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
        return hsv(rng.random(), rng.uniform(*saturation), rng.uniform(*value))

    shade = rng.uniform(0, len(SKINS) - 1.001)
    hairs: tuple[Colour, ...] = (
        (26, 22, 26),
        (70, 44, 28),
        (150, 92, 46),
        (228, 186, 104),
        (172, 62, 34),
        (190, 190, 196),
    )
    return Style(
        skin=mix(SKINS[int(shade)], SKINS[int(shade) + 1], shade % 1),
        hair_shape=choice(HAIR_SHAPES),
        hair_colour=hairs[rng.integers(len(hairs))] if rng.random() < 0.8 else colour((0.6, 0.9), (0.4, 0.9)),
        hat=choice(HATS, (0.7, 0.15, 0.15)),
        hat_colour=colour((0.3, 0.95), (0.25, 0.95)),
        top_colour=colour((0.2, 0.95), (0.3, 1.0)),
        top_second=colour((0.0, 0.95), (0.2, 1.0)),
        top_pattern=choice(PATTERNS),
        sleeves=choice(SLEEVES),
        bottom=choice(BOTTOMS),
        bottom_colour=colour((0.2, 0.95), (0.15, 0.95)),
        shoe_colour=colour((0.1, 0.95), (0.12, 1.0)),
        wall=choice(WALLS),
        wall_a=colour((0.15, 0.8), (0.3, 0.95)),
        wall_b=colour((0.15, 0.85), (0.25, 0.98)),
        floor=choice(FLOORS),
        floor_a=colour((0.1, 0.7), (0.25, 0.9)),
        floor_b=colour((0.1, 0.75), (0.25, 0.95)),
        light_angle=float(rng.choice([-0.5, -1.2, -1.95, -2.65]) + rng.uniform(-0.25, 0.25)),
        light_strength=float(rng.uniform(0.3, 1)),
    )


def sample_states(rng: np.random.Generator, frames: int, fps: float) -> list[State]:
    """One video's dance, by forward kinematics of a body of random build that keeps a foot on the floor.

    rng: decides the build and the motion. frames, fps: how many, and how many for each second.
    """
    t = np.arange(frames) / fps
    beat = rng.uniform(0.9, 1.5)
    size = rng.uniform(0.9, 1.06)
    build = size * np.array([0.245, 0.082, 0.052, 0.13, 0.125, 0.185, 0.18]) * rng.uniform(0.94, 1.06, 7)
    torso, half_shoulder, half_hip, upper_arm, forearm, thigh, shank = build

    yaw = rng.uniform(-0.2, 0.2) + wander(rng, t, 0.75, 3.2)
    lean = wander(rng, t, 0.24, beat * 1.7)
    twist = wander(rng, t, 0.35, beat * 1.3)
    place = rng.uniform(0.43, 0.57) + wander(rng, t, 0.17, 4.2)

    def facing(x: Array, y: Array, z: Array, turn: Array) -> Array:
        """Offsets in the body's frame (right on the image, down, towards us) as offsets on the picture."""
        return np.stack([x * np.cos(turn) + z * np.sin(turn), y], axis=1)

    zero = np.zeros(frames)
    points = np.zeros((18, frames, 2))
    hips = np.zeros((frames, 2))
    neck = hips + facing(torso * np.sin(lean), -torso * np.cos(lean), zero, zero)
    points[NECK] = neck
    slope = 0.5 * lean + wander(rng, t, 0.1, beat)
    for side, shoulder, elbow, wrist in ((-1, R_SHOULDER, R_ELBOW, R_WRIST), (1, L_SHOULDER, L_ELBOW, L_WRIST)):
        turn = yaw + twist
        points[shoulder] = neck + facing(
            side * half_shoulder * np.cos(slope), 0.02 * size + side * half_shoulder * np.sin(slope), zero, turn
        )
        raised = np.clip(rng.uniform(0.7, 1.6) + wander(rng, t, 1.4, beat * 1.9), 0.15, 2.75)
        bend = np.clip(rng.uniform(-0.2, 0.5) + wander(rng, t, 2.0, beat * 1.4), -1.9, 2.1)
        ahead = 0.5 * np.abs(wander(rng, t, 1.0, beat * 2))
        reach = upper_arm * np.cos(ahead)
        points[elbow] = points[shoulder] + facing(
            side * reach * np.sin(raised), reach * np.cos(raised), upper_arm * np.sin(ahead), turn
        )
        points[wrist] = points[elbow] + facing(
            side * forearm * np.sin(raised + bend), forearm * np.cos(raised + bend), 0.3 * forearm + zero, turn
        )
    for side, hip, knee, ankle in ((-1, R_HIP, R_KNEE, R_ANKLE), (1, L_HIP, L_KNEE, L_ANKLE)):
        points[hip] = hips + facing(side * half_hip + zero, 0.01 + side * 0.15 * half_hip * np.sin(4 * lean), zero, yaw)
        spread = np.clip(rng.uniform(0.1, 0.3) + wander(rng, t, 0.45, beat * 1.5), -0.3, 0.8)
        lift = np.clip(0.15 + wander(rng, t, 0.95, beat * 1.2), 0, 1.1)
        fold = np.clip(1.4 * lift + wander(rng, t, 0.3, beat), 0.02, 1.9)
        points[knee] = points[hip] + facing(
            side * thigh * np.sin(spread), thigh * np.cos(spread) * np.cos(lift), thigh * np.sin(lift), yaw
        )
        down = spread * (1 - 0.5 * np.sin(lift))
        points[ankle] = points[knee] + facing(
            side * shank * np.sin(down * 0.6), shank * np.cos(down * 0.6) * np.cos(fold - lift),
            -shank * np.sin(fold - lift), yaw,
        )  # fmt: skip
    tilt = 0.6 * lean + wander(rng, t, 0.15, beat)
    look = 0.8 * yaw + wander(rng, t, 0.25, 2.0)
    head = neck + 0.088 * size * np.stack([np.sin(tilt), -np.cos(tilt)], axis=1)
    for index, (x, y, z) in {
        NOSE: (0.0, 0.0, 0.042), R_EYE: (-0.018, -0.017, 0.034), L_EYE: (0.018, -0.017, 0.034),
        R_EAR: (-0.04, -0.006, 0.0), L_EAR: (0.04, -0.006, 0.0),
    }.items():  # fmt: skip
        across = size * (x * np.cos(look) + z * np.sin(look))
        points[index] = head + np.stack(
            [across * np.cos(tilt) - size * y * np.sin(tilt), across * np.sin(tilt) + size * y * np.cos(tilt)], axis=1
        )
    # The lower foot stands on the floor; a soft maximum hands over smoothly from one foot to the other.
    feet = points[[R_ANKLE, L_ANKLE], :, 1]
    lowest = np.log(np.exp(40 * feet).sum(axis=0)) / 40 - np.log(2) / 40 * np.exp(-20 * np.abs(feet[0] - feet[1]))
    points[..., 0] += place
    points[..., 1] += 0.9 - lowest
    # A hand or foot that would leave the picture pulls the whole dancer back.
    low, high = points[..., 0].min(axis=0), points[..., 0].max(axis=0)
    points[..., 0] += np.maximum(0.04 - low, 0) - np.maximum(high - 0.96, 0)
    points = points.clip(0.01, 0.99).round(5)
    return [State(tuple((float(x), float(y)) for x, y in points[:, i])) for i in range(frames)]


def annotate(state: State, size: int) -> dict[str, Any]:
    """`keypoints`: 18 [x, y, confidence], x and y as fractions of the picture's sides (specification 5.5)."""
    return {"keypoints": [[x, y, 1.0] for x, y in state.keypoints]}


def render(state: State, style: Style, size: int) -> Array:
    """The picture of a state in a style: uint8 (size, size, 3), RGB. The same arguments give the same picture."""
    canvas = Canvas(size, size)
    painter = _Painter(canvas, np.asarray(state.keypoints, float), style)
    painter.stage()
    painter.shadow()
    painter.hair_behind()
    painter.legs()
    painter.torso()
    painter.head()
    painter.arms()
    return canvas.finish()


class _Painter:
    """Draws one dancer, back to front."""

    def __init__(self, canvas: Canvas, points: Array, style: Style) -> None:
        self.canvas, self.points, self.style = canvas, points, style
        self.light = np.array([np.cos(style.light_angle), np.sin(style.light_angle)])
        p = points
        self.hips = (p[R_HIP] + p[L_HIP]) / 2
        # A length that all widths hang on: the torso, whose length on the picture changes little.
        self.unit = float(np.linalg.norm(p[NECK] - self.hips)) * 0.5 + 0.5 * 0.245
        face = (p[R_EAR] + p[L_EAR]) / 2
        self.skull = face * 0.75 + p[NOSE] * 0.25
        up = self.skull - p[NECK]
        self.up = up / max(float(np.linalg.norm(up)), 1e-6)
        self.across = np.array([-self.up[1], self.up[0]])
        self.radius = 0.052 * self.unit / 0.245
        self.skin = self.palette(style.skin)
        self.top = self.palette(style.top_colour)
        self.bottom = self.palette(style.bottom_colour)
        self.hair = self.palette(style.hair_colour)

    def palette(self, colour: Colour) -> Array:
        strength = self.style.light_strength
        return ramp(
            mix(colour, (24, 14, 50), 0.2 + 0.4 * strength),
            colour,
            mix(colour, (255, 250, 230), 0.12 + 0.38 * strength),
        )

    def stage(self) -> None:
        canvas, style = self.canvas, self.style
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
        c, d = style.floor_a, style.floor_b
        floor = np.array([[-0.01, HORIZON], [1.01, HORIZON], [1.01, 1.01], [-0.01, 1.01]])
        canvas.graded(floor, ramp(mix(c, (0, 0, 0), 0.3), c, mix(c, (255, 255, 255), 0.12)), floor[0], floor[3])
        if style.floor in ("planks", "tiles"):
            for i in range(-8, 9):
                far = 0.5 + np.array([i, i + 0.5]) * 0.09
                near = 0.5 + (far - 0.5) * 2.6
                if style.floor == "planks" or i % 2:
                    canvas.fill(
                        np.array([[far[0], HORIZON], [far[1], HORIZON], [near[1], 1.01], [near[0], 1.01]]),
                        mix(c, d, 0.75),
                    )
            if style.floor == "tiles":
                for top in (0.665, 0.725, 0.82, 0.95):
                    low = top + 0.02 + 0.1 * (top - HORIZON)
                    canvas.fill(np.array([[-0.01, top], [1.01, top], [1.01, low], [-0.01, low]]), mix(c, d, 0.4))
        elif style.floor == "ring":
            canvas.fill(ellipse([0.5, 0.86], (0.46, 0.13), points=48), d)
            canvas.fill(ellipse([0.5, 0.86], (0.38, 0.1), points=48), mix(c, d, 0.25))
        skirting = np.array([[-0.01, HORIZON - 0.018], [1.01, HORIZON - 0.018], [1.01, HORIZON], [-0.01, HORIZON]])
        canvas.fill(skirting, mix(c, (20, 16, 24), 0.5))
        # The light falls in from one side as a soft pool.
        pool = ellipse([0.5 + 0.3 * self.light[0], 0.3], (0.33, 0.36))
        canvas.soft(pool, (255, 246, 220), 0.16 + 0.26 * style.light_strength, 0.1)

    def shadow(self) -> None:
        feet = self.points[[R_ANKLE, L_ANKLE]]
        for x in feet[:, 0]:
            self.canvas.soft(ellipse([x - 0.07 * self.light[0], 0.928], (0.1, 0.02)), (10, 8, 20), 0.5, 0.014)
        middle = (feet[:, 0].mean() + self.hips[0]) / 2 - 0.1 * self.light[0]
        self.canvas.soft(ellipse([middle, 0.93], (0.15, 0.026)), (10, 8, 20), 0.35, 0.02)

    def limb(self, points: Array, widths: list[float], palette: Array) -> None:
        """A tapering tube through the points, in shadow on one side and lit on the other."""
        k = self.unit / 0.245
        w = np.asarray(widths) * k
        line = np.concatenate([np.linspace(a, b, 5)[:-1] for a, b in pairwise(points)])
        line = np.concatenate([line, points[-1:]])
        wide = np.interp(np.linspace(0, len(w) - 1, len(line)), np.arange(len(w)), w)
        for shift, share, level in ((0.0, 1.0, 50), (0.08, 0.84, 128), (0.22, 0.4, 178)):
            moved = line + self.light * shift * wide[:, None]
            self.canvas.stroke(moved, wide * share, tone(palette, level))
            for joint, width in (
                (moved[0], wide[0]),
                (moved[len(line) // 2], wide[len(line) // 2]),
                (moved[-1], wide[-1]),
            ):
                self.canvas.disc(joint, width * share / 2, tone(palette, level))

    def legs(self) -> None:
        p, style = self.points, self.style
        k = self.unit / 0.245
        # The leg whose foot is higher up the picture is farther away.
        sides = [(R_HIP, R_KNEE, R_ANKLE), (L_HIP, L_KNEE, L_ANKLE)]
        sides.sort(key=lambda side: p[side[2], 1])
        for hip, knee, ankle in sides:
            down = p[ankle] - p[knee]
            down = down / max(float(np.linalg.norm(down)), 1e-6)
            outward = -1.0 if hip == R_HIP else 1.0
            heel = p[ankle] + down * 0.008 * k
            toe = heel + k * np.array([0.035 * outward, 0.024]) + 0.012 * k * down
            self.limb(np.stack([p[hip], p[knee], p[ankle]]), [0.074, 0.054, 0.036], self.skin)
            self.limb(np.stack([heel, (heel + toe) / 2, toe]), [0.04, 0.044, 0.03], self.palette(style.shoe_colour))
            if style.bottom == "trousers":
                hem = p[ankle] - down * 0.012 * k
                self.limb(np.stack([p[hip], p[knee], hem]), [0.084, 0.068, 0.06], self.bottom)
            elif style.bottom == "shorts":
                self.limb(
                    np.stack([p[hip], (p[hip] + p[knee]) / 2, p[hip] * 0.25 + p[knee] * 0.75]),
                    [0.084, 0.08, 0.076],
                    self.bottom,
                )
        if style.bottom in ("skirt", "gown"):
            reach = 0.92 if style.bottom == "skirt" else 1.0
            low = [p[hip] + (p[knee] - p[hip]) * reach for hip, knee, _ in sides]
            if style.bottom == "gown":
                low = [p[knee] + (p[ankle] - p[knee]) * 0.55 for _, knee, ankle in sides]
            low.sort(key=lambda point: point[0])
            flare = 0.05 * k
            hem_left, hem_right = low[0] - [flare, 0], low[1] + [flare, 0]
            waist = self.hips + (p[NECK] - self.hips) * 0.3
            side = np.array([0.058 * k, 0.0])
            hem = curve(np.array([hem_right, (hem_left + hem_right) / 2 + [0, 0.035 * k], hem_left]))
            left = curve(np.array([hem_left, self.hips - side * 1.45, waist - side]))
            right = curve(np.array([waist + side, self.hips + side * 1.45, hem_right]))
            outline = np.concatenate([left, right, hem])
            wide = float(np.ptp(outline[:, 0])) * 0.6
            self.canvas.shaded(outline, self.bottom, outline.mean(axis=0), (wide, 0.3 * k), self.light)
            with self.canvas.clipped(outline):
                for share in (0.2, 0.45, 0.7, 0.9):
                    end = hem_left + (hem_right - hem_left) * share + [0, 0.05 * k]
                    self.canvas.stroke(
                        np.array([waist + side * (2 * share - 1) * 0.8, end]), 0.008 * k, tone(self.bottom, 40)
                    )

    def torso(self) -> None:
        p, style, canvas = self.points, self.style, self.canvas
        k = self.unit / 0.245
        left, right = sorted((R_SHOULDER, L_SHOULDER), key=lambda i: p[i, 0])
        hip_left, hip_right = sorted((R_HIP, L_HIP), key=lambda i: p[i, 0])
        out = np.array([0.03 * k, 0.0])
        waist = self.hips * 0.62 + p[NECK] * 0.38
        top, hem = np.array([0, -0.012 * k]), np.array([0, 0.012 * k])
        arm_hole = np.array([0, 0.04 * k])
        collar = np.array([0.022 * k, 0])
        left_side = [
            p[NECK] - collar + top,
            p[left] - out * 0.7 + top,
            p[left] - out * 0.7 + arm_hole,
            waist - out * 2.1,
        ]
        right_side = [
            waist + out * 2.1,
            p[right] + out * 0.7 + arm_hole,
            p[right] + out * 0.7 + top,
            p[NECK] + collar + top,
        ]
        left_side.append(p[hip_left] - out * 1.25 + hem)
        right_side.insert(0, p[hip_right] + out * 1.25 + hem)
        outline = np.concatenate([curve(np.array(left_side)), curve(np.array(right_side))])
        neck = np.stack([self.skull, p[NECK] * 0.7 + self.skull * 0.3, p[NECK]])
        self.limb(neck, [0.04, 0.038, 0.046], self.skin)
        middle = (p[NECK] + self.hips) / 2
        canvas.shaded(outline, self.top, middle, (0.14 * k, 0.22 * k), self.light)
        second = self.palette(style.top_second)
        spine = self.hips - p[NECK]
        flat = np.array([spine[1], -spine[0]]) / max(float(np.linalg.norm(spine)), 1e-6)
        wide = 0.25 * k * flat
        with canvas.clipped(outline):
            if style.top_pattern == "hoops":
                for share in (0.1, 0.32, 0.54, 0.76, 0.98):
                    here = p[NECK] + spine * share
                    canvas.stroke(np.array([here - wide, here + wide]), 0.027 * k, tone(second, 128))
            elif style.top_pattern == "sash":
                canvas.stroke(np.array([p[left] - out, p[hip_right] + out]), 0.05 * k, tone(second, 140))
            elif style.top_pattern == "halves":
                half = np.array(
                    [
                        p[NECK] - spine * 0.2,
                        self.hips + spine * 0.2,
                        self.hips + spine * 0.2 + wide,
                        p[NECK] - spine * 0.2 + wide,
                    ]
                )
                canvas.shaded(half, second, middle, (0.14 * k, 0.22 * k), self.light)
            elif style.top_pattern == "emblem":
                canvas.disc(p[NECK] + spine * 0.33, 0.036 * k, tone(second, 150))
        canvas.fill(ellipse(p[NECK] + [0, 0.002 * k], (0.03 * k, 0.02 * k)), tone(self.skin, 90))
        if style.bottom in ("trousers", "shorts"):
            low = 0.012 * k
            belt = np.stack([p[hip_left] - out * 1.3, shifted(self.hips, 0, 0.5 * low), p[hip_right] + out * 1.3])
            canvas.stroke(shifted(belt, 0, low), 0.03 * k, tone(self.bottom, 100))

    def arms(self) -> None:
        p, style = self.points, self.style
        for shoulder, elbow, wrist in ((R_SHOULDER, R_ELBOW, R_WRIST), (L_SHOULDER, L_ELBOW, L_WRIST)):
            on = p[wrist] - p[elbow]
            hand = p[wrist] + on / max(float(np.linalg.norm(on)), 1e-6) * 0.022 * self.unit / 0.245
            self.limb(np.stack([p[shoulder], p[elbow], p[wrist]]), [0.05, 0.038, 0.028], self.skin)
            self.limb(np.stack([p[wrist], hand]), [0.034, 0.028], self.skin)
            if style.sleeves == "short":
                self.limb(np.stack([p[shoulder], p[shoulder] * 0.4 + p[elbow] * 0.6]), [0.06, 0.058], self.top)
            elif style.sleeves == "long":
                self.limb(
                    np.stack([p[shoulder], p[elbow], p[elbow] * 0.08 + p[wrist] * 0.92]), [0.06, 0.05, 0.042], self.top
                )

    def on_head(self, x: float, y: float) -> Array:
        """A place on the head: x to the image right, y up, in head radii."""
        return np.asarray(self.skull + self.radius * (x * self.across + y * self.up), float)

    def hair_behind(self) -> None:
        shape, r = self.style.hair_shape, self.radius
        if shape == "long":
            fall = self.points[NECK] * 0.6 + self.hips * 0.4
            left = [
                shifted(fall, -1.15 * r, 0),
                self.on_head(-1.25, 0.0),
                self.on_head(-0.9, 0.95),
                self.on_head(0, 1.3),
            ]
            right = [self.on_head(0.9, 0.95), self.on_head(1.25, 0.0), shifted(fall, 1.15 * r, 0)]
            back = np.concatenate([curve(np.array(left)), curve(np.array(right))])
            self.canvas.shaded(back, self.hair, self.skull, (2.2 * r, 4 * r), self.light)
        elif shape == "afro":
            ball = self.on_head(0, 0.35)
            self.canvas.shaded(ellipse(ball, (1.75 * r, 1.7 * r)), self.hair, ball, (2 * r, 2 * r), self.light)
        elif shape == "tail":
            behind = (self.points[R_EAR] + self.points[L_EAR]) / 2 - self.points[NOSE]
            behind = np.array([np.sign(behind[0]) or 1.0, 0.0]) * r
            tail = curve(
                np.array(
                    [
                        self.on_head(0, 0.8),
                        self.on_head(0, 0.9) + behind * 1.5,
                        self.skull + behind * 2.1 + [0, 1.9 * r],
                    ]
                )
            )
            self.canvas.stroke(tail, np.linspace(0.9, 0.3, len(tail)) * r, tone(self.hair, 110))
        elif shape == "bun":
            knot = self.on_head(0, 1.5)
            self.canvas.shaded(ellipse(knot, (0.6 * r, 0.55 * r)), self.hair, knot, (0.7 * r, 0.7 * r), self.light)

    def head(self) -> None:
        canvas, p, style, r = self.canvas, self.points, self.style, self.radius
        angle = float(np.arctan2(self.across[1], self.across[0]))
        for ear in (R_EAR, L_EAR):
            canvas.disc(p[ear] - 0.1 * r * self.up, 0.24 * r, tone(self.skin, 90))
        canvas.shaded(
            ellipse(self.on_head(0, -0.05), (0.95 * r, 1.2 * r), angle),
            self.skin,
            self.skull,
            (1.1 * r, 1.3 * r),
            self.light,
        )
        for eye in (R_EYE, L_EYE):
            canvas.disc(p[eye], 0.15 * r, (252, 252, 252))
            canvas.disc(p[eye], 0.11 * r, (28, 20, 26))
            brow = p[eye] + 0.32 * r * self.up
            canvas.stroke(
                np.array([brow - 0.2 * r * self.across, brow + 0.2 * r * self.across]),
                0.09 * r,
                tone(self.hair, 60),
            )
        canvas.disc(p[NOSE], 0.11 * r, tone(self.skin, 50))
        mouth = p[NOSE] - 0.42 * r * self.up
        smile = curve(
            np.array(
                [
                    mouth - 0.34 * r * self.across + 0.08 * r * self.up,
                    mouth - 0.06 * r * self.up,
                    mouth + 0.34 * r * self.across + 0.08 * r * self.up,
                ]
            )
        )
        canvas.stroke(smile, 0.12 * r, (176, 52, 62))
        if style.hair_shape != "bald":
            cap = np.array([[-1.05, 0.0], [-1.02, 0.6], [-0.6, 1.18], [0, 1.34], [0.6, 1.18], [1.02, 0.6], [1.05, 0.0],
                            [0.86, 0.4], [0.5, 0.66], [0.0, 0.74], [-0.5, 0.66], [-0.86, 0.4]])  # fmt: skip
            outline = np.stack([self.on_head(x, y) for x, y in cap])
            canvas.shaded(
                np.concatenate([curve(outline[:7]), curve(outline[6:])]),
                self.hair,
                self.skull,
                (1.2 * r, 1.5 * r),
                self.light,
            )
        if style.hat != "none":
            tones = self.palette(style.hat_colour)
            dome = np.array(
                [[-1.12, 0.5], [-0.95, 1.15], [-0.5, 1.55], [0, 1.65], [0.5, 1.55], [0.95, 1.15], [1.12, 0.5]]
            )
            outline = np.stack([self.on_head(x, y) for x, y in dome])
            canvas.shaded(curve(outline), tones, self.on_head(0, 0.9), (1.3 * r, 1.3 * r), self.light)
            if style.hat == "cap":
                peak = np.array([[-1.1, 0.5], [-0.6, 0.75], [0.6, 0.75], [1.1, 0.5], [0.6, 0.42], [-0.6, 0.42]])
                canvas.fill(curve(np.stack([self.on_head(x, y) for x, y in peak])), tone(tones, 40))
            else:
                canvas.stroke(np.stack([self.on_head(-1.15, 0.5), self.on_head(1.15, 0.5)]), 0.4 * r, tone(tones, 60))
                canvas.disc(self.on_head(0, 1.75), 0.3 * r, tone(tones, 200))
