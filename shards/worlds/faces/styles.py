"""What the landmarks of a face do not know: the person, the clothes, the backdrop and the light."""

from dataclasses import dataclass

import numpy as np

from shards.worlds.drawing import Colour, hsv, mix

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
class Style:
    """What the landmarks do not know. Every field is drawn independently of the others."""

    skin: Colour
    """The skin in plain light."""
    hair_shape: str
    """One of HAIR_SHAPES."""
    hair_colour: Colour
    """Of hair and beard."""
    brow_darkness: float
    """0..1."""
    eye_colour: Colour
    """Of the irises."""
    lip_colour: Colour
    """Of the lips."""
    blush: float
    """Red of the cheeks, 0..1."""
    freckles: bool
    """Whether there are any."""
    beard: str
    """One of BEARDS."""
    glasses: str
    """One of GLASSES."""
    glasses_colour: Colour
    """Of their rims."""
    clothes_colour: Colour
    """The shirt's."""
    clothes_second: Colour
    """The pattern's and the collar's."""
    clothes_pattern: str
    """One of PATTERNS."""
    neckline: str
    """One of NECKLINES."""
    backdrop: str
    """One of BACKDROPS."""
    backdrop_a: Colour
    """The backdrop's first colour."""
    backdrop_b: Colour
    """The backdrop's second colour."""
    light_angle: float
    """Radians, the direction that light comes from: 0 is image right, -pi/2 above."""
    light_strength: float
    """0..1."""
    light_warmth: float
    """0 (bluish) to 1 (yellow)."""


FACTORS: tuple[str, ...] = tuple(Style.__dataclass_fields__)


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
