"""Which four frames make a sample: the pair sampler (specification 5.2), a pure function of its arguments."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.packing.retrieval import neighbours
from shards.records import Frame, Pair, Shown, Split

Pairing = Literal["style", "retrieval", "list"]

_TRIES = 32
"""Draws before all positions are looked at one by one."""
_ORDER, _PAIR, _SPLIT = 0, 1, 2
"""Separate random streams under one seed, so that no draw of one shifts another."""


@dataclass(frozen=True)
class Sampling:
    """The parameters of the pair sampler."""

    preset: str = "default"
    """The name of the preset that the others come from."""
    same_style_rate: float = 0.3
    """The probability that the exemplar is drawn from the target's window (class S)."""
    window_seconds: float | None = 10.0
    """How far apart two frames of one video may be and still count as one style, in seconds; None is no bound. Where
    the style key is shared by several videos (streets), the other videos' frames with that key are inside, too."""
    window_frames: int | None = None
    """The same in decoded frames."""
    window_positions: int | None = None
    """The same in positions among the kept frames."""
    self_exemplar: bool = False
    """Whether a target may be its own exemplar."""
    any_other: bool = False
    """Whether the remaining exemplars are drawn from all frames, so that they can have the target's style by chance, or
    only from frames of another style."""
    repeat: int = 30
    """Pairs per frame when no number of pairs is asked for."""
    exemplars: int = 1
    """Pairs of one target that follow one another, each with another exemplar as far as there are enough."""
    least_distance: int = 3
    """Bits in which the perceptual hashes of an exemplar and of its target must differ at least, so that it is no
    near-duplicate; also those of exemplar and `consistent`, where the window holds such a photo. 0 is no bound."""
    pairing: Pairing = "style"
    """`style` draws by style keys; `retrieval` draws same-style photos from the `nearest` ones by image features, for
    pictures without style keys; `list` takes targets and exemplars from a file."""
    nearest: int = 10
    """Of how many nearest pictures `retrieval` draws one."""

    def __post_init__(self) -> None:
        if not 0 <= self.same_style_rate <= 1:
            raise BadInput(f"same-style rate {self.same_style_rate} is not between 0 and 1")
        for name in ("window_seconds", "window_frames", "window_positions"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"{name.replace('_', ' in ')} is {value}; a window must be greater than 0")
        for name in ("repeat", "exemplars", "nearest"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} {getattr(self, name)} is not at least 1")
        if not 0 <= self.least_distance <= 32:
            raise BadInput(
                f"a distance of {self.least_distance} bits between perceptual hashes is not between 0 and 32; "
                "unrelated pictures are about 32 apart"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict for the manifest."""
        return asdict(self)


PRESETS = {
    "default": Sampling(),
    "paper": Sampling(preset="paper", window_seconds=None, window_frames=10, least_distance=0),
    "official": Sampling(
        preset="official",
        window_seconds=None,
        window_positions=300,
        self_exemplar=True,
        any_other=True,
        repeat=50,
        least_distance=0,
    ),
}
"""Specification 5.2 and 7, rows 9 to 11. In `official`, too, `consistent` is never the exemplar itself."""


def preset(name: str, window_seconds: float | None = None, **changes: Any) -> Sampling:
    """A preset with what is not None put in its place; a window in seconds replaces the preset's window.

    Raises BadInput when there is no such preset.
    """
    if name not in PRESETS:
        raise BadInput(f"no sampling preset {name!r}; choose one of {', '.join(PRESETS)}")
    sampling = replace(PRESETS[name], **{key: value for key, value in changes.items() if value is not None})
    if window_seconds is not None:
        sampling = replace(sampling, window_seconds=window_seconds, window_frames=None, window_positions=None)
    return sampling


class Finder(Protocol):
    """Completes a target to a pair. `frames` are the ones that can be targets."""

    @property
    def frames(self) -> Sequence[Frame]: ...

    def pair(self, key: str, target: int, generator: np.random.Generator, used: Container[int]) -> tuple[Pair, int]:
        """The pair and its exemplar's position; `used` are exemplars that the same target has had."""
        ...


def sample_pairs(
    frames: Sequence[Frame],
    sampling: Sampling,
    pairs: int,
    seed: int,
    verdicts: Mapping[Shown, bool] | None = None,
    vectors: Array | None = None,
) -> list[Pair]:
    """Draws `pairs` pairs from the index of frames.

    Pair i depends on the set of frames (not on their order), the sampling, the seed and i alone: a longer list
    starts with the shorter one. Targets come in shuffled passes over the frames, so each frame is a target
    equally often, give or take `exemplars`. Frames that have no other frame in their window take no part, since no
    `consistent` photo can be found for them.

    verdicts: what people say of pairs of photos (see `judged`). vectors: for `retrieval`, features (N, D) of `frames`.

    Raises BadInput when the frames do not allow pairs, or when `pairs` is less than 1.
    """
    if pairs < 1:
        raise BadInput(f"{pairs} pairs asked for; ask for at least 1")
    finder: Finder
    if sampling.pairing == "retrieval":
        if vectors is None:
            raise ValueError("retrieval needs the features of the frames")
        finder = Retrieved(frames, sampling, vectors)
    else:
        frames, apart = judged(frames, verdicts or {})
        finder = Index(paired_frames(frames, sampling), sampling, apart)
    # Every pass and every pair has a random stream of its own, found by its number: what one pair draws shifts none of
    # those after it, so that a longer list begins with the shorter one.
    count = len(finder.frames)
    drawn: list[Pair] = []
    order: list[int] = []
    used: set[int] = set()
    for number in range(pairs):
        turn, again = divmod(number, sampling.exemplars)
        if not again:
            used = set()
            if turn % count == 0:
                order = np.random.default_rng((seed, _ORDER, turn // count)).permutation(count).tolist()
        generator = np.random.default_rng((seed, _PAIR, number))
        pair, exemplar = finder.pair(f"{number:08d}", order[turn % count], generator, used)
        used.add(exemplar)
        drawn.append(pair)
    return drawn


def judged(frames: Sequence[Frame], verdicts: Mapping[Shown, bool]) -> tuple[list[Frame], frozenset[Shown]]:
    """Puts people's judgement above the style keys: frames with styles joined, and the pairs that are kept apart.

    Two styles become one when more of the judged pairs between them are called consistent than not (two videos that
    show one person); that reaches further, from style to style. Pairs of photos that then have one style but were
    called inconsistent never stand for one style (specification 5.2).
    """
    style_of = {(frame.source, frame.number): frame.style for frame in frames}
    # A majority decides per two styles, since people disagree; a tie joins nothing.
    balance: Counter[tuple[str, str]] = Counter()
    for shown, consistent in verdicts.items():
        styles = sorted({style_of[photo] for photo in shown if photo in style_of})
        if len(styles) == 2:
            balance[styles[0], styles[1]] += 1 if consistent else -1
    # Union-find: each style points to one that leads it. The lesser name leads, so that the name of what is joined does
    # not depend on the order of the verdicts.
    leader = {frame.style: frame.style for frame in frames}

    def lead(style: str) -> str:
        while leader[style] != style:
            style = leader[style]
        return style

    for (one, other), votes in balance.items():
        if votes > 0:
            low, high = sorted((lead(one), lead(other)))
            leader[high] = low
    joined = [replace(frame, style=lead(frame.style)) for frame in frames]
    apart = frozenset(
        shown
        for shown, consistent in verdicts.items()
        if not consistent and len({lead(style_of[photo]) for photo in shown if photo in style_of}) == 1
    )
    return joined, apart


def paired_frames(frames: Sequence[Frame], sampling: Sampling) -> list[Frame]:
    """The frames that have another one in their window, in the order of style, source and number.

    Raises BadInput when fewer than two of several styles, or not the only one, have such frames, or when a frame is
    listed twice.
    """
    index = Index(sorted(frames, key=_place), sampling)
    for one, other in zip(index.frames, index.frames[1:], strict=False):
        if (one.source, one.number) == (other.source, other.number):
            raise BadInput(f"{one.source} frame {one.number} is listed twice; list every frame once")
    paired = [frame for position, frame in enumerate(index.frames) if _size(index.window(position)) > 1]
    styles = {frame.style for frame in paired}
    # One style alone is one person, one city, one drive: material for methods that compare no styles.
    if len(styles) < (1 if len({frame.style for frame in frames}) == 1 else 2):
        lone = next((frame for frame in index.frames if frame.style not in styles), None)
        reason = f"; {lone.source} has no two frames within the window of {_words(sampling)}" if lone else ""
        raise BadInput(
            f"pairs need frames of at least 2 styles, with at least 2 frames each, but only {len(styles)} of "
            f"{len({frame.style for frame in frames})} will do{reason}; add videos, widen --window-seconds or lower "
            "--every"
        )
    return paired


def split_sources(
    sources: Sequence[str], test_fraction: float, seed: int, what: str = "videos"
) -> dict[Split, tuple[str, ...]]:
    """Divides videos into train and test, each at least 2 videos; depends on the set of names and the seed alone.

    what: they are, for messages. Raises BadInput when there are fewer than 4, or the fraction is not between 0 and 1.
    """
    if not 0 < test_fraction < 1:
        raise BadInput(f"test fraction {test_fraction} is not between 0 and 1")
    names = sorted(set(sources))
    if len(names) < 4:
        raise BadInput(
            f"{len(names)} {what} cannot be divided into train and test, which need 2 each; add {what} or leave out "
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


class Index:
    """Frames sorted so that a style, and a video within it, is one range of positions."""

    def __init__(self, frames: Sequence[Frame], sampling: Sampling, apart: frozenset[Shown] = frozenset()) -> None:
        self.frames = frames
        self.sampling = sampling
        self.apart = apart
        self.hashes = [None if frame.hash is None else int(frame.hash, 16) for frame in frames]
        self.numbers = [frame.number for frame in frames]
        # Whole microseconds: a window must hold between two frames in both directions, which rounding can break.
        self.micros = [_micros(frame.seconds) for frame in frames]
        self.styles = _runs([frame.style for frame in frames])
        self.sources = _runs([(frame.style, frame.source) for frame in frames])
        self.one_style = len({frame.style for frame in frames}) == 1

    def window(self, position: int) -> Ranges:
        """The positions with the style of the one given that lie in its window, itself included."""
        # The window bounds time within a video. Other videos of the same style are inside whole, hence three ranges:
        # those before, the part of this one, those after. Ranges because candidates can be most of all frames, and
        # would have to be listed anew for each pair.
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

    def pair(self, key: str, target: int, generator: np.random.Generator, used: Container[int]) -> tuple[Pair, int]:
        exemplar = self.exemplar(target, generator, used)
        frames = self.frames[target], self.frames[exemplar], *self.others(exemplar, target, generator)
        return Pair(key, *frames, same_style=frames[0].style == frames[1].style), exemplar

    def others(self, exemplar: int, target: int, generator: np.random.Generator) -> tuple[Frame, Frame | None]:
        """The consistent and the inconsistent photo for an exemplar, None where there is no other style.

        Raises BadInput when the exemplar has no other photo in its window.
        """
        frame = self.frames[exemplar]
        if _size(self.window(exemplar)) < 2:
            raise BadInput(
                f"{frame.source} frame {frame.number} cannot be an exemplar: within {_words(self.sampling)} of it "
                f"there is no other photo of its style {frame.style!r}"
            )
        consistent = self.frames[self.consistent(exemplar, target, generator)]
        others = self.other_styles(exemplar)
        return consistent, self.frames[_draw(others, (), generator)] if _size(others) else None

    def exemplar(self, target: int, generator: np.random.Generator, used: Container[int]) -> int:
        """Draws an exemplar for a target: from its window, or where that holds none, from the other styles."""
        sampling = self.sampling
        itself = () if sampling.self_exemplar else (target,)

        def fits(position: int) -> bool:
            return position not in used and not self.near(target, position) and not self.kept_apart(target, position)

        # One number is drawn in any case, and only then it is seen whether the window holds a photo that fits.
        around = generator.random() < sampling.same_style_rate or self.one_style
        if around and (found := _draw_fitting(self.window(target), itself, generator, fits)) is not None:
            return found
        others = ((0, len(self.frames)),) if sampling.any_other and not around else self.other_styles(target)
        if self.one_style:
            others = self.window(target)
        found = _draw_fitting(others, itself, generator, fits)
        # Better a near-duplicate, or an exemplar for the second time, than no pair; the audit counts the former.
        return _draw(others, itself, generator) if found is None else found

    def consistent(self, exemplar: int, target: int, generator: np.random.Generator) -> int:
        """Draws another photo of the exemplar's style: no near-duplicate and not the target, if there is any other."""
        around = self.window(exemplar)
        # Where only exemplar and target are in the window, the target has to do as the consistent photo.
        alone = _size(around) - (1 + (target != exemplar and _holds(around, target))) == 0
        excluded = (exemplar,) if alone else (exemplar, target)

        def fits(position: int) -> bool:
            return not self.near(exemplar, position) and not self.kept_apart(exemplar, position)

        found = _draw_fitting(around, excluded, generator, fits)
        return _draw(around, excluded, generator) if found is None else found

    def near(self, one: int, other: int) -> bool:
        """Whether two photos are near-duplicates; a photo is none of itself, which `self_exemplar` rules on."""
        # Frames that were packed without hashes are near to none.
        hashes = self.hashes[one], self.hashes[other]
        if one == other or hashes[0] is None or hashes[1] is None:
            return False
        return (hashes[0] ^ hashes[1]).bit_count() < self.sampling.least_distance

    def kept_apart(self, one: int, other: int) -> bool:
        """Whether people called two photos of one style inconsistent."""
        if not self.apart:
            return False
        return frozenset((frame.source, frame.number) for frame in (self.frames[one], self.frames[other])) in self.apart


class Retrieved:
    """Pairs of still pictures without style keys: what is near by image features passes for one style.

    vectors: float32 (N, D) of length 1, in the order of `frames`. Pictures for which no other one is left, because all
    are near-duplicates, take no part. Raises BadInput when fewer than 4 pictures are left.
    """

    def __init__(self, frames: Sequence[Frame], sampling: Sampling, vectors: Array) -> None:
        order = sorted(range(len(frames)), key=lambda position: _place(frames[position]))
        everyone = Index([frames[position] for position in order], sampling)
        self.sampling, self.vectors = sampling, vectors[order]

        def allowed(row: int, candidates: Array) -> Array:
            return np.array([not everyone.near(row, int(other)) for other in candidates], bool)

        if len(order) < 4:
            raise BadInput(f"{len(order)} pictures are too few for pairs by retrieval; give at least 4")
        # Of few pictures only the nearer ones are near.
        found = neighbours(self.vectors, min(sampling.nearest, max(2, len(order) // 4)), allowed)
        if (found.positions < 0).any(axis=1).sum() > len(order) - 4:
            raise BadInput(
                f"nearly all of the {len(order)} pictures are near-duplicates of one another, closer than "
                f"{sampling.least_distance} bits; lower --least-distance or give other pictures"
            )
        self.nearest, self.medians = found.positions, found.medians
        self.everyone = everyone.frames
        self.targets = [row for row in range(len(order)) if found.positions[row, 0] >= 0]
        self.frames = [everyone.frames[row] for row in self.targets]

    def pair(self, key: str, target: int, generator: np.random.Generator, used: Container[int]) -> tuple[Pair, int]:
        row = self.targets[target]
        same = bool(generator.random() < self.sampling.same_style_rate)
        exemplar = self._near(row, (row,), generator, used) if same else self._far(row, generator, used)
        frames = self.everyone[row], self.everyone[exemplar], *self.others(exemplar, row, generator)
        return Pair(key, *frames, same_style=same), exemplar

    def others(self, exemplar: int, target: int, generator: np.random.Generator) -> tuple[Frame, Frame | None]:
        """The consistent and the inconsistent photo for an exemplar; positions count all frames, in order."""
        consistent = self._near(exemplar, (exemplar, target), generator, ())
        return self.everyone[consistent], self.everyone[self._far(exemplar, generator, ())]

    def _near(self, row: int, barred: Sequence[int], generator: np.random.Generator, used: Container[int]) -> int:
        """One of the nearest, weighed alike; if all are barred, the nearest of the nearest."""
        # Where few are near, two wishes are given up: that none is used twice, and that it is not the target.
        ranked = [int(other) for other in self.nearest[row] if other >= 0] or [(row + 1) % len(self.everyone)]
        free = [other for other in ranked if other not in barred and other not in used]
        choice = free or [other for other in ranked if other not in barred[:1]] or ranked
        return choice[int(generator.integers(len(choice)))]

    def _far(self, row: int, generator: np.random.Generator, used: Container[int]) -> int:
        """A picture that is farther than half of all are."""
        for _ in range(_TRIES):
            # Half of all pictures lie beyond the median, so that few draws are in vain.
            other = int(generator.integers(len(self.everyone)))
            if other != row and other not in used and self.vectors[row] @ self.vectors[other] <= self.medians[row]:
                return other
        return int(np.argmin(self.vectors @ self.vectors[row]))


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
    # The draw is a rank among what is not excluded, moved on by one at each excluded position up to it: one random
    # number, however much is excluded.
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


def _draw_fitting(
    ranges: Ranges, excluded: Sequence[int], generator: np.random.Generator, fits: Callable[[int], bool]
) -> int | None:
    """A position drawn uniformly among those that fit, or None when there are none."""
    # Nearly every position fits, and asking all of them costs far more than a few draws in vain. Either way those that
    # fit are equally likely.
    barred = {position for position in excluded if _holds(ranges, position)}
    if _size(ranges) <= len(barred):
        return None
    for _ in range(_TRIES):
        position = _draw(ranges, excluded, generator)
        if fits(position):
            return position
    fitting = [n for first, last in ranges for n in range(first, last) if n not in barred and fits(n)]
    return fitting[int(generator.integers(len(fitting)))] if fitting else None


def _words(sampling: Sampling) -> str:
    bounds = {
        "seconds": sampling.window_seconds,
        "decoded frames": sampling.window_frames,
        "kept frames": sampling.window_positions,
    }
    return " and ".join(f"{value:g} {unit}" for unit, value in bounds.items() if value is not None) or "any length"
