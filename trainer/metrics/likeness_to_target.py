"""Pictures against the true answer: the target, for pairs whose target has the exemplar's style, or a world's truth."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from likeness.array import Array
from shards.records import Frame
from trainer.metrics.metric import Judged, Metric, mean_of
from trainer.metrics.structural_similarity import load_structural_similarity
from trainer.metrics.truth import distance

LEAST_SQUARED_ERROR = 1 / 12
"""Squared 1/255: the variance of rounding to whole numbers, below which 8-bit pictures cannot be told apart.

Identical pictures have 10 log10(12 · 255²) = 58.92 dB instead of infinitely many, which no mean can hold.
"""
NOTHING = float("nan")
_WHERE = "over pairs whose target has the exemplar's style"


def likeness_to_target() -> Metric:
    """SSIM, PSNR, mean absolute difference, and how much of the exemplar was copied.

    Raises BadInput as `load_structural_similarity` does.
    """
    load_structural_similarity()
    return Metric(
        measure,
        {
            "ssim": mean_of("ssim", "more", f"Structural similarity to the target, {_WHERE}; 1 is the target itself."),
            "psnr": mean_of(
                "psnr",
                "more",
                f"Peak signal-to-noise ratio to the target, {_WHERE}; the target itself has 58.92 dB, the rounding "
                "error of 8 bits.",
                "dB",
            ),
            "l1": mean_of("l1", "less", f"Mean |picture - target|, {_WHERE}; 0 is the target itself.", "of 255"),
            "exemplar_copy": mean_of(
                "exemplar_copy",
                "less",
                "Distance to the target as a share of the distances to target and exemplar (mean |difference|), "
                f"{_WHERE}; 0 is the target, 0.5 as near to the exemplar, 1 the exemplar itself.",
            ),
        },
    )


def likeness_to_truth(draw: Callable[[Frame, Frame], Array]) -> Metric:
    """SSIM and PSNR to what the picture should be, for every pair: `truth/ssim` and `truth/psnr`.

    draw: gives that picture, uint8 (H, W, 3), for the frame of the label and the frame of the style, as `Truth.draw`
    does for the worlds.
    """

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        truths = [draw(one.pair.target, one.pair.exemplar) for one in judged]
        both = [(one.picture, truth) for one, truth in zip(judged, truths, strict=True)]
        return {
            "truth/ssim": np.array([ssim(*pictures) for pictures in both], np.float64),
            "truth/psnr": np.array([psnr(*pictures) for pictures in both], np.float64),
        }

    where = "to the label drawn in the exemplar's style by the world itself"
    return Metric(
        measure,
        {
            "truth/ssim": mean_of("truth/ssim", "more", f"Structural similarity {where}; 1 is the truth itself."),
            "truth/psnr": mean_of(
                "truth/psnr",
                "more",
                f"Peak signal-to-noise ratio {where}; the truth itself has 58.92 dB, the rounding error of 8 bits.",
                "dB",
            ),
        },
    )


def measure(judged: Sequence[Judged]) -> dict[str, Array]:
    """`ssim`, `psnr` in dB, `l1` in 1/255 and `exemplar_copy` of each picture; NaN where the styles differ."""
    rows = [_likeness(one) if one.pair.same_style else (NOTHING,) * 4 for one in judged]
    return dict(
        zip(("ssim", "psnr", "l1", "exemplar_copy"), np.reshape(rows, (-1, 4)).T.astype(np.float64), strict=True)
    )


def ssim(first: Array, second: Array) -> float:
    """Structural similarity of two uint8 (H, W, 3), at most 1. Raises BadInput as `load_structural_similarity` does."""
    return load_structural_similarity()(_tensor(first), _tensor(second), 255.0)


def psnr(first: Array, second: Array) -> float:
    """Peak signal-to-noise ratio of two uint8 (H, W, 3) in dB, at most 58.92."""
    squared = float(np.square(first.astype(np.float64) - second).mean())
    return 10 * math.log10(255**2 / max(squared, LEAST_SQUARED_ERROR))


def exemplar_copy(picture: Array, target: Array, exemplar: Array) -> float:
    """d(picture, target) / (d(picture, target) + d(picture, exemplar)); 0 where all three are the same."""
    to_target, to_exemplar = distance(picture, target), distance(picture, exemplar)
    return to_target / (to_target + to_exemplar) if to_target else 0.0


def _likeness(one: Judged) -> tuple[float, float, float, float]:
    return (
        ssim(one.picture, one.target),
        psnr(one.picture, one.target),
        distance(one.picture, one.target),
        exemplar_copy(one.picture, one.target, one.exemplar),
    )


def _tensor(picture: Array) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
