"""What decides a reader: the world that it reads, the size of its pictures, and how it is trained."""

import hashlib
import json
from dataclasses import asdict, dataclass

from likeness.command import BadInput
from shards.labels import classes
from shards.records import check_size
from shards.worlds import WORLDS

VERSION = 1
"""Of the recipe: of all that decides the weights and is no field of `Recipe`."""
POINTS = {"faces": 68, "dance": 18}
"""Landmarks or keypoints of the worlds whose labels are points."""
CLASS_IDS = classes.schema(64, 64).ids
"""The class ids of streets, void among them."""
LONGER_SIDE = {"faces": 64, "dance": 64, "streets": 128}
"""Pixels of the longer side at which pictures are read, at most: the labels hang on shapes that are seen at it."""


@dataclass(frozen=True)
class Recipe:
    """All that decides a reader, with VERSION: equal recipes give equal weights on as many threads of one processor."""

    world: str
    """The procedural world that it reads, a key of `WORLDS`."""
    width: int
    """Of the pictures that it is made for, in pixels."""
    height: int
    """Of the pictures that it is made for, in pixels."""
    steps: int = 1400
    """Of training."""
    batch: int = 32
    """Pictures of a step."""
    pictures: int = 5000
    """How many the world draws to train on; every step sees other crops, blurs and colours of them."""
    held_out: int = 256
    """How many the world draws to measure the reader's errors on."""
    seed: int = 0
    """Of weights, pictures, their order and their changes."""

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise BadInput(f"there is no world {self.world!r}; choose from {', '.join(WORLDS)}")
        check_size(self.height, self.width)

    @property
    def digest(self) -> str:
        """Eight hex digits that differ for recipes that differ."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()[:8]

    def dumps(self) -> str:
        """The recipe as JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)

    @property
    def maps(self) -> int:
        """How many maps the network gives: one for each point, or for each class but void."""
        return POINTS.get(self.world, len(CLASS_IDS) - 1)

    @property
    def inside(self) -> tuple[int, int]:
        """Height and width at which pictures are read: multiples of 8."""
        share = min(1.0, LONGER_SIDE[self.world] / max(self.width, self.height))
        return max(16, round(self.height * share / 8) * 8), max(16, round(self.width * share / 8) * 8)


def default_recipe(world: str, height: int, width: int) -> Recipe:
    """The recipe for pictures of a size: fewer steps for streets, whose pictures are larger."""
    if world == "streets":
        return Recipe(world, width, height, steps=700, batch=16, pictures=2000)
    return Recipe(world, width, height)
