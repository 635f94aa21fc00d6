"""Loss terms that several methods share (specification 3; pix2pixHD 3)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

RELATIVE_SIZES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""M_5 / M_i: element counts of VGG-19's relu1_1 … relu5_1, relative to the deepest (specification 3.3)."""
STAGES = 4
"""Of a discriminator with 3 layers, whose outputs feature matching compares."""
Weighting = Literal["adaptive", "official", "fixed"]


def exact(values: Tensor) -> Tensor:
    """At least float32: losses are never summed in half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def least_squares(scores: Tensor, goal: float) -> Tensor:
    """LSGAN: mean over batch, channels and positions of (score - goal)², goal 1 for real and 0 for fake."""
    return (exact(scores) - goal).square().mean()


def hinge(scores: Tensor, sign: int) -> Tensor:
    """Mean over batch, channels and positions of max(0, 1 - sign·score), sign 1 for real and -1 for fake (SPADE 3)."""
    return (1 - sign * exact(scores)).clamp(min=0).mean()


def feature_distances(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Mean |difference| per sample and layer: (N, layers). `targets` get no gradient."""
    distances = [
        (exact(ours) - exact(theirs.detach())).abs().flatten(1).mean(1)
        for ours, theirs in zip(features, targets, strict=True)
    ]
    return torch.stack(distances, dim=1)


def feature_matching(fake: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """Mean |difference| of the stages' outputs, summed over stages and averaged over scales (pix2pixHD 3).

    However many stages there are, together they count as four.
    """
    scales = [
        feature_distances(ours[:-1], theirs[:-1]).sum(1).mean() * (STAGES / len(ours[:-1]))
        for ours, theirs in zip(fake, real, strict=True)
    ]
    return torch.stack(scales).mean()


def semantic_factors(same_style: Tensor, weighting: Weighting, weight: float) -> Tensor:
    """The factor in front of each layer's distance, per sample: (N,) flags to (N, 5).

    adaptive (reading A, the paper's): `weight` in all layers for same-style samples, `weight`·M_5/M_i for others.
    official (reading B, the released code's): `weight`·M_5/M_i for all, and 2·`weight` more for same-style samples.
    fixed (the paper's ablation "w/o adaptive weights"): `weight`·M_5/M_i for all.
    """
    # Deep layers say what is shown, shallow ones also in which colours: where styles differ, those count for less.
    base = weight * _relative_sizes(same_style.device, torch.get_default_dtype())
    extra = {
        "adaptive": weight - base,
        "official": torch.full_like(base, 2 * weight),
        "fixed": torch.zeros_like(base),
    }[weighting]
    return base + same_style.to(base.dtype).unsqueeze(1) * extra


@lru_cache
def _relative_sizes(device: torch.device, dtype: torch.dtype) -> Tensor:
    """RELATIVE_SIZES on a device, copied there once: a copy makes the host wait."""
    return torch.tensor(RELATIVE_SIZES, device=device, dtype=dtype)


def semantic_loss(distances: Tensor, same_style: Tensor, weighting: Weighting, weight: float) -> Tensor:
    """lambda2 · L_SC: factors applied per sample, then the mean over the batch (specification 3.2)."""
    return (semantic_factors(same_style, weighting, weight) * distances).sum(1).mean()


def same_style_l1(image: Tensor, target: Tensor, same_style: Tensor) -> Tensor:
    """Mean |image - target| over the same-style samples, counted over the whole batch. Not in the paper.

    Where target and exemplar differ in style, the target is not what the picture should look like.
    """
    per_sample = (exact(image) - target).abs().flatten(1).mean(1)
    return (same_style * per_sample).mean()
