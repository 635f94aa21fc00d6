"""Exponential moving averages of network weights."""

import copy

import torch
from torch import nn


class MovingAverages:
    """Averaged copies of networks: average ← decay·average + (1 - decay)·weight after each step.

    Early on the decay is (1 + steps)/(10 + steps) where that is less, so that short runs
    do not average in their random start.
    """

    def __init__(self, networks: dict[str, nn.Module], decay: float) -> None:
        self.networks = {
            name: copy.deepcopy(network).eval().requires_grad_(False) for name, network in networks.items()
        }
        self.decay = decay

    @torch.no_grad()
    def update(self, networks: dict[str, nn.Module], steps: int) -> None:
        """Moves the averages towards `networks` after `steps` optimizer steps (1 for the first)."""
        weight = 1 - min(self.decay, (1 + steps) / (10 + steps))
        for name, average in self.networks.items():
            torch._foreach_lerp_(list(average.parameters()), list(networks[name].parameters()), weight)
            for ours, theirs in zip(average.buffers(), networks[name].buffers(), strict=True):
                ours.copy_(theirs)
