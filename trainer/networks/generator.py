"""The global generator of pix2pixHD, which the style-consistent method shares (specification 2.1)."""

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.networks.norms import InstanceNorm2d

WEIGHT_STD = 0.02


def initialise(module: nn.Module) -> None:
    """Draws every convolution's weight from N(0, 0.02); biases keep torch's default (specification 4)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, WEIGHT_STD)


class ResidualBlock(nn.Module):
    """R: two reflection-padded 3×3 convolutions with instance norm, ReLU after the first only; (N, C, H, W)."""

    recomputed: ClassVar[str] = "forward"
    """The method that `speed.recompute` has computed twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # No ReLU after the sum, so that a block can leave its input as it is (Johnson et al. 2016, after Gross and
        # Wilber).
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.body(features)
        return out


class GlobalGenerator(nn.Module):
    """`c7s1-64, d128 … d1024, R1024×9, u512 … u64, c7s1-3`: (N, in_channels, H, W) to (N, 3, H, W) in (-1, 1).

    H and W must be multiples of 2**downsamplings. Instance norm is not affine and keeps no running
    statistics, so train and eval mode agree. Parameters at the defaults: 182,433,859 + 3,136·in_channels.

    colour_channels > 0 removes the blindness to constant offsets of the input: `colour`, a
    (N, colour_channels) description of the exemplar's colours, shifts and scales the features
    after the norms of the upward half, where nothing later subtracts it. The published network has 0.

    picture False leaves out the last convolution and tanh: (N, base, H, W) features, which `PictureLayer` or a local
    enhancer takes further (pix2pixHD 2.2).
    """

    def __init__(
        self,
        in_channels: int,
        base: int = 64,
        downsamplings: int = 4,
        blocks: int = 9,
        colour_channels: int = 0,
        picture: bool = True,
        out_channels: int = 3,
    ) -> None:
        super().__init__()
        # Padding by reflection, at the ends and in the blocks: zeros would be a dark frame, which shows at the border.
        # The biases in front of norms have no effect; the published weights have them, and checkpoints keep their
        # names.
        widths = [base * 2**level for level in range(downsamplings + 1)]
        self.first = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(in_channels, base, 7), InstanceNorm2d(base), nn.ReLU()
        )
        self.down = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1), InstanceNorm2d(wide), nn.ReLU())
                for narrow, wide in pairwise(widths)
            )
        )
        self.trunk = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(blocks)))
        self.up = nn.ModuleList(
            nn.Sequential(
                # output_padding makes the size exactly twice: (n - 1)·2 - 2·1 + 3 + 1 = 2n.
                nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1),
                InstanceNorm2d(narrow),
            )
            for wide, narrow in pairwise(reversed(widths))
        )
        self.last = PictureLayer(base, out_channels) if picture else nn.Identity()
        # An instance norm takes every channel's mean away, and with it how bright or red the whole exemplar is. That is
        # given again where no norm follows.
        self.colour = (
            nn.ModuleList(ColourShift(colour_channels, narrow) for narrow in reversed(widths[:-1]))
            if colour_channels
            else None
        )
        initialise(self)

    def forward(self, inputs: Tensor, colour: Tensor | None = None) -> Tensor:
        features = self.trunk(self.down(self.first(inputs)))
        for level, up in enumerate(self.up):
            # Between norm and ReLU, where AdaIN and SPADE put their amounts, too.
            features = up(features)
            if self.colour is not None:
                features = self.colour[level](features, colour)
            features = F.relu(features)
        image: Tensor = self.last(features)
        return image


class PictureLayer(nn.Sequential):
    """`c7s1-3` and tanh: features (N, channels, H, W) to pictures (N, 3, H, W) in (-1, 1), or other out_channels."""

    def __init__(self, channels: int, out_channels: int = 3) -> None:
        super().__init__(nn.ReflectionPad2d(3), nn.Conv2d(channels, out_channels, 7), nn.Tanh())


class ColourShift(nn.Module):
    """Scales and shifts each channel by an amount read from the colour description; starts as identity."""

    def __init__(self, colour_channels: int, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(colour_channels, 2 * channels)
        self.amounts = nn.Linear(2 * channels, 2 * channels)
        nn.init.zeros_(self.amounts.weight)
        nn.init.zeros_(self.amounts.bias)

    def forward(self, features: Tensor, colour: Tensor) -> Tensor:
        scale, shift = self.amounts(F.relu(self.hidden(colour))).unsqueeze(-1).unsqueeze(-1).chunk(2, dim=1)
        out: Tensor = features * (1 + scale) + shift
        return out


def halved(pictures: Tensor) -> Tensor:
    """Half the size by a 3×3 mean around every second pixel, over pixels that exist (pix2pixHD 2.2, 2.3)."""
    return F.avg_pool2d(pictures, 3, stride=2, padding=1, count_include_pad=False)


def colours_of(exemplar: Tensor, cells: int) -> Tensor:
    """The mean colours of a cells×cells grid over the exemplar: (N, 3, H, W) to (N, 3·cells²)."""
    height, width = exemplar.shape[-2:]
    means = F.avg_pool2d(exemplar, (height // cells, width // cells))
    return torch.flatten(means, 1)
