"""How each of the 13 groups looks: colours of the sky, the light and the distance; and the paints of things."""

from dataclasses import dataclass

from shards.worlds.drawing import Colour


@dataclass(frozen=True)
class Look:
    """How a group looks."""

    zenith: Colour
    """The sky at the picture's top."""
    low: Colour
    """The sky at the horizon."""
    light: tuple[float, float, float]
    """What the light does to red, green and blue of things, as factors."""
    haze: Colour
    """What things fade into with their distance."""
    sight: float
    """Metres at which a thing's colour has faded to 1/e of itself."""


LOOKS: dict[str, Look] = {
    "night": Look((8, 10, 34), (40, 42, 78), (0.36, 0.38, 0.54), (30, 32, 60), 90),
    "clear-daytime": Look((38, 110, 214), (166, 212, 246), (1.08, 1.05, 0.98), (186, 214, 238), 420),
    "clear-dawn/dusk": Look((52, 58, 130), (255, 148, 62), (0.92, 0.66, 0.55), (238, 144, 92), 190),
    "partly cloudy-daytime": Look((74, 142, 216), (206, 226, 242), (0.98, 0.98, 0.98), (200, 216, 232), 300),
    "partly cloudy-dawn/dusk": Look((84, 66, 138), (246, 136, 128), (0.84, 0.62, 0.66), (212, 128, 140), 170),
    "overcast-daytime": Look((148, 156, 166), (206, 210, 212), (0.78, 0.8, 0.83), (190, 196, 200), 170),
    "overcast-dawn/dusk": Look((84, 82, 108), (170, 142, 150), (0.56, 0.52, 0.6), (140, 124, 138), 120),
    "rainy-daytime": Look((96, 108, 122), (150, 162, 172), (0.6, 0.65, 0.72), (140, 152, 164), 75),
    "rainy-dawn/dusk": Look((48, 52, 84), (118, 100, 118), (0.42, 0.4, 0.52), (96, 86, 110), 70),
    "snowy-daytime": Look((186, 196, 208), (226, 232, 238), (0.9, 0.93, 0.99), (220, 228, 236), 80),
    "snowy-dawn/dusk": Look((110, 106, 156), (206, 170, 190), (0.68, 0.64, 0.8), (176, 154, 184), 75),
    "foggy-daytime": Look((204, 208, 210), (216, 219, 220), (0.84, 0.86, 0.88), (212, 216, 218), 26),
    "foggy-dawn/dusk": Look((168, 142, 140), (206, 172, 150), (0.68, 0.58, 0.56), (192, 160, 146), 24),
}

PAINTS: dict[str, Colour] = {
    "road": (88, 88, 94), "line": (232, 232, 226), "kerb": (150, 150, 150), "grass": (96, 134, 62),
    "wall": (166, 140, 116), "fence": (92, 96, 104), "pole": (78, 82, 88), "box": (34, 36, 40), "red": (236, 46, 38),
    "amber": (250, 180, 40), "green": (48, 210, 100), "blue": (38, 92, 196), "white": (240, 240, 240),
    "glass": (74, 92, 112), "dark": (26, 26, 30), "skin": (222, 172, 138), "trousers": (52, 56, 84),
    "bonnet": (40, 44, 54), "trunk": (96, 72, 52), "door": (86, 60, 46), "bus": (226, 170, 40),
    "truck": (200, 206, 212), "cab": (180, 60, 50), "train": (196, 50, 60), "cream": (238, 228, 206),
    "lamp": (255, 240, 200), "tail": (226, 36, 40), "head": (255, 250, 226), "gable": (120, 92, 84),
    "tyre": (24, 24, 26),
}  # fmt: skip
"""Colours of what no style says, by name, in plain light."""

# What shines by itself is not darkened by the night.
SHINING = frozenset({"red", "amber", "green", "lamp", "tail", "head", "lit"})

SNOW_COVER = {"road": 0.5, "pavement": 0.75, "grass": 0.92, "leaf": 0.6, "gable": 0.7, "bonnet": 0.25, "kerb": 0.6}
"""How much of a paint snow hides, 0..1."""
