"""What the pairs of a manifest are checked for: leaks between what is given and what is asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.records import Frame, Pair, Split

MOST_SCORED = 2000
"""Pairs that the copy score is taken from, evenly spread."""


def audit(
    pairs: Sequence[Pair],
    sources: Mapping[Split, Sequence[str]],
    split: Split,
    shared_sources: bool,
    least_distance: int,
    thumb: Callable[[Frame], Array],
) -> dict[str, Any]:
    """The audit that a manifest keeps.

    shared_sources: sources that stand in both splits, which is allowed only where the splits are halves of the same
    videos. foreign: photos of a source that is not of this split. self_exemplars: pairs whose exemplar is the target.
    self_consistent: pairs whose consistent photo is the exemplar. least_distance: the bound on near-duplicates, in
    bits; near_duplicates: pairs whose exemplar is nearer to the target than that; nearest_exemplar: the smallest
    distance found, null without hashes. copy_score: see `copy_score`.

    Raises BadInput when a photo of one split stands in the other, or a consistent photo is the exemplar itself.
    """
    own = set(sources.get(split, ()))
    both = set(sources.get("train", ())) & set(sources.get("test", ()))
    # A held-out figure means nothing once a photo of the held-out videos has been trained on.
    foreign = sum(frame.source not in own for pair in pairs for frame in pair.frames.values())
    distances = [distance for pair in pairs if (distance := hash_distance(pair.target, pair.exemplar)) is not None]
    self_exemplars = sum(_place(pair.target) == _place(pair.exemplar) for pair in pairs)
    self_consistent = sum(_place(pair.consistent) == _place(pair.exemplar) for pair in pairs)
    if foreign or self_consistent or (both and not shared_sources):
        raise BadInput(
            f"the {split} pairs leak: {foreign} photos of other sources, {self_consistent} consistent photos that are "
            f"the exemplar, {len(both)} sources in both splits; mend the list of pairs"
        )
    # A target that is its own exemplar, as the preset `official` allows, is counted above and is no near-duplicate too.
    apart = [pair for pair in pairs if _place(pair.target) != _place(pair.exemplar)]
    return {
        "shared_sources": len(both),
        "foreign": foreign,
        "self_exemplars": self_exemplars,
        "self_consistent": self_consistent,
        "least_distance": least_distance,
        "near_duplicates": sum(
            distance < least_distance
            for pair in apart
            if (distance := hash_distance(pair.target, pair.exemplar)) is not None
        ),
        "nearest_exemplar": min(distances, default=None),
        "copy_score": copy_score(pairs, thumb),
    }


LEARNS_TO_COPY = 0.85
"""A copy score from which on copying the exemplar pays: the target is hardly another photo."""


def explained(audit: Mapping[str, Any]) -> list[str]:
    """What the figures of an audit mean, a line for each; with a warning where training would learn to copy."""
    lines = []
    if (score := audit.get("copy_score")) is not None:
        warned = score > LEARNS_TO_COPY
        remedy = (
            "; training will learn to copy: take frames further apart (--every, --window-seconds)" if warned else ""
        )
        lines.append(
            f"copy score {score:.2f}: 1 where same-style exemplars equal their targets, 0 where any would do{remedy}"
        )
    if (near := audit.get("near_duplicates")) is not None:
        least = audit.get("least_distance")
        lines.append(
            f"near duplicates {near:,}: exemplars whose hash differs from the target's in under {least} of 64 bits"
        )
    return lines


def hash_distance(one: Frame, other: Frame) -> int | None:
    """Bits in which the perceptual hashes of two photos differ, 0 to 64; None where there are none."""
    if one.hash is None or other.hash is None:
        return None
    return (int(one.hash, 16) ^ int(other.hash, 16)).bit_count()


def copy_score(pairs: Sequence[Pair], thumb: Callable[[Frame], Array]) -> float | None:
    """How well a model would do by copying the exemplar: 1 when exemplars equal their targets, 0 when they are no
    nearer to them than photos of other styles.

    1 - (mean distance of target and exemplar) / (mean distance of target and inconsistent photo), over same-style
    pairs; distances are mean absolute differences of 16×16 copies. None without same-style pairs, or another style.
    Pairs with a high score teach copying; a wider window lowers it.
    """
    same = [pair for pair in pairs if pair.same_style and pair.inconsistent is not None]
    if not same:
        return None
    chosen = [same[int(at)] for at in np.linspace(0, len(same) - 1, min(MOST_SCORED, len(same)))]
    copied, unlike = 0.0, 0.0
    for pair in chosen:
        # Signed: differences of uint8 would wrap around.
        target = thumb(pair.target).astype(np.int16)
        copied += float(np.abs(target - thumb(pair.exemplar)).mean())
        assert pair.inconsistent is not None
        unlike += float(np.abs(target - thumb(pair.inconsistent)).mean())
    return round(1 - copied / unlike, 4) if unlike else None


def _place(frame: Frame) -> tuple[str, int]:
    return frame.source, frame.number
