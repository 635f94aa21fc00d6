"""Which four frames make a sample: the pair sampler (specification 5.2), a pure function of its arguments."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from shards.command import BadInput
from shards.records import Frame, Pair, Split

_ORDER, _PAIR, _SPLIT = 0, 1, 2
"""Separate random streams under one seed, so that no draw of one shifts another."""


@dataclass(frozen=True)
class Sampling:
    """The parameters of the pair sampler.

    preset: the name of the preset that the others come from.
    same_style_rate: the probability that the exemplar is drawn from the target's window (class S).
    window_seconds, window_frames, window_positions: how far apart two frames of one video may be and still
        count as one style, in seconds, in decoded frames, and in positions among the kept frames; None is no
        bound. Where the style key is shared by several videos (streets), the other videos' frames with that
        key are inside the window, too.
    self_exemplar: whether a target may be its own exemplar.
    any_other: whether the remaining exemplars are drawn from all frames, so that they can have the target's
        style by chance, or only from frames of another style.
    repeat: pairs per frame when no number of pairs is asked for.
    """

    preset: str = "default"
    same_style_rate: float = 0.3
    window_seconds: float | None = 10.0
    window_frames: int | None = None
    window_positions: int | None = None
    self_exemplar: bool = False
    any_other: bool = False
    repeat: int = 30

    def __post_init__(self) -> None:
        if not 0 <= self.same_style_rate <= 1:
            raise BadInput(f"same-style rate {self.same_style_rate} is not between 0 and 1")
        for name in ("window_seconds", "window_frames", "window_positions"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"{name.replace('_', ' in ')} is {value}; a window must be greater than 0")
        if self.repeat < 1:
            raise BadInput(f"repeat {self.repeat} is not at least 1")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict for the manifest."""
        return asdict(self)


PRESETS = {
    "default": Sampling(),
    "paper": Sampling(preset="paper", window_seconds=None, window_frames=10),
    "official": Sampling(
        preset="official", window_seconds=None, window_positions=300, self_exemplar=True, any_other=True, repeat=50
    ),
}
"""Specification 5.2 and 7, rows 9 to 11. In `official`, too, `consistent` is never the exemplar itself."""


def preset(name: str, same_style_rate: float | None = None, window_seconds: float | None = None) -> Sampling:
    """A preset with what is not None put in its place; a window in seconds replaces the preset's window.

    Raises BadInput when there is no such preset.
    """
    if name not in PRESETS:
        raise BadInput(f"no sampling preset {name!r}; choose one of {', '.join(PRESETS)}")
    sampling = PRESETS[name]
    if same_style_rate is not None:
        sampling = replace(sampling, same_style_rate=same_style_rate)
    if window_seconds is not None:
        sampling = replace(sampling, window_seconds=window_seconds, window_frames=None, window_positions=None)
    return sampling


def sample_pairs(frames: Sequence[Frame], sampling: Sampling, pairs: int, seed: int) -> list[Pair]:
    """Draws `pairs` pairs from the index of frames.

    Pair i depends on the set of frames (not on their order), the sampling, the seed and i alone: a longer list
    starts with the shorter one. Targets come in shuffled passes over the frames, so each frame is a target
    equally often, give or take one. Frames that have no other frame in their window take no part, since no
    `consistent` photo can be found for them.

    Raises BadInput when the frames do not allow pairs, or when `pairs` is less than 1.
    """
    if pairs < 1:
        raise BadInput(f"{pairs} pairs asked for; ask for at least 1")
    index = _Index(paired_frames(frames, sampling), sampling)
    count = len(index.frames)
    drawn: list[Pair] = []
    order: list[int] = []
    for number in range(pairs):
        if number % count == 0:
            order = np.random.default_rng((seed, _ORDER, number // count)).permutation(count).tolist()
        generator = np.random.default_rng((seed, _PAIR, number))
        drawn.append(index.pair(f"{number:08d}", order[number % count], generator))
    return drawn


def paired_frames(frames: Sequence[Frame], sampling: Sampling) -> list[Frame]:
    """The frames that have another one in their window, in the order of style, source and number.

    Raises BadInput when they show fewer than two styles, or when a frame is listed twice.
    """
    index = _Index(sorted(frames, key=_place), sampling)
    for one, other in zip(index.frames, index.frames[1:], strict=False):
        if (one.source, one.number) == (other.source, other.number):
            raise BadInput(f"{one.source} frame {one.number} is listed twice; list every frame once")
    paired = [frame for position, frame in enumerate(index.frames) if _size(index.window(position)) > 1]
    styles = {frame.style for frame in paired}
    if len(styles) < 2:
        lone = next((frame for frame in index.frames if frame.style not in styles), None)
        reason = f"; {lone.source} has no two frames within the window of {_words(sampling)}" if lone else ""
        raise BadInput(
            f"pairs need frames of at least 2 styles, with at least 2 frames each, but only {len(styles)} of "
            f"{len({frame.style for frame in frames})} will do{reason}; add videos, widen --window-seconds or lower "
            "--every"
        )
    return paired


def split_sources(sources: Sequence[str], test_fraction: float, seed: int) -> dict[Split, tuple[str, ...]]:
    """Divides videos into train and test, each at least 2 videos; depends on the set of names and the seed alone.

    Raises BadInput when there are fewer than 4 videos or the fraction is not between 0 and 1.
    """
    if not 0 < test_fraction < 1:
        raise BadInput(f"test fraction {test_fraction} is not between 0 and 1")
    names = sorted(set(sources))
    if len(names) < 4:
        raise BadInput(
            f"{len(names)} videos cannot be divided into train and test, which need 2 each; add videos or leave out "
            "--test-out"
        )
    tested = min(max(2, round(test_fraction * len(names))), len(names) - 2)
    order = np.random.default_rng((seed, _SPLIT)).permutation(len(names))
    chosen = {names[position] for position in order[:tested]}
    return {
        "train": tuple(name for name in names if name not in chosen),
        "test": tuple(name for name in names if name in chosen),
    }


Ranges = tuple[tuple[int, int], ...]
"""Disjoint ascending half-open ranges of positions in the index."""


class _Index:
    """Frames sorted so that a style, and a video within it, is one range of positions."""

    def __init__(self, frames: Sequence[Frame], sampling: Sampling) -> None:
        self.frames = frames
        self.sampling = sampling
        self.numbers = [frame.number for frame in frames]
        # Whole microseconds: a window must hold between two frames in both directions, which rounding can break.
        self.micros = [_micros(frame.seconds) for frame in frames]
        self.styles = _runs([frame.style for frame in frames])
        self.sources = _runs([(frame.style, frame.source) for frame in frames])

    def window(self, position: int) -> Ranges:
        """The positions with the style of the one given that lie in its window, itself included."""
        first, last = self.sources[position]
        low, high = first, last
        frame = self.frames[position]
        if self.sampling.window_positions is not None:
            low = max(low, position - self.sampling.window_positions)
            high = min(high, position + self.sampling.window_positions + 1)
        if self.sampling.window_frames is not None:
            low = bisect_left(self.numbers, frame.number - self.sampling.window_frames, low, high)
            high = bisect_right(self.numbers, frame.number + self.sampling.window_frames, low, high)
        if self.sampling.window_seconds is not None:
            reach = _micros(self.sampling.window_seconds)
            low = bisect_left(self.micros, self.micros[position] - reach, low, high)
            high = bisect_right(self.micros, self.micros[position] + reach, low, high)
        style_first, style_last = self.styles[position]
        return ((style_first, first), (low, high), (last, style_last))

    def other_styles(self, position: int) -> Ranges:
        first, last = self.styles[position]
        return ((0, first), (last, len(self.frames)))

    def pair(self, key: str, target: int, generator: np.random.Generator) -> Pair:
        sampling = self.sampling
        if generator.random() < sampling.same_style_rate:
            exemplar = _draw(self.window(target), () if sampling.self_exemplar else (target,), generator)
        elif sampling.any_other:
            exemplar = _draw(((0, len(self.frames)),), () if sampling.self_exemplar else (target,), generator)
        else:
            exemplar = _draw(self.other_styles(target), (), generator)
        around = self.window(exemplar)
        alone = _size(around) - (1 + (target != exemplar and _holds(around, target))) == 0
        consistent = _draw(around, (exemplar,) if alone else (exemplar, target), generator)
        inconsistent = _draw(self.other_styles(exemplar), (), generator)
        return Pair(key, *(self.frames[position] for position in (target, exemplar, consistent, inconsistent)))


def _place(frame: Frame) -> tuple[str, str, int]:
    return frame.style, frame.source, frame.number


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _runs(values: Sequence[object]) -> list[tuple[int, int]]:
    """For every position the half-open range of equal neighbours that it lies in."""
    runs: list[tuple[int, int]] = []
    start = 0
    for position in range(1, len(values) + 1):
        if position == len(values) or values[position] != values[start]:
            runs += [(start, position)] * (position - start)
            start = position
    return runs


def _size(ranges: Ranges) -> int:
    return sum(last - first for first, last in ranges)


def _holds(ranges: Ranges, position: int) -> bool:
    return any(first <= position < last for first, last in ranges)


def _draw(ranges: Ranges, excluded: Sequence[int], generator: np.random.Generator) -> int:
    """A position drawn uniformly from the ranges without the excluded ones."""
    outside = sorted({position for position in excluded if _holds(ranges, position)})
    rank = int(generator.integers(_size(ranges) - len(outside)))
    for first, last in ranges:
        barred = [position for position in outside if first <= position < last]
        if rank < last - first - len(barred):
            position = first + rank
            for bar in barred:
                position += position >= bar
            return position
        rank -= last - first - len(barred)
    raise AssertionError("the rank lies within the ranges")


def _words(sampling: Sampling) -> str:
    bounds = {
        "seconds": sampling.window_seconds,
        "decoded frames": sampling.window_frames,
        "kept frames": sampling.window_positions,
    }
    return " and ".join(f"{value:g} {unit}" for unit, value in bounds.items() if value is not None) or "any length"
