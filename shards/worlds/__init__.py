"""Procedural worlds: videos whose every label is known, and whose true picture can be drawn for any label and style."""

from typing import Any

from likeness.array import Array
from shards.labels.kinds import Kind
from shards.worlds import dance, faces, streets
from shards.worlds.world import World

WORLDS: dict[str, World] = {"faces": faces, "dance": dance, "streets": streets}


def world_of(kind: Kind) -> str | None:
    """The world whose frames have labels of a kind, None where there is none."""
    return next((name for name, world in WORLDS.items() if world.KIND is kind), None)


def render(world: str, state: Any, style: Any, size: int) -> Array:
    """The picture of `state` in `style`: uint8 (H, W, 3) RGB, `size` pixels wide."""
    return WORLDS[world].render(state, style, size)
