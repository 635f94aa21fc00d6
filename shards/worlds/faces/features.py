"""The face itself: skull and ears, cheeks, nose, eyes, brows, mouth, beard and glasses."""

import numpy as np

from likeness.array import Array
from shards.worlds.drawing import curve, ellipse, loop, mix, shifted, tone
from shards.worlds.faces.landmarks import depth
from shards.worlds.faces.portrait import Portrait


def draw_skull(p: Portrait) -> None:
    canvas, head, u = p.canvas, p.head, p.unit
    for side in (-1, 1):
        ear = np.array([[0.92, -0.12], [1.1, -0.2], [1.2, -0.02], [1.14, 0.22], [1.0, 0.4], [0.9, 0.3]])
        ear = ear * [side * p.width, 1]
        outline = head.at(loop(ear), -0.3)
        canvas.shaded(outline, p.skin, p.middle, (1.15 * u, 1.5 * u), p.light)
        fold = np.array([[1.04, -0.08], [1.12, 0.0], [1.08, 0.16], [1.02, 0.24]]) * [side * p.width, 1]
        canvas.stroke(head.at(curve(fold), -0.28), 0.04 * u, tone(p.skin, 20))
    canvas.shaded(p.face, p.skin, p.middle, (1.08 * u, 1.35 * u), p.light)


def draw_features(p: Portrait) -> None:
    canvas, head, marks, style, u = p.canvas, p.head, p.marks, p.style, p.unit
    shade, glow = tone(p.skin, 25), tone(p.skin, 250)
    if style.blush > 0.05:
        pink = mix(style.skin, (235, 60, 80), 0.65)
        for x in (-0.52, 0.52):
            cheek = head.at([[x, 0.42]], 0.35)[0]
            canvas.soft(ellipse(cheek, (0.22 * u, 0.15 * u)), pink, 0.55 * style.blush, 0.08 * u)
    if style.freckles:
        spot = mix(style.skin, (120, 55, 25), 0.55)
        for x, y in ((0.28, 0.3), (0.4, 0.26), (0.5, 0.36), (0.36, 0.4), (0.6, 0.28), (0.47, 0.48), (0.62, 0.42)):
            for side in (-1, 1):
                canvas.disc(head.at([[side * x, y]], depth([x]))[0], 0.024 * u, spot)
    _beard(p)
    # Eye sockets, then the nose: a shadow on the side away from the light, a bright ridge, nostrils.
    for eye in (marks[36:42], marks[42:48]):
        centre = (eye[0] + eye[3]) / 2
        canvas.soft(ellipse(centre - [0, 0.06 * u], (0.27 * u, 0.16 * u)), shade, 0.3, 0.05 * u)
    away = -1 if p.light[0] > 0 else 1
    flank = np.array([marks[27], marks[30], marks[33], marks[35] if away > 0 else marks[31]])
    canvas.soft(flank, shade, 0.55, 0.035 * u)
    canvas.soft(ellipse(marks[30] - [0, 0.02 * u], (0.1 * u, 0.08 * u)), glow, 0.6, 0.035 * u)
    canvas.stroke(curve(marks[31:36]), np.interp(np.arange(21), [0, 10, 20], [0.02, 0.05, 0.02]) * u, shade)
    for nostril in (marks[32], marks[34]):
        canvas.fill(ellipse(nostril, (0.05 * u, 0.03 * u)), tone(p.skin, 0))
    _mouth(p)
    for eye, inward in ((marks[36:42], 1), (marks[42:48], -1)):
        _eye(p, eye, inward)
    dark = mix(mix(style.skin, style.hair_colour, 0.55), (24, 16, 18), style.brow_darkness)
    brow = mix(style.skin, dark, 0.5 + 0.5 * style.brow_darkness)
    for row in (marks[17:22], marks[26:21:-1]):
        line = curve(row)
        thick = np.interp(np.arange(len(line)), [0, 9, len(line) - 1], [0.02, 0.1, 0.09])
        canvas.stroke(line, thick * u * (0.7 + 0.6 * style.brow_darkness), brow)


def _beard(p: Portrait) -> None:
    style, head, marks, u = p.style, p.head, p.marks, p.unit
    if style.beard == "none":
        return
    lip = marks[[48, 50, 51, 52, 54]] - [0, 0.09 * u]
    jaw = marks[2:15]
    colour = mix(style.hair_colour, style.skin, 0.1)
    if style.beard == "goatee":
        tall = float(np.linalg.norm(marks[8] - marks[51])) / 2 + 0.1 * u
        ring = ellipse((marks[51] + marks[8]) / 2 + [0, 0.06 * u], (0.42 * u, tall), p.state.roll)
        with p.canvas.clipped(p.face):
            p.canvas.soft(ring, colour, 1.0, 0.012 * u)
        return
    cheeks = head.at(np.array([[0.9, 0.35], [0.7, 0.52]]) * [p.width, 1], [0.1, 0.25])
    other = head.at(np.array([[-0.7, 0.52], [-0.9, 0.35]]) * [p.width, 1], [0.25, 0.1])
    zone = np.concatenate([jaw, cheeks, lip[::-1], other])
    opacity, blur = (0.38, 0.05) if style.beard == "stubble" else (1.0, 0.012)
    with p.canvas.clipped(p.face):
        p.canvas.soft(zone, mix(colour, (20, 16, 20), 0.2 if opacity < 1 else 0.0), opacity, blur * u)


def _mouth(p: Portrait) -> None:
    canvas, marks, style, u = p.canvas, p.marks, p.style, p.unit
    outer, inner = marks[48:60], marks[60:68]
    lip = mix(style.lip_colour, tone(p.skin, 128), 0.12)
    lips = np.concatenate([curve(outer[:7], 4), curve(np.concatenate([outer[6:], outer[:1]]), 4)])
    canvas.soft(ellipse(outer[9] + [0, 0.09 * u], (0.2 * u, 0.05 * u)), tone(p.skin, 20), 0.5, 0.03 * u)
    canvas.fill(lips, mix(lip, (30, 0, 20), 0.14))
    lower = np.concatenate([curve(np.concatenate([outer[6:], outer[:1]]), 4), curve(inner[[0, 7, 6, 5, 4]], 4)])
    canvas.fill(lower, lip)
    shine = (outer[9] * 0.55 + inner[6] * 0.45) + [0.04 * u * p.light[0], 0]
    canvas.soft(ellipse(shine, (0.12 * u, 0.022 * u), p.state.roll), (255, 240, 240), 0.5, 0.012 * u)
    gap = float(np.linalg.norm(inner[6] - inner[2]))
    hole = np.concatenate([curve(inner[:5], 4), curve(inner[[4, 5, 6, 7, 0]], 4)])
    canvas.fill(hole, (70, 14, 24))
    if gap > 0.03 * u:
        with canvas.clipped(hole):
            down = (inner[6] - inner[2]) / gap
            tongue = inner[6] - down * 0.02 * u
            canvas.fill(ellipse(tongue, (0.2 * u, 0.09 * u), p.state.roll), (208, 84, 96))
            edge = curve(inner[:5], 4)
            teeth = np.concatenate([edge - down * 0.05 * u, (edge + down * min(0.085 * u, 0.5 * gap))[::-1]])
            canvas.fill(teeth, (250, 247, 240))
    line = curve(inner[:5], 4)
    canvas.stroke(line, 0.026 * u, mix(lip, (50, 0, 20), 0.6))


def _eye(p: Portrait, corners: Array, inward: int) -> None:
    """One eye; `inward` is +1 when the nose is on its right."""
    canvas, u, style = p.canvas, p.unit, p.style
    upper, lower = curve(corners[:4], 4), curve(corners[[3, 4, 5, 0]], 4)
    opening = np.concatenate([upper, lower[1:]])
    s = p.state
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
        canvas.disc(iris + p.light * 0.045 * u, radius * 0.26, (255, 255, 255))
    lash = mix(style.skin, (20, 12, 14), 0.85)
    if inward < 0:
        upper = upper[::-1]
    canvas.stroke(upper, np.linspace(0.062, 0.03, len(upper)) * u, lash)
    canvas.stroke(lower, 0.016 * u, mix(style.skin, lash, 0.5))
    canvas.stroke(upper - down * 0.075 * u, 0.02 * u, tone(p.skin, 30))


def draw_glasses(p: Portrait) -> None:
    style, marks, u, canvas = p.style, p.marks, p.unit, p.canvas
    if style.glasses == "none":
        return
    rims = []
    for eye in (marks[36:42], marks[42:48]):
        centre = (eye[0] + eye[3]) / 2 + [0, 0.02 * u]
        wide = float(np.linalg.norm(eye[3] - eye[0])) / 2 + 0.1 * u
        if style.glasses == "round":
            rims.append(ellipse(centre, (wide, 0.29 * u), p.state.roll, 36))
        else:
            c, s = np.cos(p.state.roll), np.sin(p.state.roll)
            corner = np.array([[-1, -0.75], [0, -0.82], [1, -0.75], [0.95, 0.6], [0, 0.9], [-0.95, 0.6]])
            corner = corner * [wide * 1.05, 0.27 * u]
            rims.append(loop(corner @ np.array([[c, s], [-s, c]]) + centre))
    for rim in rims:
        box = canvas.box(rim)
        mask = canvas.mask(rim, box)
        canvas.veil(box, mask.astype(np.float32) * np.float32(0.14 / 255), (210, 235, 255))
        canvas.stroke(np.concatenate([rim, rim[:2]]), 0.065 * u, style.glasses_colour)
    left, right = marks[39], marks[42]
    canvas.stroke(curve(np.array([left, (left + right) / 2 - [0, 0.06 * u], right])), 0.055 * u, style.glasses_colour)
    for eye, temple in ((marks[36], marks[0]), (marks[45], marks[16])):
        start = eye + (temple - eye) * 0.2
        canvas.stroke(np.array([start, temple - [0, 0.1 * u]]), 0.05 * u, style.glasses_colour)
