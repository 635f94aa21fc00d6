"""The true picture that a world can draw for any label and any style."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from likeness.names import file_called
from shards import worlds
from shards.records import Frame, LabelSchema, Pair
from shards.worlds import sidecar

Style = Any
"""A world's own dataclass `Style`: hair, clothes, weather …"""

CACHED_VIDEOS = 256
"""How many videos' states stay in memory: 8 kB for each frame of streets, 1 kB for the other worlds'."""
CACHED_PICTURES = 128
"""How many true pictures stay in memory: several metrics ask for those of one group of pairs."""


@dataclass(frozen=True)
class _Video:
    """What a video of a world shows."""

    world: str
    """The world's name."""
    size: int
    """Its width in pixels, at which frames are drawn again."""
    states: list[bytes]
    """Each frame's state as JSON, a third of what they take as objects."""
    style: Style
    """The style of all its frames."""

    def state(self, number: int) -> Any:
        """The state of a frame, as the world draws it."""
        frame = {"state": json.loads(self.states[number])}
        return sidecar.states_of({"world": self.world, "frames": [frame]})[0]


class Truth:
    """Draws what a picture should be: the label of one frame in the style of another.

    videos: the folder of the worlds' videos with their sidecars, in which a frame's source lies. schema: of the shards,
    whose size the pictures have.
    """

    def __init__(self, videos: Path, schema: LabelSchema) -> None:
        self.videos, self.schema = videos, schema
        self._video = lru_cache(CACHED_VIDEOS)(self._read)
        self._drawn = lru_cache(CACHED_PICTURES)(self._draw)
        self._styles: dict[str, Style] = {}

    def draw(self, label: Frame, style: Frame) -> Array:
        """uint8 (H, W, 3), read-only: drawn at the video's size and reduced as packing reduces photos.

        Raises BadInput when a video has no sidecar, or none of this frame.
        """
        return self._drawn(label.source, label.number, style.source)

    def paint(self, label: Frame, style: Style) -> Array:
        """As `draw`, in a style that needs no video; such pictures are not kept in memory."""
        return self._painted(label.source, label.number, style)

    def style(self, frame: Frame) -> Style:
        """The world's `Style` of the video that a frame is from. Raises BadInput when it has no sidecar."""
        # Not left to the videos' cache, which may drop them: swaps and distractors ask for styles of any video.
        if frame.source not in self._styles:
            self._styles[frame.source] = self._video(frame.source).style
        return self._styles[frame.source]

    def world(self, frame: Frame) -> str:
        """The name of the world that a frame's video shows. Raises BadInput when it has no sidecar."""
        return self._video(frame.source).world

    def _read(self, source: str) -> _Video:
        content = sidecar.sidecar_of(file_called(self.videos, source))
        if content is None:
            raise BadInput(
                f"{self.videos / source} has no sidecar; only the worlds' videos have a known truth: name the folder "
                "of the videos that `python -m shards worlds` drew"
            )
        states = [json.dumps(frame["state"]).encode() for frame in content["frames"]]
        return _Video(content["world"], content["size"], states, sidecar.style_of(content))

    def _draw(self, source: str, number: int, style_source: str) -> Array:
        picture = self._painted(source, number, self.style(Frame(style_source, 0, 0.0, "")))
        picture.setflags(write=False)
        return picture

    def _painted(self, source: str, number: int, style: Style) -> Array:
        video = self._video(source)
        if number >= len(video.states):
            raise BadInput(
                f"{sidecar.sidecar_path(self.videos / source)} knows {len(video.states)} frames, not frame {number}: "
                "these are not the videos that the shards were packed from"
            )
        picture = worlds.render(video.world, video.state(number), style, video.size)
        return cv2.resize(picture, (self.schema.width, self.schema.height), interpolation=cv2.INTER_AREA)


def styles_of(frames: Sequence[Frame]) -> list[Frame]:
    """One frame of each source, by source: the same whatever the order of the frames.

    Raises BadInput when there are none.
    """
    if not frames:
        raise BadInput("no exemplars to take other styles from; name shards with pairs")
    first = {frame.source: frame for frame in sorted(frames, key=lambda frame: (frame.source, frame.number))[::-1]}
    return [first[source] for source in sorted(first)]


def distractors(styles: Sequence[Frame], pair: Pair, count: int, seed: int) -> list[Frame]:
    """Frames of `count` other videos, whose style is not the pair's exemplar's.

    They depend on seed, the pair's key and styles alone. styles: one frame of each source, as `styles_of` gives them.
    In streets, other videos of the same style group are left out, too. Raises BadInput when there are too few.
    """
    exemplar = pair.exemplar
    others = [frame for frame in styles if frame.source != exemplar.source and frame.style != exemplar.style]
    if len(others) < count:
        raise BadInput(
            f"pair {pair.key}: {len(others)} exemplars of other videos and styles among those evaluated, fewer than "
            f"{count}; pack more videos into the test split"
        )
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(pair.key.encode()).digest()[:8], "big")])
    # The first of a permutation: fewer distractors of a pair are among its more.
    return [others[place] for place in rng.permutation(len(others))[:count]]


def distance(first: Array, second: Array) -> float:
    """Mean absolute difference of two pictures in 1/255."""
    return float(cv2.norm(first, second, cv2.NORM_L1)) / first.size
