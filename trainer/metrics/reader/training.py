"""How a reader is trained, and how well it reads what it was not trained on."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from likeness.array import Array
from shards.labels import classes
from trainer.metrics import confusion
from trainer.metrics.reader.augmentation import augmented
from trainer.metrics.reader.network import Network, Reader, centres, margins, to_network
from trainer.metrics.reader.pictures import HELD_OUT, ORDER, TRAINING, draw, style_numbers
from trainer.metrics.reader.points import distances
from trainer.metrics.reader.recipe import CLASS_IDS, POINTS, Recipe


def train(recipe: Recipe) -> Reader:
    """Draws pictures and trains a reader on them, with progress bars."""
    drawn = draw(recipe, recipe.pictures, TRAINING, f"drawing {recipe.world}")
    styles, weights = torch.from_numpy(style_numbers(drawn.styles)), _class_weights(recipe, drawn.labels)
    rng = np.random.default_rng((recipe.seed, 0, ORDER))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Network(recipe.maps, styles.shape[1])
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=1e-4)
    order: list[int] = []
    bar = tqdm(range(recipe.steps), f"training a reader of {recipe.world}", unit="step", leave=False)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = _rate(step / recipe.steps)
        while len(order) < recipe.batch:
            order += rng.permutation(recipe.pictures).tolist()
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        views = [augmented(drawn.pictures[i], drawn.labels[i], recipe, rng) for i in chosen]
        pictures = to_network(np.stack([view[0] for view in views]), recipe)
        maps, features = network(pictures.contiguous(memory_format=torch.channels_last))
        labels = np.stack([view[1] for view in views])
        assert network.style is not None
        loss = _loss(maps, labels, recipe, weights) + 0.1 * F.mse_loss(network.style(features), styles[chosen])
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
    shares = np.bincount(labels[labels != classes.VOID], minlength=recipe.maps) / labels.size
    return torch.from_numpy(shares.clip(min=1e-4) ** -0.3).float()


def _loss(maps: Tensor, labels: Array, recipe: Recipe, weights: Tensor | None) -> Tensor:
    """Of the network's maps against labels as `augmented` gives them: cross-entropy, for points over places."""
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
    for axis, share in enumerate(margins(maps)):
        cells = share.shape[-1]
        away = (centres(share) - truth[:, :, axis, None]) * cells
        loss = loss - ((-away.square() / 2).softmax(2) * (share + 1e-6).log()).sum(2) + (share * away).sum(2).abs()
    return (loss * seen).sum() / seen.sum().clamp(min=1)


def measure(reader: Reader) -> dict[str, float]:
    """What a reader makes of pictures that it was not trained on, as they are drawn.

    `pixels`: mean distance of points, in pixels of a picture 256 high; or for streets `pixel_accuracy`,
    `class_accuracy` (both 0..1) and `class_iou`.
    """
    recipe = reader.recipe
    drawn = draw(recipe, recipe.held_out, HELD_OUT, "drawing held-out pictures")
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
