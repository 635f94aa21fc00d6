"""Body keypoints from the JSON files that OpenPose writes."""

import json
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from likeness.names import file_called

COCO_OF_BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""For each of the 18 keypoints of OpenPose's COCO model, the one of BODY_25, whose number 8 is the mid hip."""


def keypoints_of(folder: Path, stem: str, number: int, height: int, width: int) -> Array | None:
    """The keypoints of a video's frame: float (18, 3), x and y as fractions of `width` and `height`, confidence.

    Read from `STEM_000000000012_keypoints.json`, as `openpose --write_json` names it; of several people the one with
    the highest mean confidence; None when there is nobody. x and y are in pixels of the frame (`--keypoint_scale 0`),
    or from 0 to 1 or from -1 to 1 over it (3 and 4): their range tells.

    Raises BadInput naming the file when it is missing, or not such a file, and when its keypoints are in another unit.
    """
    path = file_called(folder, f"{stem}_{number:012d}_keypoints.json")
    if not path.is_file():
        raise BadInput(f"{path} is missing; run OpenPose with --write_json over all frames of {stem}")
    bodies = _bodies(path)
    if not bodies:
        return None
    body = max(bodies, key=lambda body: float(body[:, 2].mean()))
    places = _seen(bodies)
    unit = "pixels" if places.size and places.max() > _NEAR_ONE else _unit(folder)
    if unit == "pixels":
        if len(places) > 1 and places.max() <= _NEAR_ONE:
            raise BadInput(f"{path}: {_range(places)}, and other files of {folder} hold pixels; {_REMEDY}")
        if len(places) and (places > (width + _BEYOND, height + _BEYOND)).any():
            raise BadInput(f"{path}: {_range(places)}, but its frame has {width}×{height} pixels; {_REMEDY}")
        return body / (width, height, 1)
    return body if unit == "0 to 1" else (body + np.array((1, 1, 0))) / (2, 2, 1)


Unit = Literal["pixels", "0 to 1", "-1 to 1"]
"""Of x and y over a frame."""
_SURE = 0.05
"""The confidence from which on a keypoint's place counts."""
_NEAR_ONE = 1.1
"""What x and y from 0 to 1, and from -1 to 1, do not exceed: OpenPose may place a point a little outside."""
_BEYOND = 2.0
"""Pixels by which a point may lie outside its frame."""
_REMEDY = "run OpenPose over these very videos with --keypoint_scale 0, 3 or 4"


@cache
def _unit(folder: Path) -> Unit:
    """The unit of a folder's files, from all of them: one run of OpenPose writes one unit.

    Points from -1 to 1 show by a negative one, as nobody stays in the lower right quarter of every frame.
    """
    unit: Unit = "0 to 1"
    for path in sorted(folder.glob("[!.]*_keypoints.json")):
        places = _seen(_bodies(path))
        if places.size and places.max() > _NEAR_ONE:
            return "pixels"
        if places.size and places.min() < 1 - _NEAR_ONE:
            unit = "-1 to 1"
    return unit


def _bodies(path: Path) -> list[Array]:
    """The keypoints of everybody in a file, float (18, 3) each, in the file's unit."""
    try:
        people = json.loads(path.read_text(encoding="utf-8"))["people"]
        return [_of_18(path, np.asarray(person["pose_keypoints_2d"], np.float64)) for person in people]
    except (OSError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path} is no keypoint file of OpenPose: {error!r}; write it again with --write_json"
        ) from error


def _seen(bodies: list[Array]) -> Array:
    """(n, 2): x and y of the points that OpenPose is sure of."""
    points = np.concatenate([np.empty((0, 3)), *bodies])
    return points[points[:, 2] >= _SURE, :2]


def _range(places: Array) -> str:
    return f"its keypoints lie between {places.min():g} and {places.max():g}"


def _of_18(path: Path, numbers: Array) -> Array:
    if numbers.shape not in ((54,), (75,)) or not np.isfinite(numbers).all():
        raise BadInput(
            f"{path} has a person of {numbers.size} numbers; OpenPose's COCO model gives 54, its BODY_25 model 75"
        )
    points = numbers.reshape(-1, 3)
    return points[list(COCO_OF_BODY_25)] if len(points) == 25 else points
