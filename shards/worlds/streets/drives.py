"""Drives down streets of random layout: where the camera goes, what stands there, and who moves how."""

from dataclasses import dataclass

import numpy as np

from likeness.array import Array
from shards.worlds.drawing import wander
from shards.worlds.streets.street import FAR, NEAR, SIZES, VISIBLE, State, Thing

Moving = tuple[Thing, float, float]
"""A thing at the start of the drive, and its speeds along x and z in m/s."""


@dataclass(frozen=True)
class _Drive:
    """The camera's way; arrays have one value per frame."""

    t: Array
    """Seconds since the start."""
    speed: Array
    """Metres per second."""
    travelled: Array
    """Metres along the road."""
    half_road: float
    """Half of the road's width, as in State."""
    sidewalk: float
    """The pavement's width, as in State."""
    offset: Array
    """The camera's place right of the road's middle, in metres."""
    heading: Array
    """Where the camera looks, in radians; above 0 to the right."""
    bend: Array
    """Curvature of the road, 1/m."""
    horizon: Array
    """The horizon's height in the picture, in fractions of its width from the top."""

    @property
    def lane(self) -> float:
        """The middle of a lane, in metres from the middle of the road."""
        return self.half_road / 2

    @property
    def end(self) -> float:
        """How far along the road anything can come into sight, in metres from the start."""
        return float(self.travelled[-1]) + FAR


def sample_states(rng: np.random.Generator, frames: int, fps: float) -> list[State]:
    """One video's drive down a street of random layout, with traffic and people that move.

    rng: decides the street and the motion. frames, fps: how many, and how many for each second.
    """
    # The order of the draws is a part of the world: another one would be another street for every seed.
    drive = _drive(rng, frames, fps)
    still: list[Thing] = []
    moving: list[Moving] = []
    for side in (-1, 1):
        still += _fronts(rng, drive, side) + _kerbside(rng, drive, side) + _parked(rng, drive, side)
        moving += _walkers(rng, drive, side)
    moving += _crossing(rng, drive) + _oncoming(rng, drive) + [_cyclist(rng, drive)]
    leader = str(rng.choice(["car", "bus", "truck"], p=[0.7, 0.15, 0.15]))
    gap = rng.uniform(9, 22) + wander(rng, drive.t, 4.0, 5.0)
    tram = str(rng.choice(["train", "none"], p=[0.25, 0.75])) == "train"
    states = []
    for i in range(frames):
        things = _standing(still, drive, i) + _on_their_way(moving, drive, i)
        ahead: Thing = (f"{leader}+", 0.0, 0.0, *SIZES[leader], 0.0)
        things.append(_seen(ahead, drive.lane - float(drive.offset[i]), float(gap[i]), 0.0))
        if tram:
            things.append(_tram(drive, i))
        states.append(_state(drive, i, things))
    return states


def _drive(rng: np.random.Generator, frames: int, fps: float) -> _Drive:
    t = np.arange(frames) / fps
    speed = np.clip(rng.uniform(4, 9) + wander(rng, t, 4.0, 6.0), 0.5, None)
    half_road, sidewalk = rng.uniform(4.2, 6.2), rng.uniform(2.0, 3.6)
    return _Drive(
        t=t,
        speed=speed,
        travelled=np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 / fps)]),
        half_road=half_road,
        sidewalk=sidewalk,
        offset=half_road / 2 + wander(rng, t, 0.7, 5.0),
        heading=wander(rng, t, 0.05, 4.0),
        bend=rng.uniform(-0.0012, 0.0012) + wander(rng, t, 0.001, 7.0),
        horizon=0.265 + rng.uniform(-0.02, 0.02) + wander(rng, t, 0.008, 1.1),
    )


def _fronts(rng: np.random.Generator, drive: _Drive, side: int) -> list[Thing]:
    """Buildings behind the pavement of a side (-1 left, 1 right), and parks with trees between them."""
    things: list[Thing] = []
    outer = side * (drive.half_road + drive.sidewalk)
    z = rng.uniform(-15, -5)
    while z < drive.end:
        length = float(rng.uniform(9, 20))
        kind = rng.choice(["building", "park", "fence", "wall"], p=[0.6, 0.16, 0.14, 0.1])
        if kind == "building":
            things.append(("building", outer + side * rng.uniform(0.3, 1.5), z, length - 0.4, rng.uniform(5, 19), 0.0))
        else:
            if kind != "park":
                things.append((str(kind), outer + side * 0.3, z, length, rng.uniform(1.0, 2.2), 0.0))
            for _ in range(rng.integers(1, 4)):
                x, beside = outer + side * rng.uniform(2.5, 7), z + rng.uniform(1, length)
                things.append(("tree", x, beside, 0.0, rng.uniform(5, 9), 0.0))
        z += length
    return things


def _kerbside(rng: np.random.Generator, drive: _Drive, side: int) -> list[Thing]:
    """Trees, lamps, signs and traffic lights along a kerb."""
    things: list[Thing] = []
    kerb, end = side * drive.half_road, drive.end
    for z in np.arange(rng.uniform(0, 12), end, rng.uniform(13, 28)):
        if rng.random() < 0.7:
            things.append(("tree", kerb + side * 0.9, float(z), 0.0, rng.uniform(4.5, 7.5), 0.0))
    for z in np.arange(rng.uniform(4, 16), end, rng.uniform(18, 30)):
        things.append(("lamp", kerb + side * 0.5, float(z), 0.0, rng.uniform(6, 8), 0.0))
    for z in np.arange(rng.uniform(6, 25), end, rng.uniform(24, 45)):
        things.append(("sign", kerb + side * 0.7, float(z), 0.0, rng.uniform(2.4, 3.2), float(rng.integers(3))))
    for z in np.arange(rng.uniform(12, 35), end, rng.uniform(35, 60)):
        things.append(("light", kerb + side * 0.45, float(z), 0.0, rng.uniform(3.6, 4.6), 0.0))
    return things


def _parked(rng: np.random.Generator, drive: _Drive, side: int) -> list[Thing]:
    things: list[Thing] = []
    for z in np.arange(rng.uniform(5, 15), drive.end, rng.uniform(8, 16)):
        if rng.random() < 0.45:
            kind = str(rng.choice(["car", "truck", "bicycle", "motorcycle"], p=[0.74, 0.1, 0.1, 0.06]))
            place = side * (drive.half_road - 1.0)
            things.append((f"{kind}{'+' if side > 0 else '-'}", place, float(z), *SIZES[kind], 0.0))
    return things


def _walkers(rng: np.random.Generator, drive: _Drive, side: int) -> list[Moving]:
    """People on the pavement of a side."""
    people: list[Moving] = []
    kerb = side * drive.half_road
    for _ in range(int(drive.end / 13)):
        walk = float(rng.uniform(0.7, 1.6) * rng.choice([-1, 1]))
        place = float(kerb + side * rng.uniform(0.8, drive.sidewalk - 0.4))
        person: Thing = ("person", place, float(rng.uniform(3, drive.end)), 0.0, rng.uniform(1.55, 1.9), rng.random())
        people.append((person, 0.0, walk))
    return people


def _crossing(rng: np.random.Generator, drive: _Drive) -> list[Moving]:
    """People who cross the road."""
    people: list[Moving] = []
    for _ in range(int(rng.integers(1, 4))):
        x, z = float(rng.uniform(-1, 1) * drive.half_road), float(rng.uniform(14, drive.end))
        person: Thing = ("person", x, z, 0.0, rng.uniform(1.6, 1.9), 0.0)
        people.append((person, float(rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)), 0.0))
    return people


def _oncoming(rng: np.random.Generator, drive: _Drive) -> list[Moving]:
    """Traffic on the other side of the road."""
    traffic: list[Moving] = []
    for z in np.arange(rng.uniform(15, 40), drive.end + 9 * drive.t[-1], rng.uniform(26, 44)):
        kind = str(rng.choice(["car", "bus", "truck", "rider", "biker"], p=[0.55, 0.14, 0.11, 0.12, 0.08]))
        thing: Thing = (f"{kind}-", -drive.lane + 0.2, float(z), *SIZES[kind], rng.random())
        traffic.append((thing, 0.0, -float(rng.uniform(4, 8))))
    return traffic


def _cyclist(rng: np.random.Generator, drive: _Drive) -> Moving:
    """Somebody on two wheels ahead of us, about as fast as we are."""
    kind = str(rng.choice(["rider", "biker"]))
    thing: Thing = (f"{kind}+", drive.half_road - 0.9, float(rng.uniform(9, 20)), *SIZES[kind], rng.random())
    return thing, 0.0, float(drive.speed.mean() * rng.uniform(0.6, 1.05))


def _standing(still: list[Thing], drive: _Drive, i: int) -> list[Thing | None]:
    """What stands, in frame i; a sign's phase is its kind, of three."""
    x0, z0 = float(drive.offset[i]), float(drive.travelled[i])
    return [
        _seen(thing, thing[1] - x0, thing[2] - z0, thing[5] if thing[0] != "sign" else thing[5] / 4) for thing in still
    ]


def _on_their_way(moving: list[Moving], drive: _Drive, i: int) -> list[Thing | None]:
    """What moves, in frame i."""
    x0, z0, t = float(drive.offset[i]), float(drive.travelled[i]), float(drive.t[i])
    things = []
    for thing, vx, vz in moving:
        x, z = thing[1] + vx * t, thing[2] + vz * t
        pace = 0.9 if thing[0] == "person" else 1.2
        things.append(_seen(thing, x - x0, z - z0, thing[5] + pace * t))
    return things


def _tram(drive: _Drive, i: int) -> Thing | None:
    """The tram that comes towards us, and another one after 8 seconds."""
    tram: Thing = ("train-", 0.0, 0.0, *SIZES["train"], 0.0)
    t = drive.t[i]
    return _seen(tram, -drive.lane - float(drive.offset[i]), float(70 - 9 * t + (40 if t > 8 else 0)), 0.0)


def _seen(thing: Thing, x: float, z: float, phase: float) -> Thing | None:
    """A thing at its place in the camera's frame, or None where it is behind the camera or too far away."""
    kind, _, _, length, height, _ = thing
    if z > VISIBLE or z + length < NEAR:
        return None
    return kind, round(x, 3), round(z, 3), round(length, 3), round(float(height), 3), round(phase % 1, 3)


def _state(drive: _Drive, i: int, things: list[Thing | None]) -> State:
    return State(
        horizon=round(float(drive.horizon[i]), 5),
        bend=round(float(drive.bend[i]), 6),
        heading=round(float(drive.heading[i]), 5),
        offset=round(float(drive.offset[i]), 3),
        half_road=round(float(drive.half_road), 3),
        sidewalk=round(float(drive.sidewalk), 3),
        things=tuple(thing for thing in things if thing is not None),
    )
