"""VGG-19 up to relu5_1 in plain torch (specification 2.3)."""

from itertools import islice, pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)
OUTPUTS = (1, 6, 11, 20, 29)
"""relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 as indices of torchvision's `features` stack."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """Features of (N, 3, H, W) pictures at relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    Pictures come in [-1, 1] and are read as they are, as the published weights of the losses expect;
    imagenet_norm maps them to ImageNet's mean and standard deviation first. Pictures less than
    resize_below pixels high are resized bilinearly to resize_below squared (0: never), specification 3.2.
    """

    recomputed: ClassVar[str] = "between"
    """The method that `speed.recompute` has computed twice."""
    mean: Tensor
    std: Tensor

    def __init__(self, divisor: int = 1, imagenet_norm: bool = False, resize_below: int = 224) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width // divisor, 3, padding=1), nn.ReLU()]
                channels = width // divisor
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.imagenet_norm = imagenet_norm
        self.resize_below = resize_below
        # Not persistent: published weights have no such tensors.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        # Smaller pictures would leave relu5_1, at a sixteenth of the size, few positions to compare.
        if pictures.shape[-2] < self.resize_below:
            size = (self.resize_below, self.resize_below)
            pictures = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
        if self.imagenet_norm:
            pictures = ((pictures + 1) / 2 - self.mean) / self.std
        outputs = []
        for before, last in pairwise((-1, *OUTPUTS)):
            pictures = self.between(pictures, before + 1, last + 1)
            outputs.append(pictures)
        return outputs

    def between(self, values: Tensor, first: int, end: int) -> Tensor:
        """What the layers from number `first` to before `end` make of values."""
        for layer in islice(self.features, first, end):
            values = layer(values)
        return values
