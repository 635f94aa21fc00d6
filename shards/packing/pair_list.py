"""Pairs from a person's own list: a CSV of targets and exemplars, and as much else as they care to say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from likeness.rows import Columns, read_rows
from shards.packing.pairs import Index, Retrieved, Sampling, judged
from shards.records import Frame, Pair, Shown

NEEDED, DRAWN = ("target", "exemplar"), ("consistent", "inconsistent")
"""Columns of photos: those that must be there, and those that are drawn where a row does not name them."""
COLUMNS = Columns("pairs", NEEDED, "give a CSV file of pairs", optional=(*DRAWN, "s"))
_DIGITS = 15
"""Of a frame's number."""
_LIST = 3
"""A random stream of its own, beside those of `shards.packing.pairs`."""


def listed_pairs(
    path: Path,
    frames: Sequence[Frame],
    sampling: Sampling,
    seed: int,
    verdicts: Mapping[Shown, bool] | None = None,
    vectors: Array | None = None,
) -> list[Pair]:
    """The pairs of a CSV file, in its order; rows whose target is not among `frames` (another split) are left out.

    Columns: `target` and `exemplar`, each the name of a picture, or a video's name and a frame number behind `#`; if
    there, `consistent` and `inconsistent`, and `s`, 1 when target and exemplar share a style. What a row leaves empty
    is drawn as usual: by style keys, or with `vectors` by retrieval.

    Raises BadInput naming line, column and value when the file is not such a list, or names photos that are not there.
    """
    frames, apart = judged(frames, verdicts or {})
    ordered = sorted(frames, key=lambda frame: (frame.style, frame.source, frame.number))
    places = {(frame.source, frame.number): position for position, frame in enumerate(ordered)}
    finder = Index(ordered, sampling, apart) if vectors is None else Retrieved(frames, sampling, vectors)
    pairs: list[Pair] = []
    for line, row in _rows(path):
        named = {name: _place(path, line, name, row) for name in (*NEEDED, *DRAWN)}
        if named["target"] not in places:
            continue
        chosen: dict[str, Frame] = {}
        for name, place in named.items():
            if place is not None:
                if place not in places:
                    raise BadInput(
                        f"{path} line {line}: {name} {row[name]!r} is no photo of this split; give its name as in the "
                        "dataset, with #NUMBER for a frame that was kept"
                    )
                chosen[name] = ordered[places[place]]
        generator = np.random.default_rng((seed, _LIST, line))
        pairs.append(_completed(f"{len(pairs):08d}", chosen, row.get("s", ""), finder, places, generator))
        pair = pairs[-1]
        if (pair.consistent.source, pair.consistent.number) == (pair.exemplar.source, pair.exemplar.number):
            raise BadInput(f"{path} line {line}: consistent is the exemplar itself; name another photo of its style")
    if not pairs:
        raise BadInput(f"{path} names no target among the {len(frames)} photos of this split")
    return pairs


def _completed(
    key: str,
    chosen: Mapping[str, Frame],
    flag: str,
    finder: Index | Retrieved,
    places: Mapping[tuple[str, int], int],
    generator: np.random.Generator,
) -> Pair:
    """Draws what a row does not name."""
    target, exemplar = chosen["target"], chosen["exemplar"]
    at = {name: places[frame.source, frame.number] for name, frame in chosen.items()}
    if isinstance(finder, Index):
        same = target.style == exemplar.style
    else:
        same = at["exemplar"] in finder.nearest[at["target"]]
    drawn: dict[str, Frame | None] = {}
    if not {"consistent", "inconsistent"} <= set(chosen):
        consistent, inconsistent = finder.others(at["exemplar"], at["target"], generator)
        drawn = {"consistent": consistent, "inconsistent": inconsistent}
    sides = {**drawn, **chosen}
    assert sides["consistent"] is not None
    return Pair(key, target, exemplar, sides["consistent"], sides["inconsistent"], same if flag == "" else flag == "1")


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    rows = [(line, {name: cell.strip() for name, cell in row.items()}) for line, row in read_rows(path, COLUMNS)]
    for line, row in rows:
        if row.get("s", "") not in ("", "0", "1"):
            raise BadInput(f"{path} line {line}: s is {row['s']!r}; give 1 for one style, 0 for two, or nothing")
    return rows


def _place(path: Path, line: int, name: str, row: Mapping[str, str]) -> tuple[str, int] | None:
    text = row.get(name, "")
    if not text:
        if name in NEEDED:
            raise BadInput(f"{path} line {line}: {name} is empty; name a photo")
        return None
    source, _, number = text.rpartition("#") if "#" in text else (text, "", "0")
    if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
        raise BadInput(f"{path} line {line}: {name} {text!r} has no frame number behind its #")
    return source, int(number)
