"""Where the inputs of batch inference come from: a CSV of files, folders of files, or shards."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from deploy.batch.outputs import Output
from likeness.command import BadInput
from shards.inputs import STYLE_LENGTH, Loaded
from shards.operators.labelling import Labelling

Changes = Mapping[str, tuple[int, int | None]]
"""By output, the mark of a pair when the run began, and the one that it was made with (None: not made yet)."""

WHOLE = (0, 1)
"""The slice of a run that is not sliced."""


@dataclass(frozen=True)
class PairOptions:
    """How pairs are read, and which of them are painted."""

    style_length: int = STYLE_LENGTH
    """How many numbers the model's style codes have."""
    part: tuple[int, int] = WHOLE
    """The slice, see `Pairs`."""
    output: Output = field(default_factory=Output)
    """What the pictures are named for."""
    styles: int = 1
    """Pictures of each pair, NAME-1 and so on, in styles that are drawn."""
    roll_labels: int = 0
    """How many pairs of shards further on each target label is taken from, see `ShardPairs`."""
    cache: Path | None = None
    """Where shards from a URL are kept; without it, where temporary files are, as long as they are needed."""
    max_bad: int = 0
    """How many files that a CSV names may be missing; they count as broken later."""
    labelling: Labelling | None = None
    """Of photos that stand for label maps, or come without one; None for detectors without options."""


class BadPair(BadInput):
    """Inputs of a pair that cannot be decoded."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where
        """The file, or the shard and the key."""


@dataclass(frozen=True)
class Job:
    """One picture to make."""

    number: int
    """The picture's among those of all slices, from 0."""
    output: str
    """Its path below the output folder."""
    source: dict[str, Any]
    """Where its inputs come from, the same on every machine."""
    load: Callable[[], Loaded]
    """Decodes them, but for those that are to be drawn: photos uint8 (H, W, 3) RGB, label maps as `shards.labels` loads
    them, the others as `Session.tensors` takes them. Raises BadPair."""
    name: str
    """The pair's, which what is drawn depends on."""
    style: int = 1
    """Which of the pair's styles it is, from 1."""


class Pairs(Protocol):
    """What batch inference reads."""

    part: tuple[int, int]
    """(i, n): slice i of n, counted from 0. The slices of a number n are disjoint runs of neighbours, together all."""

    total: int
    """How many pictures all slices make."""

    styles: int
    """How many of them belong to one pair, each in a style of its own."""

    notes: tuple[str, ...]
    """Lines about files that are not used."""

    roll: int
    """How many pairs further on each target label is taken from."""

    ours: range
    """The numbers of the slice's pictures."""

    def identity(self, changes: Changes) -> str:
        """The same for all slices; another one when any input has changed, but for the pairs in `changes`. A folder is
        continued only with an equal one."""

    def mark(self, output: str) -> int:
        """Stands for the inputs of a pair as they are now; 0 where they cannot change alone."""

    def jobs(self, wanted: Callable[[int, str], bool]) -> Generator[Job]:
        """The jobs of the slice in order, in bounded memory; `wanted` is asked once about each number and output."""


def bounds(total: int, part: tuple[int, int], unit: int = 1) -> range:
    """Which of `total` pairs slice (i, n) makes; slices differ by at most one unit, of so many neighbours."""
    number, count = part
    units = -(-total // unit)
    return range(min(total, units * number // count * unit), min(total, units * (number + 1) // count * unit))


def slice_ending(part: tuple[int, int]) -> str:
    """Of the names of files that every slice has for itself: "-0-of-4", and "" where the run is not sliced."""
    return "" if part == WHOLE else f"-{part[0]}-of-{part[1]}"


def numbered(output: str, style: int, styles: int) -> str:
    """The picture of a pair's style, from 1: a.png gives a-2.png; where there is one style only, it stays a.png."""
    if styles == 1:
        return output
    path = PurePosixPath(output)
    return path.with_name(f"{path.stem}-{style}{path.suffix}").as_posix()


def name_of(output: str) -> str:
    """A pair's name, whatever format its pictures have."""
    return PurePosixPath(output).with_suffix("").as_posix()
