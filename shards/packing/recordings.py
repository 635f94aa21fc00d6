"""The same footage under several names: re-encoded, cut, mirrored. It is one source, whatever its files are called.

Footage in other colours is not the same: it has another style.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from likeness.array import Array

STEP = 3
"""Of grey values: neighbours that differ by less are equal, as in a flat background, where encoders decide."""
NEAR = 8
"""Bits of 128 in which two copies of one moment differ at most, after another encoding at another size."""
COLOUR = 5.0
"""By how much the mean colours of two copies differ at most, of 255."""
SHARED = 0.3
"""The share of the shorter source's frames that the other one shows, too, at least."""
MOST_ASKED = 40
"""Of a source's frames, evenly spread, that are looked for in the others: more would tell nothing else."""
LEAST_FRAMES = 4
"""Of a source: fewer moments may be alike by chance."""


def same_footage(photos: Iterable[tuple[str, Array]]) -> list[tuple[str, ...]]:
    """The sources that show one recording, in groups of two and more, each sorted.

    photos: source and small copy, uint8 (h, w, 3), of every frame. For 500 sources of 200 frames it takes about a
    minute.
    """
    by_source: dict[str, list[Array]] = defaultdict(list)
    colours_by_source: dict[str, list[Array]] = defaultdict(list)
    for source, copy in photos:
        by_source[source].append(slopes(copy))
        colours_by_source[source].append(copy.mean(axis=(0, 1), dtype=np.float32))
    enough = (name for name, found in by_source.items() if len(found) >= LEAST_FRAMES)
    # The shorter first: it says how much of it the others show.
    names = sorted(enough, key=lambda name: (len(by_source[name]), name))
    moments = [np.stack(by_source[name]) for name in names]
    colours = [np.stack(colours_by_source[name]) for name in names]
    leader = list(range(len(names)))

    def lead(at: int) -> int:
        while leader[at] != at:
            at = leader[at]
        return at

    for one in range(len(names)):
        for other in _alike(moments, colours, one):
            low, high = sorted((lead(one), lead(other)))
            leader[high] = low
    groups: dict[int, list[str]] = defaultdict(list)
    for at, name in enumerate(names):
        groups[lead(at)].append(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def slopes(picture: Array) -> Array:
    """Where a picture, uint8 (H, W, 3) RGB, at 9×8 becomes brighter to the right, and where darker: 64 bits each.

    uint64 (2,). Of the mirrored picture the rows turn round, and brighter and darker change places.
    """
    grey = cv2.cvtColor(cv2.resize(picture, (9, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.int16)
    rises = np.diff(grey, axis=1)
    return _packed(np.stack([rises >= STEP, rises <= -STEP]))


def mirrored(moments: Array) -> Array:
    """The slopes of the mirrored pictures. moments: uint64 (N, 2)."""
    bits = np.unpackbits(moments.astype(">u8").view(np.uint8).reshape(-1, 2, 8), axis=2).reshape(-1, 2, 8, 8)
    return _packed(bits[:, ::-1, :, ::-1])


def _packed(bits: Array) -> Array:
    """(..., 8, 8) to uint64 (...)."""
    packed = np.ascontiguousarray(np.packbits(bits, axis=-1)).reshape(*bits.shape[:-2], 8)
    numbers: Array = packed.view(">u8").reshape(bits.shape[:-2]).astype(np.uint64)
    return numbers


def _alike(moments: Sequence[Array], colours: Sequence[Array], one: int) -> list[int]:
    """The sources after this one, none of which is shorter, that show enough of its moments."""
    later = moments[one + 1 :]
    if not later:
        return []
    chosen = np.linspace(0, len(moments[one]) - 1, min(MOST_ASKED, len(moments[one]))).round().astype(int)
    asked = moments[one][chosen]
    starts = np.cumsum([0, *(len(each) for each in later[:-1])])
    others = np.concatenate(later)
    apart = np.abs(colours[one][chosen][:, None] - np.concatenate(colours[one + 1 :])[None]).max(axis=2)
    shared = np.zeros(len(later), int)
    for own in (asked, mirrored(asked)):
        near = np.bitwise_count(own[:, None] ^ others[None]).sum(axis=2, dtype=np.uint8) <= NEAR
        near &= apart <= COLOUR
        shared = np.maximum(shared, np.logical_or.reduceat(near, starts, axis=1).sum(axis=0))
    return [one + 1 + int(at) for at in np.flatnonzero(shared >= max(SHARED * len(asked), 2))]
