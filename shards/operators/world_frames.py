"""Frames of worlds' videos, whose labels lie beside them as the world wrote them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import classes
from shards.labels.kinds import kind_of
from shards.media.boxes import nearest, resized
from shards.media.pictures import read_ids, read_instances
from shards.media.video import decode
from shards.operators.labelling import Labelling, Photo
from shards.records import Frame, LabelSchema
from shards.sources.dataset import Item
from shards.worlds.sidecar import sidecar_of, sidecar_path


def _small(ids: Array, schema: LabelSchema) -> Array:
    return nearest(ids, schema.height, schema.width)


def _of_size(path: Path, image: Array) -> Array:
    """The instance map of a frame."""
    numbers = read_instances(path)
    if numbers.shape != image.shape[:2]:
        raise BadInput(
            f"{path} is {numbers.shape[1]}×{numbers.shape[0]} pixels, but its frame {image.shape[1]}×{image.shape[0]}; "
            "draw the world again"
        )
    return numbers


def world_photos(item: Item, labelling: Labelling, outcomes: Counter[str]) -> Iterator[Photo]:
    """Labels that a world wrote beside its video."""
    video, schema = item.path, labelling.schema
    sidecar = sidecar_of(video)
    beside = sidecar_path(video)
    if sidecar is None:
        raise BadInput(f"{video} has no sidecar {beside.name}; draw the world again, or use --labels face-landmarks")
    entries = sidecar["frames"]
    kind = kind_of(schema)
    member = kind.member
    last = -1
    for number, seconds, image in decode(video, labelling.every, labelling.timeout_s):
        last = number
        if number >= len(entries):
            raise BadInput(f"{beside} describes {len(entries)} frames, but {video.name} has more; draw the world again")
        entry = entries[number]
        if member not in entry:
            raise BadInput(
                f"{beside} is of the world {sidecar['world']!r}, which has no {member} for a {schema.kind!r} label"
            )
        ids = instances = None
        points: dict[str, Any] = {}
        if kind.points is None:
            path = video.parent / entry[member]
            ids = classes.checked(schema, _small(read_ids(path), schema), str(path))
            if labelling.instances:
                if "instances" not in entry:
                    raise BadInput(f"{beside} names no instance maps; draw the world again")
                instances = _small(_of_size(video.parent / entry["instances"], image), schema)
        else:
            points[member] = tuple(tuple(point) for point in entry[member])
        outcomes["used"] += 1
        frame = Frame(item.source, number, seconds, item.style, **points)
        yield Photo(frame, resized(image, schema.height, schema.width), ids, instances)
    if last < len(entries) - labelling.every:
        raise BadInput(
            f"{video} ends with frame {last}, but {beside.name} describes {len(entries)} frames; draw the world again"
        )
