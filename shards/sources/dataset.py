"""What every source gives: the files to read, their style keys and splits, and the classes of their label pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from likeness.command import BadInput
from shards.records import LabelSchema, Split

STILLS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Item:
    """One file to read: a video, or a still picture with its label picture."""

    source: str
    """Its name, unique in the dataset: the path relative to the dataset's folder, with forward slashes."""
    path: Path
    """The file itself."""
    style: str
    """The style key; items with equal keys have one style."""
    label: Path | None = None
    """For still pictures, the PNG with one class id per pixel, or a picture of colours.

    None where labels are made of the photo.
    """
    split: Split | None = None
    """The publisher's own split, None where it has none."""
    instances: Path | None = None
    """For still pictures, the PNG of 16 or 8 bits with an instance number per pixel; None where there is none."""

    @property
    def still(self) -> bool:
        """Whether the file is a still picture, not a video."""
        return self.path.suffix.lower() in STILLS


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset's label pictures."""

    names: tuple[str, ...]
    """One name per channel."""
    colours: tuple[tuple[int, int, int], ...]
    """One RGB triple per channel."""
    ids: tuple[int, ...]
    """The id that each channel stands for in shards, the void id included."""
    void: int | None
    """The id that means "unlabelled", or None."""
    of_raw: Mapping[int, int]
    """The publisher's id (in its PNG files) to our id; ids that it does not list are an error in a label picture."""

    def schema(self, height: int, width: int) -> LabelSchema:
        """The label schema of these classes at a picture size."""
        return LabelSchema("classes", len(self.names), height, width, self.names, self.colours, self.ids, self.void)


@dataclass(frozen=True)
class Dataset:
    """A source as it lies on the disk."""

    items: tuple[Item, ...]
    """In the order of their names."""
    classes: Classes | None = None
    """What label pictures hold; None where there are none, or colours in them."""
    styled: bool = True
    """Whether style keys tell the style; where they do not (a picture's own name), exemplars are found by retrieval."""
    split_by_style: bool = False
    """Whether held-out photos are of styles of their own, as a video's frames are: those of other people, say."""
    aspect: float = 1.0
    """Width over height of the packed pictures."""
    notes: tuple[str, ...] = field(default=())
    """Counts of what was left out and why, in words that a person reads, such as "3 pictures have no attributes"."""


def styled_by_folder(data: Dataset) -> Dataset:
    """The dataset with the photos of a folder in one style, and whole folders held out.

    Raises BadInput where photos lie in no folder, or all in one.
    """
    folders = {item.source: item.source.rpartition("/")[0] for item in data.items}
    if alone := [source for source, folder in folders.items() if not folder]:
        raise BadInput(f"{alone[0]} lies in no folder of its own; put the photos of one style into a folder")
    if len(set(folders.values())) < 2:
        raise BadInput(f"all photos lie in {next(iter(folders.values()))}; put those of each style into another folder")
    items = tuple(replace(item, style=folders[item.source]) for item in data.items)
    return replace(data, items=items, styled=True, split_by_style=True)
