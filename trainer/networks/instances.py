"""What is computed from instance maps: int32 (N, H, W), the same number = the same object within one picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = 65_536
"""Instance numbers are below this: maps travel as 16-bit pictures."""


def boundaries(instances: Tensor) -> Tensor:
    """1 where a pixel's instance is not that of one of its 4 neighbours, else 0: float (N, 1, H, W).

    Both sides of an edge are marked, so that lines are two pixels thick (pix2pixHD 1). Made of slices, comparisons
    and pads alone, which exported graphs have, too.
    """
    dtype = torch.get_default_dtype()
    across = (instances[:, :, 1:] != instances[:, :, :-1]).to(dtype).unsqueeze(1)
    down = (instances[:, 1:] != instances[:, :-1]).to(dtype).unsqueeze(1)
    beside = torch.maximum(F.pad(across, (1, 0)), F.pad(across, (0, 1)))
    above = torch.maximum(F.pad(down, (0, 0, 1, 0)), F.pad(down, (0, 0, 0, 1)))
    return torch.maximum(beside, above)


def instance_means(values: Tensor, instances: Tensor) -> Tensor:
    """Each channel's mean over the pixels of each instance of each sample, written back to them (pix2pixHD 2.4).

    values: (N, C, H, W); instances: integers (N, H, W) in [0, 65,535]. Gives (N, C, H, W) of the values' type, at
    least float32. Sums are taken in double precision: exact for equal values, so that a second pooling changes
    nothing.
    """
    samples, channels = values.shape[:2]
    # The same number in two samples is two things: every sample has a range of its own.
    offsets = NUMBERS * torch.arange(samples, device=values.device).view(-1, 1)
    places = (instances.long().flatten(1) + offsets).flatten()
    pixels = values.double().permute(0, 2, 3, 1).reshape(-1, channels)
    # A row for every number there may be, nearly all of them empty. Listing those that occur would make the host wait
    # for the GPU, to learn how many they are.
    sums = pixels.new_zeros(samples * NUMBERS, channels).index_add(0, places, pixels)
    counts = pixels.new_zeros(samples * NUMBERS).index_add(0, places, pixels.new_ones(len(places)))
    means = (sums / counts.clamp(min=1).unsqueeze(1)).index_select(0, places)
    pooled = means.view(samples, *values.shape[2:], channels).permute(0, 3, 1, 2)
    return pooled.to(torch.promote_types(values.dtype, torch.float32)).contiguous()


def instance_classes(label: Tensor, instances: Tensor) -> Tensor:
    """The class that covers most of each pixel's instance: one-hot (N, C_L, H, W) to channel numbers (N, H, W)."""
    return instance_means(label, instances).argmax(1)
