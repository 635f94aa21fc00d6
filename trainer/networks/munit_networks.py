"""MUNIT's networks: Huang et al., ECCV 2018 (specification 2). Convolutions are padded by reflection, with biases."""

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.networks import generator
from trainer.networks.generator import ResidualBlock
from trainer.networks.norms import AdaptiveInstanceNorm2d, InstanceNorm2d, SampleNorm2d

STYLE_CHANNELS = 8
"""Length of a style code where nothing else is said; its prior is N(0, I)."""
STYLE_DOWNSAMPLINGS = 4
NORMS_PER_BLOCK = 2


def initialise(module: nn.Module) -> None:
    """Kaiming normal (fan-in, gain √2) for every convolution and dense layer; biases are 0 (specification 3)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
            _zero_bias(part)


def _zero_bias(layer: nn.Conv2d | nn.Linear) -> None:
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def _convolution(narrow: int, wide: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """7×7 and 5×5 keep the size, 4×4 with stride 2 halves it."""
    return nn.ReflectionPad2d((kernel - 1) // 2), nn.Conv2d(narrow, wide, kernel, stride)


class ContentEncoder(nn.Module):
    """`c7s1-64, d128, d256, R256×4`, all with instance norm: where things are, blind to their colours.

    Pictures (N, channels, H, W) to content codes (N, base·2^downsamplings, H / 2^downsamplings, W / 2^downsamplings).
    A picture times one positive number, plus an offset per colour, has the same code.
    """

    def __init__(self, channels: int = 3, base: int = 64, downsamplings: int = 2, blocks: int = 4) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(downsamplings + 1)]
        self.first = nn.Sequential(*_convolution(channels, base, 7), InstanceNorm2d(base), nn.ReLU())
        self.down = nn.Sequential(
            *(
                nn.Sequential(*_convolution(narrow, wide, 4, stride=2), InstanceNorm2d(wide), nn.ReLU())
                for narrow, wide in pairwise(widths)
            )
        )
        self.trunk = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(blocks)))
        initialise(self)

    def forward(self, picture: Tensor) -> Tensor:
        content: Tensor = self.trunk(self.down(self.first(picture)))
        return content


class StyleEncoder(nn.Module):
    """`c7s1-64, d128, d256, d256, d256`, global average pool, 1×1 convolution: pictures to style codes.

    (N, channels, H, W) to (N, style_channels). Nothing is normalised: instance norm would take the style away. The mean
    is summed in float32. H and W must be at least 32.
    """

    def __init__(self, channels: int = 3, base: int = 64, style_channels: int = STYLE_CHANNELS) -> None:
        super().__init__()
        widths = [base, 2 * base] + [4 * base] * (STYLE_DOWNSAMPLINGS - 1)
        self.first = nn.Sequential(*_convolution(channels, base, 7), nn.ReLU())
        self.down = nn.Sequential(
            *(nn.Sequential(*_convolution(narrow, wide, 4, stride=2), nn.ReLU()) for narrow, wide in pairwise(widths))
        )
        self.code = nn.Conv2d(widths[-1], style_channels, 1)
        initialise(self)

    def forward(self, picture: Tensor) -> Tensor:
        features = self.down(self.first(picture))
        # A sum over all positions loses what half precision cannot hold beside it.
        exact = torch.promote_types(features.dtype, torch.float32)
        mean = features.mean((2, 3), keepdim=True, dtype=exact).to(features.dtype)
        code: Tensor = self.code(mean).flatten(1)
        return code


class AdaptiveResidualBlock(nn.Module):
    """A residual block of two 3×3 convolutions with AdaIN; ReLU after the first only; (N, C, H, W).

    amounts: (N, 4·C): bias and scale of the first AdaIN, then those of the second.
    """

    recomputed: ClassVar[str] = "forward"
    """The method that `speed.recompute` has computed twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(channels, channels, 3))
        self.second = nn.Sequential(*_convolution(channels, channels, 3))
        self.norm = AdaptiveInstanceNorm2d()

    def forward(self, features: Tensor, amounts: Tensor) -> Tensor:
        # Bias before scale, as in the published code, whose weights are converted.
        first_bias, first_scale, second_bias, second_scale = amounts.chunk(2 * NORMS_PER_BLOCK, dim=1)
        inner = F.relu(self.norm(self.first(features), first_scale, first_bias))
        out: Tensor = features + self.norm(self.second(inner), second_scale, second_bias)
        return out


class Decoder(nn.Module):
    """`R256×4` with AdaIN, `u128, u64` (nearest ×2, 5×5, layer norm), `c7s1-3`, tanh: a picture from content and style.

    content: (N, base·2^downsamplings, h, w). style: (N, style_channels). The picture: (N, channels, h·2^downsamplings,
    w·2^downsamplings) in (-1, 1). A perceptron with two hidden layers of `hidden` numbers, 4·base where none are given,
    makes every AdaIN's bias and scale of the style: 4·blocks·base·2^downsamplings numbers, 4,096 at the defaults, in
    the order of the layers.
    """

    def __init__(
        self,
        channels: int = 3,
        base: int = 64,
        downsamplings: int = 2,
        blocks: int = 4,
        style_channels: int = STYLE_CHANNELS,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        widths = [base * 2**level for level in reversed(range(downsamplings + 1))]
        # No AdaIN has weights of its own: the perceptron makes them of the style, two numbers per channel and norm
        # (Huang et al. 2018, section 5.1).
        hidden, amounts = hidden or 4 * base, 2 * NORMS_PER_BLOCK * blocks * widths[0]
        self.perceptron = nn.Sequential(
            nn.Linear(style_channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, amounts),
        )
        self.trunk = nn.ModuleList(AdaptiveResidualBlock(widths[0]) for _ in range(blocks))
        # Upsampling and a convolution, where pix2pixHD has transposed ones, which can leave a checkerboard (Odena et
        # al. 2016). Their norm keeps channels' means apart: an instance norm would undo what AdaIN has put into them.
        self.up = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Upsample(scale_factor=2), *_convolution(wide, narrow, 5), SampleNorm2d(narrow), nn.ReLU()
                )
                for wide, narrow in pairwise(widths)
            )
        )
        self.last = nn.Sequential(*_convolution(base, channels, 7), nn.Tanh())
        initialise(self)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        features = content
        amounts = self.perceptron(style).chunk(len(self.trunk), dim=1)
        for block, amount in zip(self.trunk, amounts, strict=True):
            features = block(features, amount)
        picture: Tensor = self.last(self.up(features))
        return picture


class ScaledDiscriminators(nn.Module):
    """Discriminators of photos alone, with weights of their own; each further one sees the picture at half the size.

    Each: 4×4 convolutions with stride 2 to 64, 128, 256 and 512 channels (as many as `layers`), LeakyReLU 0.2, and a
    1×1 convolution to the scores; nothing is normalised. (N, channels, H, W) to raw scores (N, 1, H/16, W/16),
    (N, 1, H/32, W/32), … from full size down; receptive fields 46, 93 and 187 pixels. H and W must be at least
    2^(layers + scales - 1).
    """

    def __init__(self, channels: int = 3, base: int = 64, scales: int = 3, layers: int = 4) -> None:
        super().__init__()
        self.copies = nn.ModuleList(_discriminator(channels, base, layers) for _ in range(scales))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                _zero_bias(part)
        generator.initialise(self)

    def forward(self, picture: Tensor) -> list[Tensor]:
        scores = []
        for number, copy in enumerate(self.copies):
            # Halved before it is judged: a network of the same size sees twice as far (Wang et al. 2018, section 3.2).
            if number:
                # At the border the mean of the pixels that exist.
                picture = F.avg_pool2d(picture, 3, stride=2, padding=1, count_include_pad=False)
            scores.append(copy(picture))
        return scores


def _discriminator(channels: int, base: int, layers: int) -> nn.Sequential:
    widths = [channels, *(base * 2**level for level in range(layers))]
    stages: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        stages += [*_convolution(narrow, wide, 4, stride=2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*stages, nn.Conv2d(widths[-1], 1, 1))
