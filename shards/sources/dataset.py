"""What every source gives: the files to read, their style keys and splits, and the classes of their label pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shards.records import LabelSchema, Split

STILLS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Item:
    """One file to read: a video, or a still picture with its label picture.

    source: its name, unique in the dataset: the path relative to the dataset's folder, with forward slashes.
    path: the file itself. style: the style key; items with equal keys have one style.
    label: for still pictures, the PNG with one class id per pixel, or a picture of colours; None where labels are made
    of the photo.
    split: the publisher's own split, None where it has none.
    instances: for still pictures, the PNG of 16 or 8 bits with an instance number per pixel; None where there is none.
    """

    source: str
    path: Path
    style: str
    label: Path | None = None
    split: Split | None = None
    instances: Path | None = None

    @property
    def still(self) -> bool:
        """Whether the file is a still picture, not a video."""
        return self.path.suffix.lower() in STILLS


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset's label pictures.

    names, colours: one per channel. ids: the id that each channel stands for in shards, the void id included.
    void: the id that means "unlabelled", or None. of_raw: the publisher's id (in its PNG files) to our id; ids that it
    does not list are an error in a label picture.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...]
    void: int | None
    of_raw: Mapping[int, int]

    def schema(self, height: int, width: int) -> LabelSchema:
        """The label schema of these classes at a picture size."""
        return LabelSchema("classes", len(self.names), height, width, self.names, self.colours, self.ids, self.void)


@dataclass(frozen=True)
class Dataset:
    """A source as it lies on the disk.

    items: in the order of their names. classes: what label pictures hold; None where there are none, or colours in them.
    styled: whether style keys tell the style; where they do not (a picture's own name), exemplars are found by
    retrieval. aspect: width over height of the packed pictures. notes: counts of what was left out and why, in words
    that a person reads, such as "3 pictures have no attributes".
    """

    items: tuple[Item, ...]
    classes: Classes | None = None
    styled: bool = True
    aspect: float = 1.0
    notes: tuple[str, ...] = field(default=())
