"""Schedules as pure functions of the images seen (specification 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass


def linear_decay(images: int, constant: int, decay: int) -> float:
    """1 for `constant` images, then linearly to 0 over `decay` more."""
    return min(1.0, max(0.0, (constant + decay - images) / decay))


@dataclass(frozen=True)
class Schedule:
    """How the learning rate falls."""

    constant: int
    """Images at the full rate."""
    decay: int
    """Images of the linear decay to 0 after them."""
    halve_every: int | None = None
    """Images after each of which the rate is halved as well; None for never (MUNIT 3)."""

    def at(self, images: int) -> float:
        """The factor of the learning rate after so many images: (0, 1], and 0 once the decay has ended."""
        halvings = images // self.halve_every if self.halve_every else 0
        return float(linear_decay(images, self.constant, self.decay) * 0.5**halvings)


def phase(images: int, phases: Sequence[tuple[int, float]]) -> float:
    """The value of the last phase that has begun; phases are (first image, value), ascending."""
    return next(value for first, value in reversed(phases) if images >= first)
