"""The sidecar beside a world's video: its style, and every frame's state and label."""

import json
from pathlib import Path
from typing import Any

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
        member = WORLDS[data["world"]].KIND.member
        for place, frame in enumerate(data["frames"]):
            if frame["number"] != place or not frame[member]:
                raise ValueError(f"frame {place} is out of order or has no {member}")
            if ("instances" in frame) != ("instances" in data["frames"][0]):
                raise ValueError("some frames have an instance map and others none")
        style_of(data)
        states_of(data)
        float(data["fps"]), int(data["size"]), str(data["style_key"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        reason = str(error) if isinstance(error, UnicodeDecodeError) else repr(error)
        raise BadInput(f"{path} is not a world's sidecar: {reason}; draw the videos again") from error
    checked: dict[str, Any] = data
    return checked


def states_of(sidecar: dict[str, Any]) -> list[Any]:
    """The world's `State` of every frame."""
    world = WORLDS[sidecar["world"]]
    return [world.State(**_frozen(frame["state"])) for frame in sidecar["frames"]]


def style_of(sidecar: dict[str, Any]) -> Any:
    """The world's `Style` of the video."""
    return WORLDS[sidecar["world"]].Style(**_frozen(sidecar["style"]))


def _frozen(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return value
