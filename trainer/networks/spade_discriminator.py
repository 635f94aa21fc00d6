"""SPADE's discriminators (specification 2.4)."""

from torch import Tensor, nn

from trainer.networks.generator import halved
from trainer.networks.norms import InstanceNorm2d
from trainer.networks.spectral import glorot, spectral_convolution

NORMED = 3
"""Convolutions with norms, between the first and the last."""


class SpadePatchGAN(nn.Module):
    """Five 4×4 convolutions, three of them halving, padding 2: label map and photo (N, C, H, W) to five outputs.

    The last are the scores, (N, 1, h, w): 35×35 at 256×256, receptive field 70. Spectral norm and instance norm are on
    the three convolutions in between alone, as the authors' code has it.
    """

    def __init__(self, channels: int, base: int = 64) -> None:
        super().__init__()
        first = nn.Conv2d(channels, base, 4, stride=2, padding=2)
        last = nn.Conv2d(8 * base, 1, 4, padding=2)
        for layer in (first, last):
            glorot(layer)
        stages: list[nn.Module] = [nn.Sequential(first, nn.LeakyReLU(0.2))]
        for level in range(NORMED):
            narrow, stride = base * 2**level, 2 if level < NORMED - 1 else 1
            convolution = spectral_convolution(narrow, 2 * narrow, 4, stride, padding=2, bias=False)
            stages.append(nn.Sequential(convolution, InstanceNorm2d(2 * narrow), nn.LeakyReLU(0.2)))
        self.stages = nn.ModuleList([*stages, last])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        outputs = [inputs]
        for stage in self.stages:
            outputs.append(stage(outputs[-1]))
        return outputs[1:]


class SpadeDiscriminators(nn.Module):
    """Copies with weights of their own, the first at full size, each further one at half the size of the one before.

    Parameters of two: 5,527,682 + 2,048·(channels - 3).
    """

    def __init__(self, channels: int, base: int = 64, scales: int = 2) -> None:
        super().__init__()
        self.copies = nn.ModuleList(SpadePatchGAN(channels, base) for _ in range(scales))

    def forward(self, inputs: Tensor) -> list[list[Tensor]]:
        """Per scale, from full size down: the outputs of the stages and, last, the scores."""
        outputs = []
        for number, copy in enumerate(self.copies):
            inputs = halved(inputs) if number else inputs
            outputs.append(copy(inputs))
        return outputs
