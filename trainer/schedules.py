"""Schedules as pure functions of the images seen (specification 4.1)."""

from collections.abc import Sequence


def linear_decay(images: int, constant: int, decay: int) -> float:
    """1 for `constant` images, then linearly to 0 over `decay` more."""
    return min(1.0, max(0.0, (constant + decay - images) / decay))


def phase(images: int, phases: Sequence[tuple[int, float]]) -> float:
    """The value of the last phase that has begun; phases are (first image, value), ascending."""
    return next(value for first, value in reversed(phases) if images >= first)
