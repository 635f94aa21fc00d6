"""FaceForensics: videos of people who speak to a camera, one style a video. Only untouched videos are read.

FaceForensics++ as its download script lays it out (github.com/ondyari/FaceForensics):

    original_sequences/{youtube,actors}/{raw,c23,c40}/videos/*.mp4     at least one of youtube and actors
    splits/{train,val,test}.json                                       optional, from the publisher's repository

The split files hold pairs of YouTube video numbers, such as [["953", "974"], ...]. Where several compressions of the
same videos are there, the least compressed one is taken, so that no video is met twice.

FaceForensics of 2018:

    {train,val,test}/original/*.avi

The publisher's validation videos are neither trained on nor tested on; they are left out and counted. Videos that no
split file names, those of the actors among them, are for training. Labels are detected in the frames.
"""

import json
from pathlib import Path

from likeness.command import BadInput
from likeness.folders import Unused
from likeness.names import name_of
from shards.records import Split
from shards.sources.dataset import Dataset, Item
from shards.sources.layout import chosen, files

KINDS = ("youtube", "actors")
# from the least compressed on; c0 is what early releases call raw
COMPRESSIONS = ("raw", "c0", "c23", "c40")
ENDINGS = (".mp4", ".avi")
_2018 = ("train/original", "test/original")


def find(root: Path) -> Dataset:
    """The videos of either release under `root`; `splits` gives the split of FaceForensics++, or there is none.

    Raises BadInput when `root` is neither release, when it holds no videos, and for split files that are broken, that
    lack one of the three, or that name a video twice.
    """
    root = Path(root)
    shapes = [(f"original_sequences/{kind}/{way}/videos",) for kind in KINDS for way in COMPRESSIONS]
    return _found_2018(root) if chosen(root, "FaceForensics", [*shapes, _2018]) == _2018 else _found_plus(root)


def _found_2018(root: Path) -> Dataset:
    items, unused = [], Unused()
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        items += [_item(root, path, split) for path in files(root / split / "original", unused, *ENDINGS).values()]
    held = root / "val" / "original"
    notes = _note_of_validation(len(files(held, Unused(), *ENDINGS)) if held.is_dir() else 0)
    return Dataset(tuple(sorted(items, key=lambda item: item.source)), notes=(*notes, *unused.notes()))


def _found_plus(root: Path) -> Dataset:
    notes: list[str] = []
    split_of = _splits(root / "splits")
    items, validation, unused = [], 0, Unused()
    for kind in KINDS:
        place = root / "original_sequences" / kind
        there = [way for way in COMPRESSIONS if (place / way / "videos").is_dir()]
        if not there:
            continue
        best, *others = there
        if others:
            notes.append(f"{kind} videos are taken from {best}; the same videos in {', '.join(others)} are left out")
        for number, path in files(place / best / "videos", unused, *ENDINGS).items():
            part = split_of.get(number, "train") if kind == "youtube" else "train"
            if part == "val":
                validation += 1
            elif not split_of:
                items.append(_item(root, path, None))
            else:
                items.append(_item(root, path, "test" if part == "test" else "train"))
    notes += (*_note_of_validation(validation), *unused.notes())
    return Dataset(tuple(sorted(items, key=lambda item: item.source)), notes=tuple(notes))


def _item(root: Path, path: Path, split: Split | None) -> Item:
    source = name_of(path, root)
    return Item(source, path, style=source, split=split)


def _note_of_validation(count: int) -> tuple[str, ...]:
    return (f"videos of the publisher's validation split, left out: {count}",) if count else ()


def _splits(folder: Path) -> dict[str, str]:
    """The number of each YouTube video to train, val or test; empty when there are no split files."""
    split_of: dict[str, str] = {}
    if not folder.is_dir():
        return split_of
    for split in ("train", "val", "test"):
        path = folder / f"{split}.json"
        if not path.is_file():
            raise BadInput(f"{path} is missing; put the publisher's three split files there, or remove {folder}")
        try:
            pairs = json.loads(path.read_bytes())
            numbers = [number for first, second in pairs for number in (first, second)]
        except (TypeError, ValueError) as error:
            raise BadInput(f"{path} is no list of pairs of video numbers: {error}; download it again") from error
        for number in numbers:
            if not isinstance(number, str):
                raise BadInput(f'{path}: {number!r} is no video number such as "953"; download the file again')
            if split_of.setdefault(number, split) != split:
                raise BadInput(f"{path}: video {number} stands in {split_of[number]}.json, too; download both again")
    return split_of
