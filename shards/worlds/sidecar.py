"""The sidecar beside a world's video: its style, and every frame's state and label."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from likeness import typed
from likeness.command import BadInput
from shards.worlds import WORLDS

VERSION = 1


def sidecar_path(video: Path) -> Path:
    """`video-0000.mp4` has its sidecar in `video-0000.json`."""
    return Path(video).with_suffix(".json")


def sidecar_of(video: Path) -> dict[str, Any] | None:
    """The sidecar of a video, or None when there is none, or what lies there is not of a world.

    Keys: world, version, size (the picture's width in pixels), fps, style_key, style, and frames, each with number,
    seconds, state, and landmarks (faces), keypoints (dance) or label (streets: the id picture, relative to the video).
    Frames of streets have instances, too (the instance map, a PNG of 16 bits), unless they were drawn before there were
    any.
    Raises BadInput when it is not one that this release reads.
    """
    path = sidecar_path(video)
    if not path.is_file():
        return None
    content = path.read_bytes()
    # Other programs put files of this name beside videos, too. A sidecar that is damaged is still to be told.
    if b'"world"' not in content:
        return None
    try:
        data = json.loads(content)
        if isinstance(data, dict) and "world" not in data:
            return None
        if data["world"] not in WORLDS:
            raise BadInput(
                f"{path} is of the world {data['world']!r}, not of {', '.join(WORLDS)}: draw the videos again"
            )
        if data["version"] != VERSION:
            raise BadInput(f"{path} has version {data['version']}, not {VERSION}: draw the videos again")
        kind = WORLDS[data["world"]].KIND
        member = kind.member
        for place, frame in enumerate(data["frames"]):
            if frame["number"] != place or not frame[member]:
                raise ValueError(f"frame {place} is out of order or has no {member}")
            if kind.points is not None:
                kind.points.check(frame[member], f"frame {place}")
            if ("instances" in frame) != ("instances" in data["frames"][0]):
                raise ValueError("some frames have an instance map and others none")
        style_of(data)
        states_of(data)
        typed.from_plain(_Rest, data)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        # A decoding error's repr holds the whole file; KeyError's text is the key alone.
        reason = repr(error) if isinstance(error, KeyError) else str(error)
        raise BadInput(f"{path} is not a world's sidecar: {reason}; draw the videos again") from error
    checked: dict[str, Any] = data
    return checked


def states_of(sidecar: dict[str, Any]) -> list[Any]:
    """The world's `State` of every frame."""
    world = WORLDS[sidecar["world"]]
    return [typed.from_plain(world.State, frame["state"], exact=True) for frame in sidecar["frames"]]


def style_of(sidecar: dict[str, Any]) -> Any:
    """The world's `Style` of the video."""
    return typed.from_plain(WORLDS[sidecar["world"]].Style, sidecar["style"], exact=True)


@dataclass(frozen=True)
class _Rest:
    """What a sidecar says beside style and frames."""

    fps: Annotated[float, Field(gt=0, le=1000)]
    size: Annotated[int, Field(gt=0, le=2**14)]
    style_key: str
