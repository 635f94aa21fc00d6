"""Feature maps for pix2pixHD: each instance in the look of one of its class's centres (pix2pixHD specification 2.4)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

FILE = "feature-centres.json"
CHANNELS = 3
"""Of features where nothing else is said."""
Centres = Mapping[int, Array]
"""Class id to its centres: float32 (K, C) in [-1, 1]. A class that is missing has none."""


@dataclass(frozen=True)
class FeatureCentres:
    """`feature-centres.json` in a checkpoint's folder."""

    checkpoint: str
    """The digest of the checkpoint whose encoder made the features."""
    regions: str
    """What they are means over, `instances` or `classes`."""
    centres: dict[int, list[list[float]]]
    """Class id to its centres, each a list of as many numbers in [-1, 1] as features have channels."""
    counts: dict[int, list[int]]
    """Class id to how many regions of the training pictures each centre stands for."""

    @property
    def arrays(self) -> dict[int, Array]:
        """The centres as `paint` takes them."""
        return {number: np.array(centres, np.float32) for number, centres in self.centres.items()}

    def dumps(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def parse_centres(text: str | bytes, where: str | Path) -> FeatureCentres:
    """Reads what `FeatureCentres.dumps` wrote. Raises BadInput that names `where` for anything else."""
    try:
        data: dict[str, Any] = json.loads(text)
        centres = FeatureCentres(
            checkpoint=str(data["checkpoint"]),
            regions=str(data["regions"]),
            centres={
                int(number): [[float(v) for v in row] for row in rows] for number, rows in data["centres"].items()
            },
            counts={int(number): [int(count) for count in counts] for number, counts in data["counts"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{where} holds no feature centres ({error!r}); write it with trainer.feature_centres"
        ) from error
    lengths = {len(row) for rows in centres.centres.values() for row in rows}
    for number, rows in centres.centres.items():
        if not rows or len(lengths) > 1 or any(not row or not all(-1 <= value <= 1 for value in row) for row in rows):
            raise BadInput(
                f"{where}: the centres of class {number} are not lists of equally many numbers in [-1, 1]; "
                "write the file again with trainer.feature_centres"
            )
    return centres


def paint(instances: Array, ids: Array, centres: Centres, choose: np.random.Generator | Mapping[int, int]) -> Array:
    """A features map, float32 (C, H, W): the same centre all over an instance, zeros where its class has none.

    instances: (H, W) whole numbers; ids: (H, W) class ids in [0, 255]. An instance has the class that covers most of
    it. choose: a generator, with which each instance draws one of its class's centres uniformly, one draw for each in
    the order of their numbers, whether or not its class has centres; or the number of the centre by instance number,
    0 where an instance is not named. Raises BadInput for a number that the class does not have.
    """
    if instances.shape != ids.shape:
        raise BadInput(f"instances are {instances.shape} and class ids {ids.shape}; both must be one (H, W)")
    numbers, places = np.unique(instances, return_inverse=True)
    joint = places.ravel() * 256 + ids.ravel().astype(np.int64)
    classes = np.bincount(joint, minlength=256 * len(numbers)).reshape(-1, 256).argmax(1)
    draws = choose.random(len(numbers)) if isinstance(choose, np.random.Generator) else None
    channels = next((len(each[0]) for each in centres.values() if len(each)), CHANNELS)
    vectors = np.zeros((len(numbers), channels), np.float32)
    for row, (number, class_id) in enumerate(zip(numbers.tolist(), classes.tolist(), strict=True)):
        of_class = centres.get(class_id)
        if of_class is None or not len(of_class):
            continue
        if isinstance(choose, Mapping):
            chosen = choose.get(number, 0)
        else:
            assert draws is not None
            chosen = int(draws[row] * len(of_class))
        if not 0 <= chosen < len(of_class):
            raise BadInput(
                f"instance {number} asks for centre {chosen} of class {class_id}, which has {len(of_class)}; "
                f"choose a number below {len(of_class)}"
            )
        vectors[row] = of_class[chosen]
    return np.ascontiguousarray(vectors[places.ravel()].reshape(*instances.shape, channels).transpose(2, 0, 1))
