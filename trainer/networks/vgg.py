"""VGG networks up to relu5_1 in plain torch (specification 2.3): what loss networks share, and VGG-19."""

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG(nn.Module):
    """Features of (N, 3, H, W) RGB pictures in [-1, 1] at relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    Each is half as high and wide as the one before. Pictures less than resize_below pixels high are resized
    bilinearly to resize_below squared (0: never), specification 3.2.
    """

    recomputed: ClassVar[str] = "between"
    """The method that `speed.recompute` has computed twice."""

    def __init__(self, widths: Sequence[int | str], outputs: Sequence[int], resize_below: int) -> None:
        """widths: output channels of the convolutions in order, and "pool" where pictures are halved. outputs: the
        features' places among convolutions, ReLUs and poolings."""
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.outputs = tuple(outputs)
        self.resize_below = resize_below

    def forward(self, pictures: Tensor) -> list[Tensor]:
        # Smaller pictures would leave relu5_1, at a sixteenth of the size, few positions to compare.
        if pictures.shape[-2] < self.resize_below:
            size = (self.resize_below, self.resize_below)
            pictures = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
        values = self.prepared(pictures)
        outputs = []
        for before, last in pairwise((-1, *self.outputs)):
            values = self.between(values, before + 1, last + 1)
            outputs.append(values)
        return self.scaled(outputs)

    def prepared(self, pictures: Tensor) -> Tensor:
        """Pictures in [-1, 1] as the first convolution wants them."""
        return pictures

    def scaled(self, features: list[Tensor]) -> list[Tensor]:
        """Features in units in which the losses' weights mean the same in every network."""
        return features

    def between(self, values: Tensor, first: int, end: int) -> Tensor:
        """What the layers from number `first` to before `end` make of values."""
        for layer in islice(self.features, first, end):
            values = layer(values)
        return values


class VGG19(VGG):
    """The published losses' network: it reads pictures in [-1, 1] as they are, as these losses do.

    imagenet_norm maps them to ImageNet's mean and standard deviation first. divisor divides all widths.
    """

    widths: ClassVar[tuple[int | str, ...]] = (
        64,
        64,
        "pool",
        128,
        128,
        "pool",
        256,
        256,
        256,
        256,
        "pool",
        512,
        512,
        512,
        512,
        "pool",
        512,
    )
    mean: Tensor
    std: Tensor

    def __init__(self, divisor: int = 1, imagenet_norm: bool = False, resize_below: int = 224) -> None:
        widths = (64, 64, "pool", 128, 128, "pool", *(256,) * 4, "pool", *(512,) * 4, "pool", 512)
        narrower = [width // divisor if isinstance(width, int) else width for width in widths]
        # Their places in torchvision's `features`, which its published weights are named after.
        super().__init__(narrower, (1, 6, 11, 20, 29), resize_below)
        self.imagenet_norm = imagenet_norm
        # Not persistent: published weights have no such tensors.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def prepared(self, pictures: Tensor) -> Tensor:
        return ((pictures + 1) / 2 - self.mean) / self.std if self.imagenet_norm else pictures
