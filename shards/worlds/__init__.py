"""Procedural worlds: videos whose every label is known, and whose true picture can be drawn for any label and style."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from likeness.array import Array
from shards.labels.kinds import Kind
from shards.worlds.world import World

if TYPE_CHECKING:
    from shards.worlds import dance, faces, streets

    _EACH: tuple[World, ...] = (faces, dance, streets)
    """That they keep the Protocol is checked here, because they are imported by name below."""


class _Worlds(Mapping[str, World]):
    """The worlds by name. Each is imported when it is asked for: help needs no more than their names."""

    _NAMES = ("faces", "dance", "streets")

    def __getitem__(self, name: str) -> World:
        if name not in self._NAMES:
            raise KeyError(name)
        return cast(World, import_module(f"{__name__}.{name}"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._NAMES)

    def __len__(self) -> int:
        return len(self._NAMES)


WORLDS: Mapping[str, World] = _Worlds()


def world_of(kind: Kind) -> str | None:
    """The world whose frames have labels of a kind, None where there is none."""
    return next((name for name, world in WORLDS.items() if world.KIND is kind), None)


def render(world: str, state: Any, style: Any, size: int) -> Array:
    """The picture of `state` in `style`: uint8 (H, W, 3) RGB, `size` pixels wide."""
    return WORLDS[world].render(state, style, size)
