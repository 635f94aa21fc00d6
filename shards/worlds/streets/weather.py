"""The brush that paints a street in the weather and light of a style."""

import math
import zlib

import cv2
import numpy as np

from likeness.array import Array
from shards.worlds.drawing import Canvas, Colour, ellipse, mix, ramp
from shards.worlds.streets.looks import LOOKS, PAINTS, SHINING, SNOW_COVER
from shards.worlds.streets.street import CAMERA_HEIGHT, FOCAL, HEIGHT, ROAD, State
from shards.worlds.streets.styles import Style


class ColourBrush:
    """Draws a street in the weather and light of a style."""

    def __init__(self, width: int, height: int, style: Style, state: State) -> None:
        self.canvas = Canvas(width, height)
        self.style, self.state = style, state
        look = LOOKS[style.group]
        self.weather, _, self.time = style.group.partition("-")
        self.night = style.group == "night"
        self.snow, self.rain = self.weather == "snowy", self.weather == "rainy"
        tint = np.array([1 + 0.07 * style.warmth, 1.0, 1 - 0.07 * style.warmth])
        self.light = np.array(look.light) * (1 + 0.12 * style.brightness) * tint
        self.sight = look.sight * (1 - 0.25 * style.haze)
        self.haze = np.array(look.haze) * tint
        self.zenith = tuple(np.clip(np.array(look.zenith) * tint * (1 + 0.08 * style.brightness), 0, 255))
        self.low = tuple(np.clip(np.array(look.low) * tint, 0, 255))
        bare = self._unlit_paints()
        self.lit = {
            name: tuple(map(float, colour if name in SHINING else np.array(colour) * self.light))
            for name, colour in bare.items()
        }
        self.mist = tuple(map(float, self.haze))
        self.glows: list[tuple[Array, float, Colour, float, Colour]] = []

    def _unlit_paints(self) -> dict[str, Colour]:
        """The colour of every paint in plain light: the style's, wet in the rain, and covered by snow."""
        style = self.style
        paints = {**PAINTS, "leaf": style.foliage, "clothes": style.clothes, "ahead": style.car_ahead}
        paints |= {"oncoming": style.car_oncoming, "left": style.building_left, "right": style.building_right}
        paints |= {"pavement": style.pavement, "lit": (255, 214, 130)}
        paints["grass"] = mix(PAINTS["grass"], style.foliage, 0.5)
        if self.snow:
            paints |= {name: mix(paints[name], (246, 248, 252), share) for name, share in SNOW_COVER.items()}
        if self.rain:
            paints |= {name: mix(paints[name], (18, 22, 32), 0.35) for name in ("road", "pavement", "kerb")}
        return paints

    def seen(self, paint: str, z: float, shade: float = 1.0) -> Colour:
        """A paint as it looks at a distance: lit, then lost in the haze."""
        share = math.exp(-max(z, 0.0) / self.sight)
        if paint in SHINING:
            shade = 1.0
        r, g, b = (
            min(255, int(base * shade * share + mist * (1 - share)))
            for base, mist in zip(self.lit[paint], self.mist, strict=True)
        )
        return r, g, b

    def sky(self, horizon: float) -> None:
        page = np.array([[-0.01, -0.01], [1.01, -0.01], [1.01, HEIGHT], [-0.01, HEIGHT]])
        middle = mix(self.zenith, self.low, 0.45)
        self.canvas.graded(page, ramp(self.zenith, middle, self.low), np.zeros(2), np.array([0.0, horizon]))
        if self.night:
            self._stars_and_moon(horizon)
        else:
            self._sun(horizon)
        if self.weather == "partly cloudy":
            self._white_clouds(horizon)
        elif self.weather in ("overcast", "rainy"):
            self._grey_clouds(horizon)

    def _stars_and_moon(self, horizon: float) -> None:
        stars = np.random.default_rng(7).random((46, 2)) * [1.0, horizon * 0.9]
        for i, star in enumerate(stars):
            self.canvas.disc(star, 0.0011 + 0.0008 * (i % 3 == 0), (206, 212, 240))
        self.canvas.soft(ellipse([self.style.sun, 0.07], (0.05, 0.05)), (170, 180, 220), 0.5, 0.03)
        self.canvas.disc(np.array([self.style.sun, 0.07]), 0.02, (240, 240, 226))

    def _sun(self, horizon: float) -> None:
        """The sun where it shines: low at dawn and dusk, through fog then, too."""
        if self.time == "dawn/dusk" and self.weather in ("clear", "partly cloudy", "foggy"):
            strength = 0.3 if self.weather == "foggy" else 0.85
            sun = np.array([self.style.sun, horizon - 0.035])
            self.canvas.soft(ellipse(sun, (0.14, 0.08)), (255, 226, 150), strength, 0.05)
            self.canvas.disc(sun, 0.026, mix(self.low, (255, 246, 206), strength))
        elif self.weather in ("clear", "partly cloudy"):
            sun = np.array([self.style.sun, 0.06])
            self.canvas.soft(ellipse(sun, (0.06, 0.06)), (255, 255, 236), 0.8, 0.04)
            self.canvas.disc(sun, 0.022, (255, 255, 244))

    def _white_clouds(self, horizon: float) -> None:
        rng = self._cloud_rng()
        bright = mix(self.low, (255, 255, 255), 0.55)
        under = mix(bright, self.zenith, 0.4)
        puffs = ((-0.55, 0.0, 0.3), (0.0, -0.12, 0.45), (0.5, 0.0, 0.34), (0.15, 0.06, 0.3))
        for _ in range(7):
            x, y, wide = rng.uniform(-0.1, 1.1), rng.uniform(0.0, horizon * 0.75), rng.uniform(0.08, 0.2)
            for dx, dy, r in puffs:
                shadow = ellipse([x + dx * wide, y + dy * wide + 0.008], (r * wide * 1.3, r * wide * 0.6))
                self.canvas.fill(shadow, under)
            for dx, dy, r in puffs:
                puff = ellipse([x + dx * wide, y + dy * wide], (r * wide * 1.25, r * wide * 0.55))
                self.canvas.fill(puff, bright)

    def _grey_clouds(self, horizon: float) -> None:
        rng = self._cloud_rng()
        for _ in range(12):
            x, y, wide = rng.uniform(-0.1, 1.1), rng.uniform(0.0, horizon * 0.75), rng.uniform(0.08, 0.2)
            self.canvas.soft(
                ellipse([x, y], (wide, 0.03)), mix(self.zenith, (30, 32, 44), rng.uniform(0.1, 0.3)), 0.5, 0.02
            )

    def _cloud_rng(self) -> np.random.Generator:
        """Clouds are style: the same in all frames of a video, whatever the state is."""
        return np.random.default_rng(int(self.style.sun * 1e4))

    def ground(self, points: Array, train_id: int, paint: str) -> None:
        horizon = self.state.horizon
        down = np.linspace(1e-4, HEIGHT - horizon, 256)
        share = np.exp(-(FOCAL * CAMERA_HEIGHT / down) / self.sight)[:, None]
        base = np.array(self.lit[paint])
        if self.rain and train_id == ROAD:
            base = base + (np.array(self.low) - base) * np.linspace(0.45, 0.05, 256)[:, None]
        if self.night:
            # Our own headlights.
            base = base + np.array([74, 68, 50]) * np.exp(-(((down - 0.11) / 0.06) ** 2))[:, None]
        tones = np.clip(base * share + self.haze * (1 - share), 0, 255).astype(np.uint8)
        self.canvas.graded(points, tones, np.array([0.0, horizon]), np.array([0.0, HEIGHT]))

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
        if dim and 0 <= centre[0] < 1 and 0 <= centre[1] < HEIGHT:
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
            at = rng.random((150, 2)) * [1.1, HEIGHT]
            long = rng.uniform(0.02, 0.055, (150, 1)) * [-0.18, 1.0]
            wide = np.array([[0.0016, 0.0]])
            streaks = np.stack([at, at + wide, at + long + wide * 0.5, at + long], axis=1)
            before = self.canvas.pixels.copy()
            self.canvas.fills(streaks, mix(self.low, (255, 255, 255), 0.5))
            self.canvas.pixels = cv2.addWeighted(before, 0.55, self.canvas.pixels, 0.45, 0)
            return
        for (x, y), radius in zip(rng.random((170, 2)) * [1.0, HEIGHT], rng.gamma(2.0, 0.0011, 170), strict=True):
            self.canvas.disc(
                np.array([x, y]), min(float(radius) + 0.0008, 0.0075), mix(self.low, (255, 255, 255), 0.75)
            )
