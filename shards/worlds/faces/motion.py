"""What the landmarks of a face know: the head's place and build, and how it moves."""

from dataclasses import dataclass

import numpy as np

from shards.worlds.drawing import wander


@dataclass(frozen=True)
class State:
    """What the landmarks know. Lengths are in head units: half a face's width is about 1."""

    x: float
    """The head's centre, between the eyes, in fractions of the picture's side."""
    y: float
    """As x, downwards."""
    scale: float
    """One head unit, in fractions of the picture's side."""
    yaw: float
    """Radians; above 0 the face turns to the image right."""
    pitch: float
    """Radians; above 0 it nods downwards."""
    roll: float
    """Radians; above 0 the head tilts clockwise."""
    face_width: float
    """Half of the face's width."""
    face_length: float
    """The chin's distance from the eyes, in parts of a usual one."""
    jaw: float
    """The chin's exponent, from pointed (1.7) to square (2.9)."""
    eye_spacing: float
    """Half of the distance between the eyes."""
    eye_size: float
    """Half of an eye's width."""
    brow_height: float
    """The brows' height above the eyes."""
    nose_length: float
    """How far the tip lies below the eyes."""
    mouth_width: float
    """Half of the mouth's width at rest."""
    mouth_open: float
    """0..1."""
    smile: float
    """-0.4 (sad) to 1."""
    blink: float
    """0 (open) to 1 (shut)."""
    brow_raise: float
    """0..1."""


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
