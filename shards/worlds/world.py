"""What a world is."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from likeness.array import Array
from shards.labels.kinds import Kind


class World(Protocol):
    """A procedural world: pictures follow state and style and nothing else, labels follow the state alone.

    Each world is a package beside this file; State and Style are frozen dataclasses that survive JSON.
    """

    @property
    def KIND(self) -> Kind:
        """The kind of its label maps."""

    @property
    def FACTORS(self) -> tuple[str, ...]:
        """The names of Style's fields: what varies between videos, and shows in no label."""

    @property
    def State(self) -> type[Any]:
        """What a frame's label map knows."""

    @property
    def Style(self) -> type[Any]:
        """What a label map does not know; all frames of a video share it."""

    def height_of(self, size: int) -> int:
        """The picture's height for a width of `size`, both in pixels."""

    def sample_style(self, rng: np.random.Generator) -> Any:
        """A Style, drawn."""

    def style_key(self, style: Any, video: str) -> str:
        """What all frames of one style share: the video's name `video`, or a group of styles that are one to people."""

    def sample_states(self, rng: np.random.Generator, frames: int, fps: float) -> list[Any]:
        """The State of each frame of one video: smooth motion at `fps` frames per second."""

    def annotate(self, state: Any, size: int) -> dict[str, Any]:
        """The label of a frame, JSON-ready, for labels that are points; empty where they are pictures."""

    def render(self, state: Any, style: Any, size: int) -> Array:
        """The picture: uint8 (height_of(size), size, 3) RGB. The same arguments give the same picture."""


@runtime_checkable
class MappedWorld(World, Protocol):
    """A world whose labels are pictures of class ids, and which can tell its things apart."""

    def class_ids(self, state: Any, size: int) -> Array:
        """The label map: uint8 (height_of(size), size)."""

    def instance_ids(self, state: Any, size: int) -> Array:
        """Which thing each pixel shows: uint16 (height_of(size), size)."""
