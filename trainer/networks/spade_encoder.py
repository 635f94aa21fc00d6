"""SPADE's style encoder (specification 2.5)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.networks.norms import InstanceNorm2d
from trainer.networks.spectral import glorot, spectral_convolution

CELLS = 4
"""Rows and columns of what the dense layers read."""
MOST_HALVINGS = 6


class SpadeEncoder(nn.Module):
    """A photo (N, 3, H, W) to the mean and the logarithm of the variance of its style code, each (N, style_numbers).

    It sees every photo as a square of 4·2^halvings pixels, resized bilinearly. Parameters at the defaults: 10,463,424.
    """

    def __init__(self, base: int = 64, style_numbers: int = 256, halvings: int = MOST_HALVINGS) -> None:
        super().__init__()
        self.side = CELLS * 2**halvings
        widths = [3, *(base * min(2**level, 8) for level in range(halvings))]
        # No bias: a norm follows, which would subtract it again.
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    spectral_convolution(narrow, wide, 3, stride=2, padding=1, bias=False),
                    InstanceNorm2d(wide),
                    nn.LeakyReLU(0.2),
                )
                for narrow, wide in pairwise(widths)
            )
        )
        self.mean = nn.Linear(widths[-1] * CELLS**2, style_numbers)
        self.log_variance = nn.Linear(widths[-1] * CELLS**2, style_numbers)
        for layer in (self.mean, self.log_variance):
            glorot(layer)

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(photo.shape[-2:]) != (self.side, self.side):
            photo = F.interpolate(photo, (self.side, self.side), mode="bilinear", align_corners=False)
        read = self.body(photo).flatten(1)
        return self.mean(read), self.log_variance(read)


def halvings_of(height: int, width: int) -> int:
    """How many convolutions the encoder has for pictures of a size in pixels: 6 from 256 on, 5 from 128 on, and so on.

    Below 128 it is our reading: the specification stops at "no sixth below 256".
    """
    return max(1, min(MOST_HALVINGS, (min(height, width) // CELLS).bit_length() - 1))
