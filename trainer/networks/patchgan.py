"""The PatchGAN discriminator, 70×70 by default, single and multi-scale (specification 2.2; pix2pixHD 2.3)."""

from itertools import pairwise

from torch import Tensor, nn

from trainer.networks.generator import halved, initialise
from trainer.networks.norms import InstanceNorm2d

WIDEST = 512
"""Channels of a discriminator's layer, at most, however wide the one before it: as the authors' code has it."""


class PatchGAN(nn.Module):
    """C64-C128-C256-C512 (strides 2, 2, 2, 1) and a one-channel convolution; zero padding 2 throughout.

    layers: how many of them halve the picture. Each has twice the channels of the one before, but at most 512.
    (N, in_channels, H, W) to raw scores (N, 1, h, w): 35×35 at 256×256, receptive field 70×70 at 3 layers.
    Parameters at the defaults: 2,761,665 + 1,024·in_channels.
    """

    def __init__(self, in_channels: int, base: int = 64, layers: int = 3) -> None:
        super().__init__()
        # Padding 2 where pix2pix has 1: pix2pixHD's code rounds (4 - 1) / 2 up, which makes score maps a little larger.
        # The first stage has no norm, as in pix2pix (Isola et al. 2017, section 6.1.2).
        widths = [base]
        for _ in range(layers):
            widths.append(min(2 * widths[-1], WIDEST))
        stages: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(in_channels, base, 4, stride=2, padding=2), nn.LeakyReLU(0.2))
        ]
        for (narrow, wide), stride in zip(pairwise(widths), [2] * (layers - 1) + [1], strict=True):
            stages.append(
                nn.Sequential(
                    nn.Conv2d(narrow, wide, 4, stride=stride, padding=2), InstanceNorm2d(wide), nn.LeakyReLU(0.2)
                )
            )
        stages.append(nn.Conv2d(widths[-1], 1, 4, padding=2))
        # Kept apart, since feature matching compares the output of each (Wang et al. 2018, section 3.2).
        self.stages = nn.ModuleList(stages)
        initialise(self)

    def features(self, inputs: Tensor) -> list[Tensor]:
        """The outputs of the stages, one more than layers, and, last, the scores."""
        outputs = [inputs]
        for stage in self.stages:
            outputs.append(stage(outputs[-1]))
        return outputs[1:]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.features(inputs)[-1]


class MultiScalePatchGAN(nn.Module):
    """K discriminators with weights of their own; each further one sees the input at half the size.

    The copy with the highest index sees the full size, so that the copies that a K + 1 network takes over
    keep the absolute size they were trained at (pix2pixHD 2.3).
    """

    def __init__(self, in_channels: int, base: int = 64, scales: int = 2, layers: int = 3) -> None:
        super().__init__()
        self.copies = nn.ModuleList(PatchGAN(in_channels, base, layers) for _ in range(scales))

    def forward(self, inputs: Tensor) -> list[list[Tensor]]:
        """Per scale, from full size down: the outputs of the stages and, last, the scores."""
        outputs = []
        for copy in reversed(self.copies):
            assert isinstance(copy, PatchGAN)
            outputs.append(copy.features(inputs))
            inputs = halved(inputs)
        return outputs
