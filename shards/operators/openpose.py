"""Body keypoints from the JSON files that OpenPose writes."""

import json
from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

COCO_OF_BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""For each of the 18 keypoints of OpenPose's COCO model, the one of BODY_25, whose number 8 is the mid hip."""


def keypoints_of(folder: Path, stem: str, number: int, height: int, width: int) -> Array | None:
    """The keypoints of a video's frame: float (18, 3), x and y as fractions of `width` and `height`, confidence.

    Read from `STEM_000000000012_keypoints.json`, as `openpose --write_json` names it; of several people the one with
    the highest mean confidence; None when there is nobody.

    Raises BadInput naming the file when it is missing, or not such a file.
    """
    path = folder / f"{stem}_{number:012d}_keypoints.json"
    try:
        people = json.loads(path.read_text(encoding="utf-8"))["people"]
        bodies = [np.asarray(person["pose_keypoints_2d"], np.float64) for person in people]
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; run OpenPose with --write_json over all frames of {stem}") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path} is no keypoint file of OpenPose: {error!r}; write it again with --write_json"
        ) from error
    if not bodies:
        return None
    return max((_of_18(path, body, height, width) for body in bodies), key=lambda body: float(body[:, 2].mean()))


def _of_18(path: Path, numbers: Array, height: int, width: int) -> Array:
    if numbers.shape not in ((54,), (75,)) or not np.isfinite(numbers).all():
        raise BadInput(
            f"{path} has a person of {numbers.size} numbers; OpenPose's COCO model gives 54, its BODY_25 model 75"
        )
    points = numbers.reshape(-1, 3)
    if len(points) == 25:
        points = points[list(COCO_OF_BODY_25)]
    return points / (width, height, 1)
