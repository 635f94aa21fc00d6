"""`python -m trainer.metrics.reader`: a small network that reads labels off pictures of a procedural world.

It is trained on pictures that the world draws, whose every label is known; it finds the 68 landmarks of a face, the 18
keypoints of a dancer, or a street's class of each pixel. What it reads off a painted picture is compared with the
label that was to be painted. It is no published detector: figures made with it say `reader` or `world` in their names
and compare with each other only, beside what it makes of true photos.
"""

import argparse
import errno
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from likeness import atomic
from likeness.array import Array
from likeness.command import BadInput, run_command
from likeness.one_writer import in_turn
from shards.labels import classes, flip
from shards.records import check_size
from shards.worlds import WORLDS, render
from shards.worlds.world import MappedWorld
from trainer.metrics import confusion

VERSION = 1
"""Of the recipe: of all that decides the weights and is no field of `Recipe`."""
FRAME = 512
"""Landmarks are whole numbers in a frame of this side, laid over the picture: the cell (x, y) of 512×512."""
PIXELS = 256
"""Errors are counted in pixels of a picture this high (specification 6.1)."""
POINTS = {"faces": 68, "dance": 18}
SWAPPED = {"faces": flip.LANDMARKS, "dance": flip.KEYPOINTS}
CLASS_IDS = classes.schema(64, 64).ids
# Pictures are read at this longer side at most: the labels hang on shapes that are seen at it.
LONGER_SIDE = {"faces": 64, "dance": 64, "streets": 128}
WIDTHS = (16, 32, 64, 96)
FEATURES = WIDTHS[-1]
"""Numbers that `Reader.features` gives for a picture."""
BATCH = 16
"""Pictures that are read at a time; fewer are filled up, so that a picture is read alike in any company."""
SCENE = 4
"""States that are drawn from one motion, each in a style of its own."""
# The third word of a seed, which videos do not have: no picture of a video is trained on.
_DRAWN, _SHUFFLED, _HELD_OUT = 0x72656164, 0x73687566, 0x68656C64


@dataclass(frozen=True)
class Recipe:
    """All that decides a reader, with VERSION: equal recipes give equal weights on as many threads of one processor.

    width, height: of the pictures, in pixels. steps: of training, `batch` pictures each. pictures: how many the world
    draws; every step sees other crops, blurs and colours of them.
    """

    world: str
    width: int
    height: int
    steps: int = 1400
    batch: int = 32
    pictures: int = 5000
    held_out: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise BadInput(f"there is no world {self.world!r}; choose from {', '.join(WORLDS)}")
        check_size(self.height, self.width)

    @property
    def digest(self) -> str:
        """Eight hex digits that differ for recipes that differ."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()[:8]

    def dumps(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)

    @property
    def inside(self) -> tuple[int, int]:
        """Height and width at which pictures are read: multiples of 8."""
        share = min(1.0, LONGER_SIDE[self.world] / max(self.width, self.height))
        return max(16, round(self.height * share / 8) * 8), max(16, round(self.width * share / 8) * 8)


class Network(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] to a map of each point's place, or of the classes, and features of the whole.

    A trunk that halves the picture four times, and a way back up to half of its size that adds the trunk's maps.
    """

    def __init__(self, maps: int, style_numbers: int = 0) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.down = nn.ModuleList([_step(3, a, 2), _step(a, b, 2, 2), _step(b, c, 2, 2), _step(c, d, 2, 2)])
        self.side = nn.ModuleList([nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, 2 * a, 1)])
        self.skip = nn.Conv2d(a, 2 * a, 1)
        self.up = nn.ModuleList([_step(c, c), _step(b, b), _step(2 * a, 2 * a)])
        self.maps = nn.Conv2d(2 * a, maps, 1)
        # Only in training: that the features tell styles apart, too.
        self.style = nn.Linear(d, style_numbers) if style_numbers else None

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, maps, H/2, W/2) and the mean over the picture of the trunk's last maps, (N, FEATURES)."""
        levels = []
        for step in self.down:
            pictures = step(pictures)
            levels.append(pictures)
        features = levels.pop().mean(dim=(2, 3))
        for side, up in zip(self.side, self.up, strict=True):
            level = levels.pop()
            finer = F.interpolate(side(pictures), level.shape[-2:], mode="bilinear", align_corners=False)
            pictures = up(finer + (level if levels else self.skip(level)))
        return self.maps(pictures), features


def _step(taken: int, given: int, stride: int = 1, count: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        first = index == 0
        layers += [
            nn.Conv2d(taken if first else given, given, 3, stride if first else 1, 1, bias=False),
            nn.BatchNorm2d(given),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Reader:
    """A trained network. held_out: what it made of pictures that it was not trained on (see `measure`)."""

    recipe: Recipe
    network: Network
    held_out: dict[str, float]

    @property
    def ids(self) -> tuple[int, ...]:
        """The class ids that a reader of streets knows: all but void."""
        return tuple(value for value in CLASS_IDS if value != classes.VOID)

    def points(self, pictures: Sequence[Array]) -> Array:
        """Landmarks or keypoints of uint8 (H, W, 3) pictures: float64 (N, points, 2), x and y as fractions."""
        return self._read(pictures, 0)

    def class_ids(self, pictures: Sequence[Array]) -> Array:
        """The likeliest class of each pixel of uint8 (H, W, 3) pictures: uint8 (N, H, W), never void."""
        return self._read(pictures, 0)

    def features(self, pictures: Sequence[Array]) -> Array:
        """Numbers in which pictures of the world differ, for distances between sets: float64 (N, FEATURES)."""
        return self._read(pictures, 1)

    def _read(self, pictures: Sequence[Array], place: int) -> Array:
        parts = []
        for start in range(0, len(pictures), BATCH):
            some = [pictures[min(start + i, len(pictures) - 1)] for i in range(BATCH)]
            with torch.inference_mode():
                out = self.network(_to_network(np.stack(some), self.recipe))[place]
                if place == 0 and self.recipe.world in POINTS:
                    out = _places(*_margins(out.double()))
                elif place == 0:
                    size = some[0].shape[:2]
                    out = F.interpolate(out, size, mode="bilinear", align_corners=False).argmax(1).to(torch.uint8)
                else:
                    out = out.double()
            parts.append(out.numpy()[: len(pictures) - start])
        return np.concatenate(parts)


def _to_network(pictures: Array, recipe: Recipe) -> Tensor:
    """uint8 (N, H, W, 3) of any size as the network takes them."""
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1
    return batch if batch.shape[-2:] == recipe.inside else F.interpolate(batch, recipe.inside, mode="area")


def _margins(maps: Tensor) -> tuple[Tensor, Tensor]:
    """How each map's softmax is spread over the columns, (N, points, W), and over the rows, (N, points, H)."""
    shares = maps.flatten(2).softmax(2).view(maps.shape)
    return shares.sum(2), shares.sum(3)


def _places(columns: Tensor, rows: Tensor) -> Tensor:
    """The mean place of each map's softmax (a soft argmax): (N, points, 2), x and y as fractions."""
    return torch.stack([(share * _centres(share)).sum(2) for share in (columns, rows)], 2)


def _centres(share: Tensor) -> Tensor:
    """Where the middles of the columns or rows lie, as fractions."""
    cells = share.shape[-1]
    return (torch.arange(cells, dtype=share.dtype) + 0.5) / cells


# What is drawn


@dataclass(frozen=True)
class _Drawn:
    """N pictures, uint8 (h, w, 3) at the size inside the network, with their labels and styles.

    labels: float32 (N, points, 2) in fractions, or uint8 (N, h, w) ids. styles: one dataclass for each picture.
    """

    pictures: list[Array]
    labels: Array
    styles: list[Any]


def _draw(recipe: Recipe, count: int, word: int, told: str) -> _Drawn:
    """`count` pictures of the recipe's world; `word` tells those to train on from the held-out ones."""
    scenes = range(-(-count // SCENE))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        drawn = pool.map(lambda number: list(_scene(recipe, number, word)), scenes)
        shown = tqdm(drawn, told, len(scenes), unit="scene", leave=False)
        pictures, labels, styles = zip(*[one for scene in shown for one in scene][:count], strict=True)
    return _Drawn(list(pictures), np.stack(labels), list(styles))


def _scene(recipe: Recipe, number: int, word: int) -> Iterator[tuple[Array, Array, Any]]:
    world, size = WORLDS[recipe.world], recipe.width
    rng = np.random.default_rng((recipe.seed, number, word))
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


def true_points(landmarks: Any, keypoints: Any) -> tuple[Array, Array]:
    """A frame's landmarks or keypoints as float64 (points, 2) fractions, and which of them are visible, bool."""
    if landmarks is not None:
        # A landmark names a cell of the frame: its middle.
        return (np.asarray(landmarks, float) + 0.5) / FRAME, np.ones(len(landmarks), bool)
    triples = np.asarray(keypoints, float)
    return triples[:, :2], triples[:, 2] > 0


def _style_numbers(styles: Sequence[Any]) -> Array:
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


def _varied(picture: Array, label: Array, recipe: Recipe, rng: np.random.Generator) -> tuple[Array, Array]:
    """Another view of a picture, as bright, soft or noisy as a generator might paint it, with its label.

    Points that leave the view are NaN; pixels that come from outside are void.
    """
    height, width = picture.shape[:2]
    points = recipe.world in POINTS
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
        label = (label * [-1, 1] + [1, 0])[list(SWAPPED[recipe.world])] if points else label[:, ::-1]
    if rng.random() < 0.8:
        angle, scale = rng.uniform(-0.12, 0.12), rng.uniform(0.85, 1.18)
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        middle = np.array([width, height]) / 2
        shift = middle - turn @ middle + rng.uniform(-0.08, 0.08, 2) * [width, height]
        # OpenCV's places are of pixel centres, 0.5 less than those of fractions.
        matrix = np.c_[turn, turn @ [0.5, 0.5] + shift - 0.5]
        picture = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        if points:
            label = (label * [width, height] @ turn.T + shift) / [width, height]
            label[((label < 0) | (label > 1)).any(1)] = np.nan
        else:
            label = cv2.warpAffine(
                np.ascontiguousarray(label), matrix, (width, height), flags=cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT, borderValue=float(classes.VOID),
            )  # fmt: skip
    values: Array = picture.astype(np.float32)
    if rng.random() < 0.4:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.3, 1.6)))
    if rng.random() < 0.6:
        middle_grey = values.mean()
        values = (values - middle_grey) * rng.uniform(0.7, 1.3) + middle_grey + rng.uniform(-30, 30)
        values *= rng.uniform(0.88, 1.12, 3).astype(np.float32)
    if rng.random() < 0.4:
        values += rng.standard_normal(values.shape, np.float32) * np.float32(rng.uniform(2, 22))
    picture = values.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        picture = np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR))
    return picture, label


# Training


def train(recipe: Recipe) -> Reader:
    """Draws pictures and trains a reader on them, with progress bars."""
    drawn = _draw(recipe, recipe.pictures, _DRAWN, f"drawing {recipe.world}")
    styles, weights = torch.from_numpy(_style_numbers(drawn.styles)), _class_weights(recipe, drawn.labels)
    rng = np.random.default_rng((recipe.seed, 0, _SHUFFLED))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Network(_maps(recipe), styles.shape[1])
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=1e-4)
    order: list[int] = []
    bar = tqdm(range(recipe.steps), f"training a reader of {recipe.world}", unit="step", leave=False)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = _rate(step / recipe.steps)
        while len(order) < recipe.batch:
            order += rng.permutation(recipe.pictures).tolist()
        taken, order = order[: recipe.batch], order[recipe.batch :]
        views = [_varied(drawn.pictures[i], drawn.labels[i], recipe, rng) for i in taken]
        pictures = _to_network(np.stack([view[0] for view in views]), recipe)
        maps, features = network(pictures.contiguous(memory_format=torch.channels_last))
        labels = np.stack([view[1] for view in views])
        assert network.style is not None
        loss = _loss(maps, labels, recipe, weights) + 0.1 * F.mse_loss(network.style(features), styles[taken])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    network.style = None
    network.eval().requires_grad_(False)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Reader(recipe, network, measure(Reader(recipe, network, {})))


def _rate(done: float) -> float:
    """The learning rate: up in the first twentieth of training, then down along a cosine."""
    return 4e-3 * min(1.0, (done + 1e-3) / 0.05) * 0.5 * (1 + math.cos(math.pi * done))


def _class_weights(recipe: Recipe, labels: Array) -> Tensor | None:
    """For streets, what a pixel of each class counts: more where the class is rare, or poles and people go unread."""
    if recipe.world in POINTS:
        return None
    shares = np.bincount(labels[labels != classes.VOID], minlength=_maps(recipe)) / labels.size
    return torch.from_numpy(shares.clip(min=1e-4) ** -0.3).float()


def _loss(maps: Tensor, labels: Array, recipe: Recipe, weights: Tensor | None) -> Tensor:
    if recipe.world not in POINTS:
        # Void stands beyond the last class, where it is ignored.
        truth = torch.from_numpy(labels.astype(np.int64))
        finer = F.interpolate(maps, truth.shape[-2:], mode="bilinear", align_corners=False)
        return F.cross_entropy(finer, truth, weights, ignore_index=classes.VOID)
    truth = torch.from_numpy(labels.astype(np.float32))
    seen = ~truth.isnan().any(2)
    truth = truth.nan_to_num(0.5)
    loss = torch.zeros_like(seen, dtype=torch.float32)
    # The spread over columns and over rows against a bump of one cell's deviation, and its mean against the truth.
    for axis, share in enumerate(_margins(maps)):
        cells = share.shape[-1]
        away = (_centres(share) - truth[:, :, axis, None]) * cells
        loss = loss - ((-away.square() / 2).softmax(2) * (share + 1e-6).log()).sum(2) + (share * away).sum(2).abs()
    return (loss * seen).sum() / seen.sum().clamp(min=1)


def measure(reader: Reader) -> dict[str, float]:
    """What a reader makes of pictures that it was not trained on, as they are drawn.

    `pixels`: mean distance of points, in pixels of a picture 256 high; or for streets `pixel_accuracy`,
    `class_accuracy` (both 0..1) and `class_iou`.
    """
    recipe = reader.recipe
    drawn = _draw(recipe, recipe.held_out, _HELD_OUT, "drawing held-out pictures")
    if recipe.world in POINTS:
        apart = distances(reader.points(drawn.pictures), drawn.labels.astype(float), recipe.width / recipe.height)
        return {"pixels": float(apart.mean())}
    read = reader.class_ids(drawn.pictures)
    # Pixels count alike in one picture and in all of them.
    total = confusion.confusion(drawn.labels, read, CLASS_IDS, classes.VOID)
    return {
        "pixel_accuracy": confusion.pixel_accuracy(total),
        "class_accuracy": confusion.class_accuracy(total),
        "class_iou": confusion.class_iou(total, CLASS_IDS.index(classes.VOID)),
    }


def distances(read: Array, true: Array, aspect: float = 1.0) -> Array:
    """Distances between points (..., 2) given as fractions, in pixels of a picture 256 high.

    aspect: the picture's width over its height.
    """
    return np.asarray(np.linalg.norm((read - true) * [PIXELS * aspect, PIXELS], axis=-1))


# Files


def save(reader: Reader, path: Path) -> None:
    """Writes a reader as safetensors, whole or not at all, with its recipe and its errors as metadata."""
    metadata = {"reader": reader.recipe.dumps(), "held_out": json.dumps(reader.held_out, sort_keys=True)}
    tensors = {name: value.contiguous() for name, value in reader.network.state_dict().items()}
    with atomic.new_file(path) as partial:
        save_file(tensors, partial, metadata)


def load(path: Path, remedy: str) -> Reader:
    """Reads what `save` wrote. Raises BadInput naming the file, with `remedy`, when it is missing or something else."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}; {remedy}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = json.loads(metadata["reader"])
        if said.pop("version") != VERSION:
            raise BadInput(f"{path} is a reader of another release; {remedy}")
        recipe = Recipe(**said)
        network = Network(_maps(recipe))
        network.load_state_dict(tensors)
        held_out = {str(name): float(value) for name, value in json.loads(metadata["held_out"]).items()}
    except (AttributeError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path} is not a world reader, or is damaged ({reason}); {remedy}") from error
    return Reader(recipe, network.eval().requires_grad_(False), held_out)


def load_reader(world: str, height: int, width: int, path: Path | None = None) -> Reader:
    """The reader of a world for pictures of a size, in pixels.

    path: a file that `python -m trainer.metrics.reader` wrote; without it, the reader is trained once, which takes
    minutes, and kept in the user's cache folder (XDG_CACHE_HOME, else ~/.cache), where other processes wait for it.

    Raises BadInput naming the file when it is missing, damaged, or a reader of another world or size.
    """
    if path is not None:
        size = f"--world {world} --size {width}x{height}"
        remedy = f"write one with `python -m trainer.metrics.reader {size} --out FILE`"
        reader = load(path, remedy)
        recipe = reader.recipe
        if (recipe.world, recipe.width, recipe.height) != (world, width, height):
            raise BadInput(
                f"{path} reads {recipe.world} of {recipe.width}×{recipe.height} pixels, not {world} of "
                f"{width}×{height}; {remedy}"
            )
        return reader
    return cached(default_recipe(world, height, width))


def cached(recipe: Recipe) -> Reader:
    """The reader of a recipe from the user's cache folder; trained, and kept there, when nobody has done so yet.

    Raises BadInput naming the file when it is damaged, or when the folder cannot be written to.
    """
    file = _cache() / f"{recipe.world}-{recipe.width}x{recipe.height}-{recipe.digest}.safetensors"
    lock, remedy = file.with_suffix(".lock"), "delete it, and it is made anew"
    if file.is_file():
        return load(file, remedy)
    try:
        with in_turn(lock, f"another process trains this reader; waiting for it ({lock})"):
            if not file.is_file():
                reader = train(recipe)
                save(reader, file)
                return reader
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise
        raise BadInput(f"{error.filename} cannot be written to; point XDG_CACHE_HOME to a folder of yours") from error
    return load(file, remedy)


def default_recipe(world: str, height: int, width: int) -> Recipe:
    """The recipe for pictures of a size: fewer steps for streets, whose pictures are larger."""
    if world == "streets":
        return Recipe(world, width, height, steps=700, batch=16, pictures=2000)
    return Recipe(world, width, height)


def _maps(recipe: Recipe) -> int:
    return POINTS.get(recipe.world, len(CLASS_IDS) - 1)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "likeness" / "readers"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's entry; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.metrics.reader", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--world", required=True, choices=tuple(WORLDS))
    parser.add_argument("--size", required=True, metavar="W[xH]", help="the pictures' size in pixels: 64, or 128x64")
    parser.add_argument("--out", required=True, type=Path, help="a new .safetensors file")
    parser.add_argument("--steps", type=int, help="of training; fewer are quicker and read worse")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    def command() -> None:
        width, height = _size(options.size, options.world)
        atomic.refuse_existing(options.out)
        recipe = replace(default_recipe(options.world, height, width), seed=options.seed)
        if options.steps is not None:
            if options.steps < 1:
                raise BadInput(f"--steps {options.steps} trains nothing; give at least 1")
            recipe = replace(recipe, steps=options.steps)
        reader = train(recipe)
        save(reader, options.out)
        for name, value in reader.held_out.items():
            print(f"held-out {name} {value:.4f}")
        print(options.out)

    return run_command(command)


def _size(text: str, world: str) -> tuple[int, int]:
    """Width and height of `64`, whose height is the world's own, or of `128x64`."""
    sides = text.split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise BadInput(f"--size {text} is no size; give the width in pixels, or both sides as 128x64")
    width = int(sides[0])
    return width, int(sides[1]) if len(sides) == 2 else WORLDS[world].height_of(width)


if __name__ == "__main__":
    sys.exit(main())
