"""Normalisation layers whose statistics are exact at any precision.

`recomputes_sequence` says that a sequence with such a norm is worth computing twice (`speed.recompute`): its
activations are large and cheap to make. A norm that keeps running statistics must not say so: they would be updated
twice.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm without parameters or running statistics; (N, C, H, W) to the same shape and type.

    Below float32 it computes in float32 and rounds once, at its end: torch's own CPU kernel rounds mean and scale to
    bfloat16, which shifts whole channels by up to 0.004 standard deviations per unit of their mean.
    """

    recomputes_sequence: ClassVar[bool] = True

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(_exact(features)).to(features.dtype)


class AdaptiveInstanceNorm2d(nn.Module):
    """AdaIN: instance norm (eps 1e-5, biased variance), times `scale`, plus `bias`; (N, C, H, W) to the same.

    scale, bias: (N, C), of each sample: arguments, so that nothing is written into the module between calls. After it
    a channel has the mean `bias` and the standard deviation |scale|. Rounds once, as `InstanceNorm2d` does.
    """

    def forward(self, features: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        normed = F.instance_norm(_exact(features))
        scale, bias = (_exact(each).unsqueeze(-1).unsqueeze(-1) for each in (scale, bias))
        return (normed * scale + bias).to(features.dtype)


class SampleNorm2d(nn.Module):
    """MUNIT's layer norm: each sample's mean over channels and positions, and its spread, become 0 and 1.

    (N, C, H, W) to the same. Divides by (unbiased standard deviation + 1e-5), then has a gain and a bias per channel,
    which start as 1 and 0. Channels keep their means and spreads relative to each other. Rounds once, as
    `InstanceNorm2d` does.
    """

    recomputes_sequence: ClassVar[bool] = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        exact = _exact(features)
        centred = exact - exact.mean((1, 2, 3), keepdim=True)
        squares = centred.square()
        # Clamped for constant samples: the root of 0 has no gradient.
        mean = squares.mean((1, 2, 3), keepdim=True).clamp(min=1e-30)
        # One over the number of values, taken from sums, so that a graph holds no size.
        share = mean / squares.sum((1, 2, 3), keepdim=True).clamp(min=1e-20)
        deviation = (mean / (1 - share.detach())).sqrt()
        out: Tensor = centred / (deviation + 1e-5) * _exact(self.gain) + _exact(self.bias)
        return out.to(features.dtype)


def _exact(values: Tensor) -> Tensor:
    """At least float32."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
