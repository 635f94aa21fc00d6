"""The streets world: a drive along a road.

The label (a Cityscapes train id for each pixel) fixes all geometry. Weather, time of day and the colours of things
are style; the style groups are the 13 of specification 5.3.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from likeness.array import Array
from shards.labels.kinds import CLASSES
from shards.worlds.drawing import Canvas, Colour, ellipse, hsv, mix, ramp, ribbon, wander

KIND = CLASSES

VOID = 255
PER_CLASS = 1000
"""Cityscapes' convention for instance maps: the n-th thing of a class has the number class · 1000 + n."""
(ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS,
 TRAIN, MOTORCYCLE, BICYCLE) = range(19)  # fmt: skip
COUNTED = frozenset({PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE})
"""The classes whose things Cityscapes tells apart; all others are stuff, poles, lights and signs included."""

WEATHERS = ("clear", "partly cloudy", "overcast", "rainy", "snowy", "foggy")
GROUPS: tuple[str, ...] = ("night", *(f"{weather}-{time}" for weather in WEATHERS for time in ("daytime", "dawn/dusk")))

FOCAL = 0.82
CAMERA_HEIGHT = 1.5
NEAR, FAR = 1.6, 130.0
VISIBLE = 80.0
_HEIGHT = 9 / 16

# kind, x and z of its nearest point in metres from the camera, length along the road, height, phase of its motion.
Thing = tuple[str, float, float, float, float, float]


@dataclass(frozen=True)
class State:
    """What the label map knows: the street in the camera's frame, in metres.

    horizon: the horizon's height in the picture, in fractions of its width from the top. bend: curvature of the road,
    1/m. heading: radians, > 0 looks right. offset: the camera's place right of the road's middle.
    half_road, sidewalk: widths. things: what stands and moves there (kind, x, z, length, height, phase).
    """

    horizon: float
    bend: float
    heading: float
    offset: float
    half_road: float
    sidewalk: float
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Style:
    """What the label map does not know.

    group: one of GROUPS, the style key; the rest varies continuously between the videos of a group.
    haze, brightness, warmth: -1..1 around the group's own look. sun: where the sun or moon stands, 0..1 across.
    """

    group: str
    building_left: Colour
    building_right: Colour
    car_ahead: Colour
    car_oncoming: Colour
    clothes: Colour
    foliage: Colour
    pavement: Colour
    sun: float
    haze: float
    brightness: float
    warmth: float


FACTORS: tuple[str, ...] = tuple(Style.__dataclass_fields__)


def height_of(size: int) -> int:
    """The picture's height for a width of `size`: 144 for 256."""
    return size * 9 // 16


def sample_style(rng: np.random.Generator) -> Style:
    """One of the 13 groups, and colours within it."""
    group = GROUPS[rng.integers(len(GROUPS))]

    def colour(hues: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
        return hsv(rng.uniform(*hues), rng.uniform(*saturation), rng.uniform(*value))

    jitter = [round(float(v), 4) for v in rng.uniform(-1, 1, 3)]
    return Style(
        group=group,
        building_left=colour((-0.03, 0.14), (0.15, 0.6), (0.45, 0.9)),
        building_right=colour((-0.05, 0.6), (0.08, 0.45), (0.45, 0.9)),
        car_ahead=colour((0, 1), (0.1, 0.9), (0.3, 0.95)),
        car_oncoming=colour((0, 1), (0.0, 0.9), (0.3, 0.95)),
        clothes=colour((0, 1), (0.3, 0.9), (0.3, 0.9)),
        foliage=colour((0.13, 0.38), (0.4, 0.75), (0.35, 0.62)),
        pavement=colour((0.02, 0.65), (0.02, 0.16), (0.5, 0.75)),
        sun=round(float(rng.uniform(0.08, 0.92)), 4),
        haze=jitter[0],
        brightness=jitter[1],
        warmth=jitter[2],
    )


def sample_states(rng: np.random.Generator, frames: int, fps: float) -> list[State]:
    """One video's drive down a street of random layout, with traffic and people that move.

    rng: decides the street and the motion. frames, fps: how many, and how many for each second.
    """
    t = np.arange(frames) / fps
    speed = np.clip(rng.uniform(4, 9) + wander(rng, t, 4.0, 6.0), 0.5, None)
    travelled = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 / fps)])
    half_road, sidewalk = rng.uniform(4.2, 6.2), rng.uniform(2.0, 3.6)
    lane = half_road / 2
    offset = lane + wander(rng, t, 0.7, 5.0)
    heading = wander(rng, t, 0.05, 4.0)
    bend = rng.uniform(-0.0012, 0.0012) + wander(rng, t, 0.001, 7.0)
    horizon = 0.265 + rng.uniform(-0.02, 0.02) + wander(rng, t, 0.008, 1.1)

    end = float(travelled[-1]) + FAR
    still: list[Thing] = []
    moving: list[tuple[Thing, float, float]] = []  # with speeds along x and z, in m/s
    for side in (-1, 1):
        kerb = side * half_road
        outer = side * (half_road + sidewalk)
        z = rng.uniform(-15, -5)
        while z < end:
            length = float(rng.uniform(9, 20))
            kind = rng.choice(["building", "park", "fence", "wall"], p=[0.6, 0.16, 0.14, 0.1])
            if kind == "building":
                still.append(
                    ("building", outer + side * rng.uniform(0.3, 1.5), z, length - 0.4, rng.uniform(5, 19), 0.0)
                )
            else:
                if kind != "park":
                    still.append((str(kind), outer + side * 0.3, z, length, rng.uniform(1.0, 2.2), 0.0))
                for _ in range(rng.integers(1, 4)):
                    still.append(
                        (
                            "tree",
                            outer + side * rng.uniform(2.5, 7),
                            z + rng.uniform(1, length),
                            0.0,
                            rng.uniform(5, 9),
                            0.0,
                        )
                    )
            z += length
        for z in np.arange(rng.uniform(0, 12), end, rng.uniform(13, 28)):
            if rng.random() < 0.7:
                still.append(("tree", kerb + side * 0.9, float(z), 0.0, rng.uniform(4.5, 7.5), 0.0))
        for z in np.arange(rng.uniform(4, 16), end, rng.uniform(18, 30)):
            still.append(("lamp", kerb + side * 0.5, float(z), 0.0, rng.uniform(6, 8), 0.0))
        for z in np.arange(rng.uniform(6, 25), end, rng.uniform(24, 45)):
            still.append(("sign", kerb + side * 0.7, float(z), 0.0, rng.uniform(2.4, 3.2), float(rng.integers(3))))
        for z in np.arange(rng.uniform(12, 35), end, rng.uniform(35, 60)):
            still.append(("light", kerb + side * 0.45, float(z), 0.0, rng.uniform(3.6, 4.6), 0.0))
        for z in np.arange(rng.uniform(5, 15), end, rng.uniform(8, 16)):
            if rng.random() < 0.45:
                kind = str(rng.choice(["car", "truck", "bicycle", "motorcycle"], p=[0.74, 0.1, 0.1, 0.06]))
                still.append(
                    (f"{kind}{'+' if side > 0 else '-'}", side * (half_road - 1.0), float(z), *_SIZES[kind], 0.0)
                )
        for _ in range(int(end / 13)):
            walk = float(rng.uniform(0.7, 1.6) * rng.choice([-1, 1]))
            place = float(kerb + side * rng.uniform(0.8, sidewalk - 0.4))
            person: Thing = ("person", place, float(rng.uniform(3, end)), 0.0, rng.uniform(1.55, 1.9), rng.random())
            moving.append((person, 0.0, walk))
    for _ in range(int(rng.integers(1, 4))):
        x, z = float(rng.uniform(-1, 1) * half_road), float(rng.uniform(14, end))
        crossing: Thing = ("person", x, z, 0.0, rng.uniform(1.6, 1.9), 0.0)
        moving.append((crossing, float(rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)), 0.0))
    for z in np.arange(rng.uniform(15, 40), end + 9 * t[-1], rng.uniform(26, 44)):
        kind = str(rng.choice(["car", "bus", "truck", "rider", "biker"], p=[0.55, 0.14, 0.11, 0.12, 0.08]))
        moving.append(
            ((f"{kind}-", -lane + 0.2, float(z), *_SIZES[kind], rng.random()), 0.0, -float(rng.uniform(4, 8)))
        )
    cyclist = str(rng.choice(["rider", "biker"]))
    moving.append(
        ((f"{cyclist}+", half_road - 0.9, float(rng.uniform(9, 20)), *_SIZES[cyclist], rng.random()), 0.0,
         float(speed.mean() * rng.uniform(0.6, 1.05)))
    )  # fmt: skip

    leader = str(rng.choice(["car", "bus", "truck"], p=[0.7, 0.15, 0.15]))
    gap = rng.uniform(9, 22) + wander(rng, t, 4.0, 5.0)
    track = str(rng.choice(["train", "none"], p=[0.25, 0.75]))

    def seen(thing: Thing, x: float, z: float, phase: float) -> Thing | None:
        kind, _, _, length, height, _ = thing
        if z > VISIBLE or z + length < NEAR:
            return None
        return kind, round(x, 3), round(z, 3), round(length, 3), round(float(height), 3), round(phase % 1, 3)

    states = []
    for i in range(frames):
        x0, z0 = float(offset[i]), float(travelled[i])
        things = [
            seen(thing, thing[1] - x0, thing[2] - z0, thing[5] if thing[0] != "sign" else thing[5] / 4)
            for thing in still
        ]
        for thing, vx, vz in moving:
            x, z = thing[1] + vx * float(t[i]), thing[2] + vz * float(t[i])
            pace = 0.9 if thing[0] == "person" else 1.2
            things.append(seen(thing, x - x0, z - z0, thing[5] + pace * float(t[i])))
        ahead: Thing = (f"{leader}+", 0.0, 0.0, *_SIZES[leader], 0.0)
        things.append(seen(ahead, lane - x0, float(gap[i]), 0.0))
        if track == "train":
            tram: Thing = ("train-", 0.0, 0.0, *_SIZES["train"], 0.0)
            things.append(seen(tram, -lane - x0, float(70 - 9 * t[i] + (40 if t[i] > 8 else 0)), 0.0))
        states.append(
            State(
                horizon=round(float(horizon[i]), 5),
                bend=round(float(bend[i]), 6),
                heading=round(float(heading[i]), 5),
                offset=round(x0, 3),
                half_road=round(float(half_road), 3),
                sidewalk=round(float(sidewalk), 3),
                things=tuple(thing for thing in things if thing is not None),
            )
        )
    return states


# Length and height in metres.
_SIZES: dict[str, tuple[float, float]] = {
    "car": (4.2, 1.5), "truck": (7.0, 3.0), "bus": (10.5, 3.1), "train": (24.0, 3.5), "bicycle": (1.6, 1.05),
    "motorcycle": (1.9, 1.15), "rider": (1.7, 1.75), "biker": (2.0, 1.6),
}  # fmt: skip


def annotate(state: State, size: int) -> dict[str, Any]:
    """Nothing: the label is the picture that `class_ids` gives."""
    return {}


def class_ids(state: State, size: int) -> Array:
    """Cityscapes train ids 0..18, 255 for the own bonnet: uint8 (size * 9 // 16, size). Not anti-aliased."""
    brush = _IdBrush(size, height_of(size))
    _paint(state, brush)
    return brush.finish()


def instance_ids(state: State, size: int) -> Array:
    """Which thing each pixel shows: uint16 (size * 9 // 16, size), as fine as `class_ids`.

    Stuff and void have their class id. A part of a thing of a class in COUNTED has class · 1000 + the thing's place in
    `state.things`, so that a rider and the cycle below are two instances, as in Cityscapes.
    """
    brush = _InstanceBrush(size, height_of(size))
    _paint(state, brush)
    return brush.finish()


def render(state: State, style: Style, size: int) -> Array:
    """The picture of a state in a style: uint8 (size * 9 // 16, size, 3), RGB.

    The same arguments give the same picture.
    """
    brush = _ColourBrush(size, height_of(size), style, state)
    _paint(state, brush)
    return brush.finish()


class _Brush(Protocol):
    """What a street is drawn with. Points are in fractions of the width; z is the distance in metres."""

    def sky(self, horizon: float) -> None: ...

    def ground(self, points: Array, train_id: int, paint: str) -> None: ...

    def begin(self, number: int) -> None:
        """What comes next belongs to the thing of this place in the state."""

    def put(self, points: Array, train_id: int, paint: str, z: float, shade: float = 1.0) -> None:
        """A part of a thing of a class."""

    def deck(self, polygons: Array, paint: str, z: float, shade: float = 1.0) -> None:
        """Decoration (n, corners, 2) within a thing, which the label map does not show."""

    def glow(self, centre: Array, radius: float, paint: str, z: float) -> None: ...


class _IdBrush:
    """Draws train ids, three times as fine as the picture, so that each pixel's centre is sampled."""

    def __init__(self, width: int, height: int) -> None:
        self.unit = width * 3
        self.ids: Array = np.full((height * 3, width * 3), SKY, np.uint8)

    def finish(self) -> Array:
        return np.ascontiguousarray(self.ids[1::3, 1::3])

    def sky(self, horizon: float) -> None:
        self.ids[:] = SKY

    def ground(self, points: Array, train_id: int, paint: str) -> None:
        self.put(points, train_id, paint, 0.0)

    def begin(self, number: int) -> None:
        pass

    def put(self, points: Array, train_id: int, paint: str, z: float, shade: float = 1.0) -> None:
        corners = np.rint((points * self.unit - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(self.ids, [corners], train_id, cv2.LINE_8, 4)

    def deck(self, polygons: Array, paint: str, z: float, shade: float = 1.0) -> None:
        pass

    def glow(self, centre: Array, radius: float, paint: str, z: float) -> None:
        pass


class _InstanceBrush(_IdBrush):
    """Draws instance numbers where the other one draws train ids."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        self.ids = self.ids.astype(np.uint16)
        self.number = 0

    def begin(self, number: int) -> None:
        self.number = number

    def put(self, points: Array, train_id: int, paint: str, z: float, shade: float = 1.0) -> None:
        value = train_id * PER_CLASS + self.number if train_id in COUNTED else train_id
        super().put(points, value, paint, z, shade)


@dataclass(frozen=True)
class _Look:
    """A group's own look: colours of the sky, of the light on things, of the distance, and how far one sees."""

    zenith: Colour
    low: Colour
    light: tuple[float, float, float]
    haze: Colour
    sight: float
    contrast: float = 1.0


_LOOKS: dict[str, _Look] = {
    "night": _Look((8, 10, 34), (40, 42, 78), (0.36, 0.38, 0.54), (30, 32, 60), 90),
    "clear-daytime": _Look((38, 110, 214), (166, 212, 246), (1.08, 1.05, 0.98), (186, 214, 238), 420),
    "clear-dawn/dusk": _Look((52, 58, 130), (255, 148, 62), (0.92, 0.66, 0.55), (238, 144, 92), 190),
    "partly cloudy-daytime": _Look((74, 142, 216), (206, 226, 242), (0.98, 0.98, 0.98), (200, 216, 232), 300),
    "partly cloudy-dawn/dusk": _Look((84, 66, 138), (246, 136, 128), (0.84, 0.62, 0.66), (212, 128, 140), 170),
    "overcast-daytime": _Look((148, 156, 166), (206, 210, 212), (0.78, 0.8, 0.83), (190, 196, 200), 170),
    "overcast-dawn/dusk": _Look((84, 82, 108), (170, 142, 150), (0.56, 0.52, 0.6), (140, 124, 138), 120),
    "rainy-daytime": _Look((96, 108, 122), (150, 162, 172), (0.6, 0.65, 0.72), (140, 152, 164), 75),
    "rainy-dawn/dusk": _Look((48, 52, 84), (118, 100, 118), (0.42, 0.4, 0.52), (96, 86, 110), 70),
    "snowy-daytime": _Look((186, 196, 208), (226, 232, 238), (0.9, 0.93, 0.99), (220, 228, 236), 80),
    "snowy-dawn/dusk": _Look((110, 106, 156), (206, 170, 190), (0.68, 0.64, 0.8), (176, 154, 184), 75),
    "foggy-daytime": _Look((204, 208, 210), (216, 219, 220), (0.84, 0.86, 0.88), (212, 216, 218), 26, 0.8),
    "foggy-dawn/dusk": _Look((168, 142, 140), (206, 172, 150), (0.68, 0.58, 0.56), (192, 160, 146), 24, 0.8),
}

_PAINTS: dict[str, Colour] = {
    "road": (88, 88, 94), "line": (232, 232, 226), "kerb": (150, 150, 150), "grass": (96, 134, 62),
    "wall": (166, 140, 116), "fence": (92, 96, 104), "pole": (78, 82, 88), "box": (34, 36, 40), "red": (236, 46, 38),
    "amber": (250, 180, 40), "green": (48, 210, 100), "blue": (38, 92, 196), "white": (240, 240, 240),
    "glass": (74, 92, 112), "dark": (26, 26, 30), "skin": (222, 172, 138), "trousers": (52, 56, 84),
    "bonnet": (40, 44, 54), "trunk": (96, 72, 52), "door": (86, 60, 46), "bus": (226, 170, 40),
    "truck": (200, 206, 212), "cab": (180, 60, 50), "train": (196, 50, 60), "cream": (238, 228, 206),
    "lamp": (255, 240, 200), "tail": (226, 36, 40), "head": (255, 250, 226), "gable": (120, 92, 84),
    "tyre": (24, 24, 26),
}  # fmt: skip

# What shines by itself is not darkened by the night.
_SHINING = frozenset({"red", "amber", "green", "lamp", "tail", "head", "lit"})


class _ColourBrush:
    """Draws a street in the weather and light of a style."""

    def __init__(self, width: int, height: int, style: Style, state: State) -> None:
        self.canvas = Canvas(width, height)
        self.style, self.state = style, state
        look = _LOOKS[style.group]
        self.weather, _, self.time = style.group.partition("-")
        self.night = style.group == "night"
        self.snow, self.rain = self.weather == "snowy", self.weather == "rainy"
        tint = np.array([1 + 0.07 * style.warmth, 1.0, 1 - 0.07 * style.warmth])
        self.light = np.array(look.light) * (1 + 0.12 * style.brightness) * tint
        self.sight = look.sight * (1 - 0.25 * style.haze)
        self.haze = np.array(look.haze) * tint
        self.zenith = tuple(np.clip(np.array(look.zenith) * tint * (1 + 0.08 * style.brightness), 0, 255))
        self.low = tuple(np.clip(np.array(look.low) * tint, 0, 255))
        bare = {**_PAINTS, "leaf": style.foliage, "clothes": style.clothes, "ahead": style.car_ahead}
        bare |= {"oncoming": style.car_oncoming, "left": style.building_left, "right": style.building_right}
        bare |= {"pavement": style.pavement, "lit": (255, 214, 130)}
        bare["grass"] = mix(_PAINTS["grass"], style.foliage, 0.5)
        if self.snow:
            cover = {
                "road": 0.5,
                "pavement": 0.75,
                "grass": 0.92,
                "leaf": 0.6,
                "gable": 0.7,
                "bonnet": 0.25,
                "kerb": 0.6,
            }
            bare |= {name: mix(bare[name], (246, 248, 252), share) for name, share in cover.items()}
        if self.rain:
            bare |= {name: mix(bare[name], (18, 22, 32), 0.35) for name in ("road", "pavement", "kerb")}
        self.lit = {
            name: tuple(map(float, colour if name in _SHINING else np.array(colour) * self.light))
            for name, colour in bare.items()
        }
        self.mist = tuple(map(float, self.haze))
        self.glows: list[tuple[Array, float, Colour, float, Colour]] = []

    def seen(self, paint: str, z: float, shade: float = 1.0) -> Colour:
        """A paint as it looks at a distance: lit, then lost in the haze."""
        share = math.exp(-max(z, 0.0) / self.sight)
        if paint in _SHINING:
            shade = 1.0
        r, g, b = (
            min(255, int(base * shade * share + mist * (1 - share)))
            for base, mist in zip(self.lit[paint], self.mist, strict=True)
        )
        return r, g, b

    def sky(self, horizon: float) -> None:
        canvas, style = self.canvas, self.style
        page = np.array([[-0.01, -0.01], [1.01, -0.01], [1.01, _HEIGHT], [-0.01, _HEIGHT]])
        middle = mix(self.zenith, self.low, 0.45)
        canvas.graded(page, ramp(self.zenith, middle, self.low), np.zeros(2), np.array([0.0, horizon]))
        if self.night:
            stars = np.random.default_rng(7).random((46, 2)) * [1.0, horizon * 0.9]
            for i, star in enumerate(stars):
                canvas.disc(star, 0.0011 + 0.0008 * (i % 3 == 0), (206, 212, 240))
            canvas.soft(ellipse([style.sun, 0.07], (0.05, 0.05)), (170, 180, 220), 0.5, 0.03)
            canvas.disc(np.array([style.sun, 0.07]), 0.02, (240, 240, 226))
        elif self.time == "dawn/dusk" and self.weather in ("clear", "partly cloudy", "foggy"):
            strength = 0.3 if self.weather == "foggy" else 0.85
            sun = np.array([style.sun, horizon - 0.035])
            canvas.soft(ellipse(sun, (0.14, 0.08)), (255, 226, 150), strength, 0.05)
            canvas.disc(sun, 0.026, mix(self.low, (255, 246, 206), strength))
        elif self.weather in ("clear", "partly cloudy"):
            sun = np.array([style.sun, 0.06])
            canvas.soft(ellipse(sun, (0.06, 0.06)), (255, 255, 236), 0.8, 0.04)
            canvas.disc(sun, 0.022, (255, 255, 244))
        if self.weather in ("partly cloudy", "overcast", "rainy"):
            grey = self.weather != "partly cloudy"
            rng = np.random.default_rng(int(style.sun * 1e4))
            for _ in range(12 if grey else 7):
                x, y, wide = rng.uniform(-0.1, 1.1), rng.uniform(0.0, horizon * 0.75), rng.uniform(0.08, 0.2)
                bright = mix(self.low, (255, 255, 255), 0.55)
                colour = mix(self.zenith, (30, 32, 44), rng.uniform(0.1, 0.3)) if grey else bright
                if grey:
                    canvas.soft(ellipse([x, y], (wide, 0.03)), colour, 0.5, 0.02)
                    continue
                under = mix(bright, self.zenith, 0.4)
                for dx, dy, r in ((-0.55, 0.0, 0.3), (0.0, -0.12, 0.45), (0.5, 0.0, 0.34), (0.15, 0.06, 0.3)):
                    canvas.fill(
                        ellipse([x + dx * wide, y + dy * wide + 0.008], (r * wide * 1.3, r * wide * 0.6)), under
                    )
                for dx, dy, r in ((-0.55, 0.0, 0.3), (0.0, -0.12, 0.45), (0.5, 0.0, 0.34), (0.15, 0.06, 0.3)):
                    canvas.fill(ellipse([x + dx * wide, y + dy * wide], (r * wide * 1.25, r * wide * 0.55)), bright)

    def ground(self, points: Array, train_id: int, paint: str) -> None:
        horizon = self.state.horizon
        down = np.linspace(1e-4, _HEIGHT - horizon, 256)
        share = np.exp(-(FOCAL * CAMERA_HEIGHT / down) / self.sight)[:, None]
        base = np.array(self.lit[paint])
        if self.rain and train_id == ROAD:
            base = base + (np.array(self.low) - base) * np.linspace(0.45, 0.05, 256)[:, None]
        if self.night:
            # Our own headlights.
            base = base + np.array([74, 68, 50]) * np.exp(-(((down - 0.11) / 0.06) ** 2))[:, None]
        tones = np.clip(base * share + self.haze * (1 - share), 0, 255).astype(np.uint8)
        self.canvas.graded(points, tones, np.array([0.0, horizon]), np.array([0.0, _HEIGHT]))

    def begin(self, number: int) -> None:
        pass

    def put(self, points: Array, train_id: int, paint: str, z: float, shade: float = 1.0) -> None:
        self.canvas.fill(points, self.seen(paint, z, shade))

    def deck(self, polygons: Array, paint: str, z: float, shade: float = 1.0) -> None:
        if paint == "window":
            if self.night or (self.time == "dawn/dusk" and self.weather != "clear"):
                every = 2 if self.night else 4
                self.canvas.fills(polygons[::every], self.seen("lit", z))
                rest = np.ones(len(polygons), bool)
                rest[::every] = False
                self.canvas.fills(polygons[rest], self.seen("glass", z, 0.8))
                return
            self.canvas.fills(polygons, mix(self.seen("glass", z), self.low, 0.25 * float(np.exp(-z / self.sight))))
            return
        self.canvas.fills(polygons, self.seen(paint, z, shade))

    def glow(self, centre: Array, radius: float, paint: str, z: float) -> None:
        dim = {"night": 1.0, "dawn/dusk": 0.55}.get("night" if self.night else self.time, 0.0)
        if self.weather in ("rainy", "foggy", "snowy") and not self.night:
            dim = max(dim, 0.3)
        if dim and 0 <= centre[0] < 1 and 0 <= centre[1] < _HEIGHT:
            strength = dim * math.exp(-z / (2 * self.sight))
            self.glows.append((centre, radius, self.seen(paint, 0), strength, self.under(centre)))

    def under(self, point: Array) -> Colour:
        """What the canvas shows at a point within the picture."""
        rows, columns, _ = self.canvas.pixels.shape
        x, y = (int(c * self.canvas.unit) for c in point)
        red, green, blue = self.canvas.pixels[min(y, rows - 1), min(x, columns - 1)].tolist()
        return red, green, blue

    def finish(self) -> Array:
        canvas = self.canvas
        # A lamp over which something else has been painted is hidden.
        seen = [glow for glow in self.glows if self.under(glow[0]) == glow[4]]
        if seen:
            # All halos in one small layer, which is then added as light.
            scale = canvas.unit / 4
            layer = np.zeros((canvas.pixels.shape[0] // 4, canvas.pixels.shape[1] // 4, 3), np.uint8)
            for centre, radius, colour, strength, _ in seen:
                spots = [(centre, radius, strength)]
                if self.rain:
                    spots.append(
                        (np.array([centre[0], 2 * self.state.horizon - centre[1] + 0.1]), radius, 0.35 * strength)
                    )
                for place, reach, power in spots:
                    x, y = (round(float(c) * scale * 16 - 8) for c in place)
                    for share in (1.0, 0.7, 0.4):
                        tone = mix((0, 0, 0), colour, min(1.0, 0.75 * power * (1.25 - share)))
                        cv2.circle(layer, (x, y), max(round(reach * share * scale * 16), 8), tone, -1, cv2.LINE_AA, 4)
            layer = cv2.GaussianBlur(layer, (0, 0), 0.008 * scale)
            canvas.pixels = cv2.add(canvas.pixels, cv2.resize(layer, canvas.pixels.shape[1::-1]))
        if self.rain or self.snow:
            self.falling()
        return canvas.finish()

    def falling(self) -> None:
        """Streaks or flakes, other ones in every frame."""
        state = self.state
        rng = np.random.default_rng(zlib.crc32(repr((state.horizon, state.offset, state.things[:3])).encode()))
        if self.rain:
            at = rng.random((150, 2)) * [1.1, _HEIGHT]
            long = rng.uniform(0.02, 0.055, (150, 1)) * [-0.18, 1.0]
            wide = np.array([[0.0016, 0.0]])
            streaks = np.stack([at, at + wide, at + long + wide * 0.5, at + long], axis=1)
            before = self.canvas.pixels.copy()
            self.canvas.fills(streaks, mix(self.low, (255, 255, 255), 0.5))
            self.canvas.pixels = cv2.addWeighted(before, 0.55, self.canvas.pixels, 0.45, 0)
            return
        for (x, y), radius in zip(rng.random((170, 2)) * [1.0, _HEIGHT], rng.gamma(2.0, 0.0011, 170), strict=True):
            self.canvas.disc(
                np.array([x, y]), min(float(radius) + 0.0008, 0.0075), mix(self.low, (255, 255, 255), 0.75)
            )


class _View:
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


def _paint(state: State, brush: _Brush) -> None:
    """Walks through the street from far to near."""
    view = _View(state)
    brush.sky(state.horizon)
    _grounds(state, view, brush)
    # A thing is drawn at its far end's turn, so that what stands before a long front comes after it.
    for number, thing in sorted(enumerate(state.things), key=lambda entry: -(entry[1][2] + entry[1][3])):
        if not view.hidden(thing):
            brush.begin(number)
            _THINGS[thing[0].rstrip("+-")](thing, view, brush)
    bonnet = np.array([[0.08, 0.57], [0.2, 0.542], [0.38, 0.53], [0.62, 0.53], [0.8, 0.542], [0.92, 0.57]])
    brush.put(bonnet, VOID, "bonnet", 0.0)
    brush.deck(np.array([[[0.3, 0.546], [0.42, 0.536], [0.5, 0.535], [0.44, 0.55]]]), "glass", 0.0, 1.2)


def _grounds(state: State, view: _View, brush: _Brush) -> None:
    far = float(view.at(0.0, 0.0, FAR)[1])
    low = _HEIGHT + 0.02
    # Hills with woods close the view; their outline stands still, like all that is far away.
    x = np.linspace(-0.02, 1.02, 27)
    shift = 5.0 * state.heading
    ridge = 0.014 + 0.011 * np.sin(7 * (x + shift)) + 0.006 * np.sin(19 * (x + shift) + 1)
    hills = np.stack([x, state.horizon - ridge], axis=1)
    brush.put(np.concatenate([hills, [[1.02, far + 0.01], [-0.02, far + 0.01]]]), VEGETATION, "leaf", FAR * 0.55)
    brush.ground(np.array([[-0.02, far], [1.02, far], [1.02, low], [-0.02, low]]), TERRAIN, "grass")
    z = np.array([NEAR, 2, 2.5, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 55, 75, 100, FAR])

    def strip(left: float, right: float) -> Array:
        outline = [view.at(left - state.offset, 0.0, z), view.at(right - state.offset, 0.0, z)[::-1]]
        return np.concatenate(outline)

    edge, outer = state.half_road, state.half_road + state.sidewalk
    brush.ground(strip(-outer, outer), SIDEWALK, "pavement")
    brush.ground(strip(-edge, edge), ROAD, "road")
    for side in (-1, 1):
        brush.deck(strip(side * edge, side * (edge + 0.22))[None], "kerb", 12.0)
        brush.deck(strip(side * (edge - 2.05), side * (edge - 1.95))[None], "line", 12.0, 0.9)
        brush.deck(strip(side * 0.1, side * 0.22)[None], "line", 12.0)


def _quad(view: _View, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Array:
    """An upright rectangle from (x0, z0) to (x1, z1) and y0 to y1."""
    return view.at([x[0], x[1], x[1], x[0]], [y[0], y[0], y[1], y[1]], [z[0], z[1], z[1], z[0]])


def _grid(view: _View, x: float, z: tuple[float, float], y: tuple[float, float], step: float, fill: float) -> Array:
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


def _building(thing: Thing, view: _View, brush: _Brush) -> None:
    _, x, z, length, height, _ = thing
    side = "left" if x + view.state.offset < 0 else "right"
    out = -14.0 if side == "left" else 14.0
    start, end = max(z, NEAR), z + length
    if z > NEAR:
        brush.put(_quad(view, (x, x + out), (0, height), (z, z)), BUILDING, side, z, 0.72)
        panes = [
            view.at([x + out * a, x + out * (a + 0.1), x + out * (a + 0.1), x + out * a], [y, y, y + 1.5, y + 1.5], z)
            for a in (0.1, 0.32, 0.54) for y in np.arange(1.6, height - 1.6, 3.0)
        ]  # fmt: skip
        if z < 60 and panes:
            brush.deck(np.stack(panes), "window", z)
    brush.put(_quad(view, (x, x), (0, height), (start, end)), BUILDING, side, (start + end) / 2)
    middle = (start + end) / 2
    brush.deck(_quad(view, (x, x), (height - 0.35, height), (start, end))[None], "gable", middle, 0.9)
    brush.deck(_quad(view, (x, x), (0, 0.5), (start, end))[None], side, middle, 0.6)
    if start < 70:
        brush.deck(_grid(view, x, (z + 0.4, end - 0.4), (2.6, height - 0.5), 2.8, 0.5), "window", middle)
        brush.deck(_grid(view, x, (z + 0.8, end - 0.8), (0.2, 2.6), 4.6, 0.42), "door", middle)


def _tree(thing: Thing, view: _View, brush: _Brush) -> None:
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


def _barrier(thing: Thing, view: _View, brush: _Brush) -> None:
    kind, x, z, length, height, _ = thing
    start, end = max(z, NEAR), z + length
    quad = _quad(view, (x, x), (0, height), (start, end))
    middle = (start + end) / 2
    if kind == "wall":
        brush.put(quad, WALL, "wall", middle, 0.85)
        brush.deck(_quad(view, (x, x), (height - 0.2, height), (start, end))[None], "wall", middle, 1.1)
        return
    brush.put(quad, FENCE, "fence", middle, 1.2)
    posts = np.arange(z, end, 0.7)
    posts = posts[posts > NEAR]
    if len(posts) and start < 45:
        gaps = np.stack([_quad(view, (x, x), (0.12, height - 0.15), (p + 0.12, p + 0.62)) for p in posts])
        brush.deck(gaps, "fence", middle, 0.65)


def _lamp(thing: Thing, view: _View, brush: _Brush) -> None:
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


def _sign(thing: Thing, view: _View, brush: _Brush) -> None:
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


def _signal(thing: Thing, view: _View, brush: _Brush) -> None:
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


def _vehicle(thing: Thing, view: _View, brush: _Brush) -> None:
    kind, x, z, length, height, _ = thing
    name, oncoming = kind[:-1], kind.endswith("-")
    if z < NEAR + 0.3:
        return
    train_id = {"car": CAR, "truck": TRUCK, "bus": BUS, "train": TRAIN}[name]
    half = {"car": 0.9, "truck": 1.15, "bus": 1.25, "train": 1.3}[name]
    paint = {"car": "oncoming" if oncoming else "ahead", "truck": "truck", "bus": "bus", "train": "train"}[name]
    end = z + length
    side = x + half if x < 0 else x - half
    board = view.flat(x, z)
    shadow = view.at(
        [x - half - 0.2, x + half + 0.2, x + half + 0.1, x - half - 0.1], 0.0, [z - 0.3, z - 0.3, end, end]
    )
    brush.deck(shadow[None], "tyre", z, 0.5)
    waist = 0.85 if name == "car" else height
    clear = 0.28
    wheels = [
        board(
            np.array([[s * (half - 0.05), 0], [s * (half - 0.3), 0], [s * (half - 0.3), 0.6], [s * (half - 0.05), 0.6]])
        )
        for s in (-1, 1)
    ]
    for wheel in wheels:
        brush.put(wheel, train_id, "tyre", z)
    brush.put(_quad(view, (side, side), (clear, waist), (z, end)), train_id, paint, z, 0.78)
    for place in (0.2, 0.8):
        middle = z + length * place
        around = 0.36 * ellipse([0, 0], (1, 1), points=14)
        wheel = view.at(side, np.maximum(around[:, 1] + 0.34, 0.0), middle + around[:, 0])
        brush.put(wheel, train_id, "tyre", z)
    if name == "car":
        sunk = half - 0.18
        roof = side - 0.18 * np.sign(side - x)
        front, back = z + length * 0.12, end - length * 0.28
        cabin = view.at(
            [side, side, roof, roof], [waist, waist, height, height], [z + 0.1, end - 0.7, back, front + 0.3]
        )
        brush.put(cabin, train_id, paint, z, 0.7)
        glass = view.at([side, side, roof, roof], [waist + 0.05, waist + 0.05, height - 0.1, height - 0.1],
                        [z + 0.5, end - 1.0, back - 0.1, front + 0.5])  # fmt: skip
        brush.deck(glass[None], "glass", z)
        tail = board(
            [
                [-half, clear],
                [half, clear],
                [half, waist - 0.08],
                [half - 0.08, waist],
                [-half + 0.08, waist],
                [-half, waist - 0.08],
            ]
        )
        brush.put(tail, train_id, paint, z)
        brush.put(
            board([[-half + 0.06, waist], [half - 0.06, waist], [sunk - 0.06, height], [-sunk + 0.06, height]]),
            train_id,
            paint,
            z,
            0.92,
        )
        pane = [
            [-half + 0.18, waist + 0.04],
            [half - 0.18, waist + 0.04],
            [sunk - 0.14, height - 0.1],
            [-sunk + 0.14, height - 0.1],
        ]
        brush.deck(board(pane)[None], "glass", z)
        brush.deck(
            board([[-half, clear], [half, clear], [half, clear + 0.14], [-half, clear + 0.14]])[None], "dark", z, 1.2
        )
        brush.deck(board([[-0.25, 0.46], [0.25, 0.46], [0.25, 0.58], [-0.25, 0.58]])[None], "white", z, 0.9)
        lamp_y = 0.62
    else:
        brush.put(board([[-half, clear], [half, clear], [half, height], [-half, height]]), train_id, paint, z)
        lamp_y = 0.7
        if name == "truck" and not oncoming:
            brush.deck(
                board([[-0.03, 0.7], [0.03, 0.7], [0.03, height - 0.2], [-0.03, height - 0.2]])[None], "dark", z, 1.6
            )
            brush.deck(board([[-half, clear], [half, clear], [half, 0.55], [-half, 0.55]])[None], "dark", z)
        else:
            low = 1.35
            brush.deck(
                board(
                    [[-half + 0.12, low], [half - 0.12, low], [half - 0.18, height - 0.4], [-half + 0.18, height - 0.4]]
                )[None],
                "glass",
                z,
            )
            brush.deck(board([[-half, clear], [half, clear], [half, 0.5], [-half, 0.5]])[None], "dark", z)
        if name == "truck":
            brush.deck(_quad(view, (side, side), (clear, height * 0.8), (end - 2.0, end))[None], "cab", z, 0.8)
        else:
            brush.deck(_quad(view, (side, side), (1.4, height - 0.45), (z + 0.4, end - 0.4))[None], "glass", z)
            brush.deck(_quad(view, (side, side), (0.95, 1.12), (z, end))[None], "cream", z, 0.9)
    for s in (-1, 1):
        lamp = board(ellipse([s * (half - 0.22), lamp_y], (0.17, 0.1), points=12))
        brush.deck(lamp[None], "head" if oncoming else "tail", z)
        brush.glow(board([[s * (half - 0.22), lamp_y]])[0], (0.5 if oncoming else 0.3) * FOCAL / z + 0.003,
                   "head" if oncoming else "tail", z)  # fmt: skip


def _person(thing: Thing, view: _View, brush: _Brush) -> None:
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


def _cycle(thing: Thing, view: _View, brush: _Brush) -> None:
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


_THINGS: dict[str, Callable[[Thing, _View, _Brush], None]] = {
    "building": _building, "tree": _tree, "fence": _barrier, "wall": _barrier, "lamp": _lamp, "sign": _sign,
    "light": _signal, "car": _vehicle, "truck": _vehicle, "bus": _vehicle, "train": _vehicle, "person": _person,
    "bicycle": _cycle, "motorcycle": _cycle, "rider": _cycle, "biker": _cycle,
}  # fmt: skip
