"""Arms, legs and torso, and what they wear."""

import numpy as np

from shards.worlds.dance.dancer import Dancer
from shards.worlds.dance.keypoints import (
    L_ANKLE,
    L_ELBOW,
    L_HIP,
    L_KNEE,
    L_SHOULDER,
    L_WRIST,
    NECK,
    R_ANKLE,
    R_ELBOW,
    R_HIP,
    R_KNEE,
    R_SHOULDER,
    R_WRIST,
)
from shards.worlds.drawing import curve, ellipse, shifted, tone


def draw_legs(dancer: Dancer) -> None:
    p, style = dancer.points, dancer.style
    k = dancer.unit / 0.245
    # The leg whose foot is higher up the picture is farther away.
    sides = [(R_HIP, R_KNEE, R_ANKLE), (L_HIP, L_KNEE, L_ANKLE)]
    sides.sort(key=lambda side: p[side[2], 1])
    for hip, knee, ankle in sides:
        down = p[ankle] - p[knee]
        down = down / max(float(np.linalg.norm(down)), 1e-6)
        outward = -1.0 if hip == R_HIP else 1.0
        heel = p[ankle] + down * 0.008 * k
        toe = heel + k * np.array([0.035 * outward, 0.024]) + 0.012 * k * down
        dancer.limb(np.stack([p[hip], p[knee], p[ankle]]), [0.074, 0.054, 0.036], dancer.skin)
        dancer.limb(np.stack([heel, (heel + toe) / 2, toe]), [0.04, 0.044, 0.03], dancer.palette(style.shoe_colour))
        if style.bottom == "trousers":
            hem = p[ankle] - down * 0.012 * k
            dancer.limb(np.stack([p[hip], p[knee], hem]), [0.084, 0.068, 0.06], dancer.bottom)
        elif style.bottom == "shorts":
            dancer.limb(
                np.stack([p[hip], (p[hip] + p[knee]) / 2, p[hip] * 0.25 + p[knee] * 0.75]),
                [0.084, 0.08, 0.076],
                dancer.bottom,
            )
    if style.bottom in ("skirt", "gown"):
        _draw_skirt(dancer)


def _draw_skirt(dancer: Dancer) -> None:
    """A skirt that ends above the knees, or a gown that ends at half of the shanks."""
    p, k = dancer.points, dancer.unit / 0.245
    sides = [(R_HIP, R_KNEE, R_ANKLE), (L_HIP, L_KNEE, L_ANKLE)]
    if dancer.style.bottom == "skirt":
        low = [p[hip] + (p[knee] - p[hip]) * 0.92 for hip, knee, _ in sides]
    else:
        low = [p[knee] + (p[ankle] - p[knee]) * 0.55 for _, knee, ankle in sides]
    low.sort(key=lambda point: point[0])
    flare = 0.05 * k
    hem_left, hem_right = low[0] - [flare, 0], low[1] + [flare, 0]
    waist = dancer.hips + (p[NECK] - dancer.hips) * 0.3
    side = np.array([0.058 * k, 0.0])
    hem = curve(np.array([hem_right, (hem_left + hem_right) / 2 + [0, 0.035 * k], hem_left]))
    left = curve(np.array([hem_left, dancer.hips - side * 1.45, waist - side]))
    right = curve(np.array([waist + side, dancer.hips + side * 1.45, hem_right]))
    outline = np.concatenate([left, right, hem])
    wide = float(np.ptp(outline[:, 0])) * 0.6
    dancer.canvas.shaded(outline, dancer.bottom, outline.mean(axis=0), (wide, 0.3 * k), dancer.light)
    with dancer.canvas.clipped(outline):
        for share in (0.2, 0.45, 0.7, 0.9):
            end = hem_left + (hem_right - hem_left) * share + [0, 0.05 * k]
            dancer.canvas.stroke(
                np.array([waist + side * (2 * share - 1) * 0.8, end]), 0.008 * k, tone(dancer.bottom, 40)
            )


def draw_torso(dancer: Dancer) -> None:
    p, style, canvas = dancer.points, dancer.style, dancer.canvas
    k = dancer.unit / 0.245
    left, right = sorted((R_SHOULDER, L_SHOULDER), key=lambda i: p[i, 0])
    hip_left, hip_right = sorted((R_HIP, L_HIP), key=lambda i: p[i, 0])
    out = np.array([0.03 * k, 0.0])
    waist = dancer.hips * 0.62 + p[NECK] * 0.38
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
    neck = np.stack([dancer.skull, p[NECK] * 0.7 + dancer.skull * 0.3, p[NECK]])
    dancer.limb(neck, [0.04, 0.038, 0.046], dancer.skin)
    middle = (p[NECK] + dancer.hips) / 2
    canvas.shaded(outline, dancer.top, middle, (0.14 * k, 0.22 * k), dancer.light)
    with canvas.clipped(outline):
        _draw_pattern(dancer)
    canvas.fill(ellipse(p[NECK] + [0, 0.002 * k], (0.03 * k, 0.02 * k)), tone(dancer.skin, 90))
    if style.bottom in ("trousers", "shorts"):
        low = 0.012 * k
        belt = np.stack([p[hip_left] - out * 1.3, shifted(dancer.hips, 0, 0.5 * low), p[hip_right] + out * 1.3])
        canvas.stroke(shifted(belt, 0, low), 0.03 * k, tone(dancer.bottom, 100))


def _draw_pattern(dancer: Dancer) -> None:
    """What is on the shirt, whatever of it lies beside the shirt."""
    p, style, canvas = dancer.points, dancer.style, dancer.canvas
    k = dancer.unit / 0.245
    second = dancer.palette(style.top_second)
    spine = dancer.hips - p[NECK]
    flat = np.array([spine[1], -spine[0]]) / max(float(np.linalg.norm(spine)), 1e-6)
    wide = 0.25 * k * flat
    if style.top_pattern == "hoops":
        for share in (0.1, 0.32, 0.54, 0.76, 0.98):
            here = p[NECK] + spine * share
            canvas.stroke(np.array([here - wide, here + wide]), 0.027 * k, tone(second, 128))
    elif style.top_pattern == "sash":
        left = min(R_SHOULDER, L_SHOULDER, key=lambda i: p[i, 0])
        hip_right = max(R_HIP, L_HIP, key=lambda i: p[i, 0])
        out = np.array([0.03 * k, 0.0])
        canvas.stroke(np.array([p[left] - out, p[hip_right] + out]), 0.05 * k, tone(second, 140))
    elif style.top_pattern == "halves":
        half = np.array(
            [
                p[NECK] - spine * 0.2,
                dancer.hips + spine * 0.2,
                dancer.hips + spine * 0.2 + wide,
                p[NECK] - spine * 0.2 + wide,
            ]
        )
        canvas.shaded(half, second, (p[NECK] + dancer.hips) / 2, (0.14 * k, 0.22 * k), dancer.light)
    elif style.top_pattern == "emblem":
        canvas.disc(p[NECK] + spine * 0.33, 0.036 * k, tone(second, 150))


def draw_arms(dancer: Dancer) -> None:
    p, style = dancer.points, dancer.style
    for shoulder, elbow, wrist in ((R_SHOULDER, R_ELBOW, R_WRIST), (L_SHOULDER, L_ELBOW, L_WRIST)):
        on = p[wrist] - p[elbow]
        hand = p[wrist] + on / max(float(np.linalg.norm(on)), 1e-6) * 0.022 * dancer.unit / 0.245
        dancer.limb(np.stack([p[shoulder], p[elbow], p[wrist]]), [0.05, 0.038, 0.028], dancer.skin)
        dancer.limb(np.stack([p[wrist], hand]), [0.034, 0.028], dancer.skin)
        if style.sleeves == "short":
            dancer.limb(np.stack([p[shoulder], p[shoulder] * 0.4 + p[elbow] * 0.6]), [0.06, 0.058], dancer.top)
        elif style.sleeves == "long":
            dancer.limb(
                np.stack([p[shoulder], p[elbow], p[elbow] * 0.08 + p[wrist] * 0.92]), [0.06, 0.05, 0.042], dancer.top
            )
