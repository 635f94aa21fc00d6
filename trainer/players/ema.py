"""Exponential moving averages of network weights."""

import copy
from collections.abc import Mapping

import torch
from torch import nn


class MovingAverages:
    """Averaged copies of networks: average ← decay·average + (1 - decay)·weight after each step.

    Early on the decay is (1 + steps)/(10 + steps) where that is less, so that short runs
    do not average in their random start. Steps are counted from when a network begins to learn.
    """

    def __init__(self, networks: dict[str, nn.Module], decay: float) -> None:
        self.networks = {
            name: copy.deepcopy(network).eval().requires_grad_(False) for name, network in networks.items()
        }
        self.decay = decay

    @torch.no_grad()
    def update(self, networks: dict[str, nn.Module], steps: Mapping[str, int]) -> None:
        """Moves the averages towards `networks` after so many iterations.

        steps: by network, the iterations since it began to learn (1 for the first), however many turns it had in each.
        """
        for name, average in self.networks.items():
            # Not positive before a network's first step: it has its average's weights.
            taken = max(0, steps[name])
            weight = 1 - min(self.decay, (1 + taken) / (10 + taken))
            # All tensors at once, in a few kernels instead of one for each.
            torch._foreach_lerp_(list(average.parameters()), list(networks[name].parameters()), weight)
            for ours, theirs in zip(average.buffers(), networks[name].buffers(), strict=True):
                ours.copy_(theirs)
