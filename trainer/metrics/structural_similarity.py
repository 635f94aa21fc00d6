"""Structural similarity (Wang et al. 2004, Gaussian window of 11×11 pixels, sigma 1.5), as torchmetrics computes it."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from likeness.command import BadInput


@cache
def load_structural_similarity() -> Callable[[Tensor, Tensor, float], float]:
    """The similarity of two float32 (N, C, H, W), at most 1, given the width of their range of values.

    Raises BadInput when torchmetrics does not import: it imports torchvision wherever that is installed, which may be
    of another build than torch.
    """
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except (ImportError, RuntimeError) as error:
        raise BadInput(
            f"torchmetrics does not import ({error}); install the build of torchvision that goes with torch "
            f"{torch.__version__}, or uninstall torchvision, which only the extra fidelity needs"
        ) from error

    def similarity(first: Tensor, second: Tensor, data_range: float) -> float:
        value = structural_similarity_index_measure(first, second, data_range=data_range)
        assert isinstance(value, Tensor), "no map was asked for"
        return float(value)

    return similarity
