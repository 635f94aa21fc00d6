"""What the keypoints of a dancer do not know: the person, the clothes, the stage and the light."""

from dataclasses import dataclass

import numpy as np

from shards.worlds.drawing import Colour, hsv, mix

HAIR_SHAPES = ("bald", "short", "long", "bun", "afro", "tail")
HATS = ("none", "cap", "beanie")
PATTERNS = ("plain", "hoops", "sash", "halves", "emblem")
SLEEVES = ("none", "short", "long")
BOTTOMS = ("trousers", "shorts", "skirt", "gown")
WALLS = ("plain", "panels", "curtain", "discs", "rays", "bricks")
FLOORS = ("plain", "planks", "tiles", "ring")

SKINS: tuple[Colour, ...] = ((252, 218, 194), (232, 182, 142), (198, 142, 98), (146, 96, 64), (92, 60, 44))


@dataclass(frozen=True)
class Style:
    """What the keypoints do not know. Every field is drawn independently of the others."""

    skin: Colour
    """The skin in plain light."""
    hair_shape: str
    """One of HAIR_SHAPES."""
    hair_colour: Colour
    """Of the hair."""
    hat: str
    """One of HATS."""
    hat_colour: Colour
    """Of the hat."""
    top_colour: Colour
    """The shirt's."""
    top_second: Colour
    """The shirt's pattern's."""
    top_pattern: str
    """One of PATTERNS."""
    sleeves: str
    """One of SLEEVES."""
    bottom: str
    """One of BOTTOMS."""
    bottom_colour: Colour
    """Of what is worn below."""
    shoe_colour: Colour
    """Of the shoes."""
    wall: str
    """One of WALLS."""
    wall_a: Colour
    """The wall's first colour."""
    wall_b: Colour
    """The wall's second colour."""
    floor: str
    """One of FLOORS."""
    floor_a: Colour
    """The floor's first colour."""
    floor_b: Colour
    """The floor's second colour."""
    light_angle: float
    """Radians, the direction that light comes from: 0 is image right, -pi/2 above."""
    light_strength: float
    """0..1."""


FACTORS: tuple[str, ...] = tuple(Style.__dataclass_fields__)


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
