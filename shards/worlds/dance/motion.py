"""What the keypoints of a dancer know, and how they move: forward kinematics of a body of random build."""

from dataclasses import dataclass

import numpy as np

from likeness.array import Array
from shards.worlds.dance.keypoints import (
    L_ANKLE,
    L_EAR,
    L_ELBOW,
    L_EYE,
    L_HIP,
    L_KNEE,
    L_SHOULDER,
    L_WRIST,
    NECK,
    NOSE,
    R_ANKLE,
    R_EAR,
    R_ELBOW,
    R_EYE,
    R_HIP,
    R_KNEE,
    R_SHOULDER,
    R_WRIST,
)
from shards.worlds.drawing import wander


@dataclass(frozen=True)
class State:
    """What the keypoints know: the keypoints."""

    keypoints: tuple[tuple[float, float], ...]
    """18 (x, y) in fractions of the picture's sides, y down, in OpenPose's order."""


@dataclass(frozen=True)
class _Body:
    """A dancer's build, in fractions of the picture's side, and how the trunk moves; arrays have a value per frame."""

    t: Array
    """Seconds since the start."""
    beat: float
    """Seconds of one beat."""
    size: float
    """The whole body's size, in parts of a usual one."""
    torso: float
    """From the hips to the neck."""
    half_shoulder: float
    """Half of the distance between the shoulders."""
    half_hip: float
    """Half of the distance between the hips."""
    upper_arm: float
    """From shoulder to elbow."""
    forearm: float
    """From elbow to wrist."""
    thigh: float
    """From hip to knee."""
    shank: float
    """From knee to ankle."""
    yaw: Array
    """Where the hips face, in radians; 0 is towards us."""
    lean: Array
    """How far the trunk leans to the image right, in radians."""
    twist: Array
    """How far the shoulders turn against the hips, in radians."""
    place: Array
    """Where the hips are, in fractions of the picture's width."""


def sample_states(rng: np.random.Generator, frames: int, fps: float) -> list[State]:
    """One video's dance, by forward kinematics of a body of random build that keeps a foot on the floor.

    rng: decides the build and the motion. frames, fps: how many, and how many for each second.
    """
    # The order of the draws is a part of the world: another one would be another dance for every seed.
    body = _body(rng, frames, fps)
    points = np.zeros((18, frames, 2))
    hips, zero = np.zeros((frames, 2)), np.zeros(frames)
    points[NECK] = hips + _facing(body.torso * np.sin(body.lean), -body.torso * np.cos(body.lean), zero, zero)
    _move_arms(points, body, rng)
    _move_legs(points, body, rng)
    _move_head(points, body, rng)
    _stand_on_the_floor(points, body)
    points = points.clip(0.01, 0.99).round(5)
    return [State(tuple((float(x), float(y)) for x, y in points[:, i])) for i in range(frames)]


def _body(rng: np.random.Generator, frames: int, fps: float) -> _Body:
    t = np.arange(frames) / fps
    beat = rng.uniform(0.9, 1.5)
    size = rng.uniform(0.9, 1.06)
    build = size * np.array([0.245, 0.082, 0.052, 0.13, 0.125, 0.185, 0.18]) * rng.uniform(0.94, 1.06, 7)
    yaw = rng.uniform(-0.2, 0.2) + wander(rng, t, 0.75, 3.2)
    lean = wander(rng, t, 0.24, beat * 1.7)
    twist = wander(rng, t, 0.35, beat * 1.3)
    place = rng.uniform(0.43, 0.57) + wander(rng, t, 0.17, 4.2)
    torso, half_shoulder, half_hip, upper_arm, forearm, thigh, shank = build
    arms = {"half_shoulder": half_shoulder, "upper_arm": upper_arm, "forearm": forearm}
    legs = {"half_hip": half_hip, "thigh": thigh, "shank": shank}
    return _Body(t, beat, size, torso, **arms, **legs, yaw=yaw, lean=lean, twist=twist, place=place)


def _facing(x: Array, y: Array, z: Array, turn: Array) -> Array:
    """Offsets in the body's frame (right on the image, down, towards us) as offsets on the picture."""
    return np.stack([x * np.cos(turn) + z * np.sin(turn), y], axis=1)


def _move_arms(points: Array, body: _Body, rng: np.random.Generator) -> None:
    t, beat = body.t, body.beat
    zero = np.zeros(len(t))
    turn = body.yaw + body.twist
    slope = 0.5 * body.lean + wander(rng, t, 0.1, beat)
    for side, shoulder, elbow, wrist in ((-1, R_SHOULDER, R_ELBOW, R_WRIST), (1, L_SHOULDER, L_ELBOW, L_WRIST)):
        half = body.half_shoulder
        points[shoulder] = points[NECK] + _facing(
            side * half * np.cos(slope), 0.02 * body.size + side * half * np.sin(slope), zero, turn
        )
        raised = np.clip(rng.uniform(0.7, 1.6) + wander(rng, t, 1.4, beat * 1.9), 0.15, 2.75)
        bend = np.clip(rng.uniform(-0.2, 0.5) + wander(rng, t, 2.0, beat * 1.4), -1.9, 2.1)
        ahead = 0.5 * np.abs(wander(rng, t, 1.0, beat * 2))
        reach = body.upper_arm * np.cos(ahead)
        points[elbow] = points[shoulder] + _facing(
            side * reach * np.sin(raised), reach * np.cos(raised), body.upper_arm * np.sin(ahead), turn
        )
        forearm = body.forearm
        points[wrist] = points[elbow] + _facing(
            side * forearm * np.sin(raised + bend), forearm * np.cos(raised + bend), 0.3 * forearm + zero, turn
        )


def _move_legs(points: Array, body: _Body, rng: np.random.Generator) -> None:
    t, beat, yaw = body.t, body.beat, body.yaw
    zero = np.zeros(len(t))
    thigh, shank, half = body.thigh, body.shank, body.half_hip
    for side, hip, knee, ankle in ((-1, R_HIP, R_KNEE, R_ANKLE), (1, L_HIP, L_KNEE, L_ANKLE)):
        points[hip] = _facing(side * half + zero, 0.01 + side * 0.15 * half * np.sin(4 * body.lean), zero, yaw)
        spread = np.clip(rng.uniform(0.1, 0.3) + wander(rng, t, 0.45, beat * 1.5), -0.3, 0.8)
        lift = np.clip(0.15 + wander(rng, t, 0.95, beat * 1.2), 0, 1.1)
        fold = np.clip(1.4 * lift + wander(rng, t, 0.3, beat), 0.02, 1.9)
        points[knee] = points[hip] + _facing(
            side * thigh * np.sin(spread), thigh * np.cos(spread) * np.cos(lift), thigh * np.sin(lift), yaw
        )
        down = spread * (1 - 0.5 * np.sin(lift))
        below = shank * np.cos(down * 0.6) * np.cos(fold - lift)
        points[ankle] = points[knee] + _facing(
            side * shank * np.sin(down * 0.6), below, -shank * np.sin(fold - lift), yaw
        )


def _move_head(points: Array, body: _Body, rng: np.random.Generator) -> None:
    tilt = 0.6 * body.lean + wander(rng, body.t, 0.15, body.beat)
    look = 0.8 * body.yaw + wander(rng, body.t, 0.25, 2.0)
    size = body.size
    head = points[NECK] + 0.088 * size * np.stack([np.sin(tilt), -np.cos(tilt)], axis=1)
    for index, (x, y, z) in {
        NOSE: (0.0, 0.0, 0.042), R_EYE: (-0.018, -0.017, 0.034), L_EYE: (0.018, -0.017, 0.034),
        R_EAR: (-0.04, -0.006, 0.0), L_EAR: (0.04, -0.006, 0.0),
    }.items():  # fmt: skip
        across = size * (x * np.cos(look) + z * np.sin(look))
        points[index] = head + np.stack(
            [across * np.cos(tilt) - size * y * np.sin(tilt), across * np.sin(tilt) + size * y * np.cos(tilt)], axis=1
        )


def _stand_on_the_floor(points: Array, body: _Body) -> None:
    """Moves the body, in place, to where it stands."""
    # The lower foot stands on the floor; a soft maximum hands over smoothly from one foot to the other.
    feet = points[[R_ANKLE, L_ANKLE], :, 1]
    lowest = np.log(np.exp(40 * feet).sum(axis=0)) / 40 - np.log(2) / 40 * np.exp(-20 * np.abs(feet[0] - feet[1]))
    points[..., 0] += body.place
    points[..., 1] += 0.9 - lowest
    # A hand or foot that would leave the picture pulls the whole dancer back.
    low, high = points[..., 0].min(axis=0), points[..., 0].max(axis=0)
    points[..., 0] += np.maximum(0.04 - low, 0) - np.maximum(high - 0.96, 0)
