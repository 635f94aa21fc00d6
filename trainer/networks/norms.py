"""Normalisation layers whose statistics are exact at any precision.

`recomputes_sequence` says that a sequence with such a norm is worth computing twice (`speed.recompute`): its
activations are large and cheap to make. A norm that keeps running statistics must not say so: they would be updated
twice.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.modules._functions import SyncBatchNorm


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
        # Huang and Belongie 2017, equation 8: the content's statistics go, the style's take their place.
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
        # The unbiased variance: mean · n / (n - 1) = mean / (1 - 1/n).
        deviation = (mean / (1 - share.detach())).sqrt()
        out: Tensor = centred / (deviation + 1e-5) * _exact(self.gain) + _exact(self.bias)
        return out.to(features.dtype)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the samples of all ranks; (N, C, H, W) to the same shape and type. Every rank has equally many.

    Mean and biased variance of each channel are those of the whole batch, on any number of ranks, and so are the
    running ones (momentum 0.1, unbiased variance), which are the same on all ranks. All ranks have to call it equally
    often in training. On GPUs torch's SyncBatchNorm does the sums, which refuses tensors of a CPU. Rounds once, as
    `InstanceNorm2d` does.
    """

    alone: bool = False
    """Whether statistics are those of this process's samples, whatever other ranks do."""

    def forward(self, features: Tensor) -> Tensor:
        exact = _exact(features)
        # `alone` is for settling, where every rank measures the same batches by itself.
        if not self.training or self.alone or _ranks() == 1:
            out = super().forward(exact)
        elif exact.device.type == "cpu":
            out = self._over_ranks(exact)
        else:
            out = self._synchronised(exact)
        return out.to(features.dtype)

    def _over_ranks(self, features: Tensor) -> Tensor:
        mean = _mean_over_ranks(features.mean((0, 2, 3)))
        centred = features - mean.view(1, -1, 1, 1)
        # Two sums over ranks instead of one, because the mean of squares less the square of the mean loses digits.
        variance = _mean_over_ranks(centred.square().mean((0, 2, 3)))
        count = features.numel() // features.shape[1] * _ranks()
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self._factor())
                self.running_var.lerp_(variance * (count / (count - 1)), self._factor())
        self._counted()
        out: Tensor = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            out = out * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return out

    def _synchronised(self, features: Tensor) -> Tensor:
        """What nn.SyncBatchNorm calls; the module itself is refused by DDP on CPUs, whatever it does there."""
        statistics = (self.running_mean, self.running_var, self.eps, self._factor())
        out: Tensor = SyncBatchNorm.apply(  # type: ignore[no-untyped-call]
            features, self.weight, self.bias, *statistics, distributed.group.WORLD, _ranks()
        )
        self._counted()
        return out

    def _factor(self) -> float:
        assert self.momentum is not None, "plain means of batches are measured alone"
        return self.momentum

    def _counted(self) -> None:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def with_statistics(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The norms of a network that measure several samples together, ours and torch's, by name."""
    for name, module in network.named_modules():
        batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if batch_norm or (isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats):
            yield name, module


def _ranks() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _MeanOverRanks(torch.autograd.Function):
    """The mean of a tensor over ranks, which all of them get. The gradient of a mean of all ranks' losses with respect
    to it is the mean of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total / _ranks()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return _mean_over_ranks(gradient)


def _mean_over_ranks(values: Tensor) -> Tensor:
    mean: Tensor = _MeanOverRanks.apply(values)  # type: ignore[no-untyped-call]
    return mean


def _exact(values: Tensor) -> Tensor:
    """At least float32."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
