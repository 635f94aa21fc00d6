"""The network of a reader, and reading with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likeness.array import Array
from shards.labels import classes
from trainer.metrics.reader.recipe import CLASS_IDS, POINTS, Recipe

WIDTHS = (16, 32, 64, 96)
FEATURES = WIDTHS[-1]
"""Numbers that `Reader.features` gives for a picture."""
BATCH = 16
"""Pictures that are read at a time; fewer are filled up, so that a picture is read alike in any company."""


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


def _step(channels_in: int, channels_out: int, stride: int = 1, count: int = 1) -> nn.Sequential:
    """`count` convolutions with norm and ReLU, the first of them with the stride."""
    layers: list[nn.Module] = []
    for index in range(count):
        first = index == 0
        layers += [
            nn.Conv2d(channels_in if first else channels_out, channels_out, 3, stride if first else 1, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Reader:
    """A trained network."""

    recipe: Recipe
    """What it was trained by."""
    network: Network
    """In eval mode, on the CPU."""
    held_out: dict[str, float]
    """Its errors on pictures that it was not trained on, by name (see `training.measure`)."""

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
                out = self.network(to_network(np.stack(some), self.recipe))[place]
                if place == 0 and self.recipe.world in POINTS:
                    out = _mean_places(*margins(out.double()))
                elif place == 0:
                    size = some[0].shape[:2]
                    out = F.interpolate(out, size, mode="bilinear", align_corners=False).argmax(1).to(torch.uint8)
                else:
                    out = out.double()
            parts.append(out.numpy()[: len(pictures) - start])
        return np.concatenate(parts)


def to_network(pictures: Array, recipe: Recipe) -> Tensor:
    """uint8 (N, H, W, 3) of any size as the network takes them."""
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1
    return batch if batch.shape[-2:] == recipe.inside else F.interpolate(batch, recipe.inside, mode="area")


def margins(maps: Tensor) -> tuple[Tensor, Tensor]:
    """How each map's softmax is spread over the columns, (N, points, W), and over the rows, (N, points, H)."""
    shares = maps.flatten(2).softmax(2).view(maps.shape)
    return shares.sum(2), shares.sum(3)


def _mean_places(columns: Tensor, rows: Tensor) -> Tensor:
    """The mean place of each map's softmax (a soft argmax): (N, points, 2), x and y as fractions."""
    return torch.stack([(share * centres(share)).sum(2) for share in (columns, rows)], 2)


def centres(share: Tensor) -> Tensor:
    """Where the middles of the columns or rows lie, as fractions."""
    cells = share.shape[-1]
    return (torch.arange(cells, dtype=share.dtype) + 0.5) / cells
