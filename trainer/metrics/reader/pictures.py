"""The pictures that a reader is trained and measured on, as a world draws them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from likeness import machine
from likeness.array import Array
from shards.worlds import WORLDS, render
from shards.worlds.world import MappedWorld
from trainer.metrics.reader.points import true_points
from trainer.metrics.reader.recipe import Recipe

SCENE = 4
"""States that are drawn from one motion, each in a style of its own."""
# The third word of a seed, which videos do not have: no picture of a video is trained on.
TRAINING, ORDER, HELD_OUT = 0x72656164, 0x73687566, 0x68656C64


@dataclass(frozen=True)
class Drawn:
    """N pictures of a world with all that a reader learns of them."""

    pictures: list[Array]
    """uint8 (h, w, 3) RGB, at the size at which they are read (`Recipe.inside`)."""
    labels: Array
    """float32 (N, points, 2), x and y as fractions, or uint8 (N, h, w) class ids."""
    styles: list[Any]
    """A dataclass for each picture, of the world's own type."""


def draw(recipe: Recipe, count: int, purpose: int, title: str) -> Drawn:
    """`count` pictures of the recipe's world.

    purpose: TRAINING or HELD_OUT, which share no picture. title: of the progress bar.
    """
    scenes = range(-(-count // SCENE))
    with ThreadPoolExecutor(machine.cores()) as pool:
        drawn = pool.map(lambda number: list(_scene(recipe, number, purpose)), scenes)
        shown = tqdm(drawn, title, len(scenes), unit="scene", leave=False)
        pictures, labels, styles = zip(*[one for scene in shown for one in scene][:count], strict=True)
    return Drawn(list(pictures), np.stack(labels), list(styles))


def _scene(recipe: Recipe, number: int, purpose: int) -> Iterator[tuple[Array, Array, Any]]:
    world, size = WORLDS[recipe.world], recipe.width
    rng = np.random.default_rng((recipe.seed, number, purpose))
    height, width = recipe.inside
    for state in world.sample_states(rng, SCENE, 0.5):
        style = world.sample_style(rng)
        # As packing does it: drawn, reduced to the shards' size; then to the size at which it is read.
        picture = cv2.resize(
            render(recipe.world, state, style, size), (recipe.width, recipe.height), interpolation=cv2.INTER_AREA
        )
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        if isinstance(world, MappedWorld):
            ids = world.class_ids(state, size)
            yield picture, cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), style
        else:
            marks = world.annotate(state, size)
            yield picture, true_points(marks.get("landmarks"), marks.get("keypoints"))[0].astype(np.float32), style


def style_numbers(styles: Sequence[Any]) -> Array:
    """Styles as numbers of mean 0 and deviation 1, float32 (N, numbers): names as one number for each that occurs."""
    columns: list[Array] = []
    for item in fields(styles[0]):
        values = [getattr(style, item.name) for style in styles]
        if isinstance(values[0], str):
            columns += [np.array([value == name for value in values], float) for name in sorted(set(values))]
        else:
            columns += list(np.array(values, float).reshape(len(values), -1).T)
    numbers = np.stack(columns, 1)
    spread = numbers.std(0)
    varying = spread > 0
    centred: Array = (numbers - numbers.mean(0))[:, varying] / spread[varying]
    return centred.astype(np.float32)
