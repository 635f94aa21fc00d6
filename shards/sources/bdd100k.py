"""BDD100K's street pictures with semantic labels, in 13 style groups of weather and time of day (specification 5.3).

The layout that the publisher's archives "10K Images", "Semantic Segmentation" and "Detection 2020 Labels" unpack to
(doc.bdd100k.com/download.html), under bdd100k/:

    images/10k/{train,val,test}/NAME.jpg
    labels/sem_seg/masks/{train,val}/NAME.png        ids 0 to 18 and 255
    labels/det_20/det_{train,val}.json               or, of 2018, labels/bdd100k_labels_images_{train,val}.json

and the pictures and labels of 2018:

    seg/images/{train,val,test}/NAME.jpg
    seg/labels/{train,val}/NAME_train_id.png

The attribute files are lists of {"name": "NAME.jpg", "attributes": {"weather": ..., "timeofday": ...}, ...} that
describe the 100K pictures. The 10K pictures are no subset of those and are split in another way: about 4,000 of them
have no attributes, and the others have them in the file of either split. The publisher's archives differ by a handful
of pictures and labels, too (issue 103 of bdd100k/bdd100k).

train is for training and val for testing; the pictures of test have no labels.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from likeness.command import BadInput
from likeness.folders import Unused
from likeness.names import name_of
from shards.labels import classes
from shards.records import Split
from shards.sources.dataset import Classes, Dataset, Item
from shards.sources.layout import chosen, files
from shards.worlds.streets import GROUPS, WEATHERS

NEW = ("images/10k/train", "images/10k/val", "labels/sem_seg/masks/train", "labels/sem_seg/masks/val")
OLD = ("seg/images/train", "seg/images/val", "seg/labels/train", "seg/labels/val")
TIMES = ("daytime", "dawn/dusk", "night")
SPLITS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "test"))
# The share of pictures without labels, or labels without pictures, above which an archive is missing.
TOLERATED = 0.01
_REMEDY = "unpack the publisher's archive Detection 2020 Labels there"
_CHUNK = 1 << 24
_BETWEEN = re.compile(r"[\s,]*")


def find(root: Path) -> Dataset:
    """The pictures that have a label and belong to a style group.

    Left out, and counted in the notes: pictures without attributes, pictures whose weather or time of day is
    undefined (at night the weather does not matter), the few that the publisher shipped without a counterpart, and
    pictures of train that are in val as well.

    Raises BadInput when `root` is not BDD100K, when attribute files are missing or broken, when more than one in a
    hundred pictures or labels lacks its counterpart, and when no picture of a split is left.
    """
    root = Path(root)
    shape = chosen(root, "BDD100K", (NEW, OLD))
    ending = "_train_id.png" if shape is OLD else ".png"
    style_of = _styles(root)
    counts: Counter[str] = Counter()
    unused = Unused()
    items: dict[str, Item] = {}
    # val first, so that a picture in both splits is tested on and not trained on
    for (_, split), images, masks in reversed(list(zip(SPLITS, shape[:2], shape[2:], strict=True))):
        before = len(items)
        pairs = _labelled(files(root / images, unused, ".jpg"), files(root / masks, unused, ending), counts)
        for name, (picture, label) in pairs.items():
            if name in items:
                counts["pictures of train that are in val as well"] += 1
            elif name not in style_of:
                counts["pictures without attributes"] += 1
            elif (style := style_of[name]) is None:
                counts["pictures whose weather or time of day is undefined"] += 1
            else:
                items[name] = Item(name_of(picture, root), picture, style, label, split)
        if len(items) == before:
            raise BadInput(
                f"{root / images}: no picture has its weather and time of day in {root / 'labels'}; {_REMEDY}"
            )
    unlabelled = root / shape[0].replace("train", "test")
    if unlabelled.is_dir():
        counts["pictures of test, which have no labels"] = len(files(unlabelled, Unused(), ".jpg"))
    return Dataset(
        tuple(sorted(items.values(), key=lambda item: item.source)),
        classes=train_ids(),
        aspect=16 / 9,
        notes=(*(f"{what}, left out: {count}" for what, count in counts.items()), *unused.notes()),
    )


def train_ids() -> Classes:
    """Cityscapes' 19 train ids and 255, which BDD100K shares."""
    schema = classes.schema(32, 32)
    same = {value: value for value in schema.ids}
    return Classes(schema.names, schema.colours, schema.ids, schema.void, of_raw=same)


def group_of(weather: str, time: str) -> str | None:
    """The style group of a picture's attributes, one of GROUPS; None when they are undefined."""
    group = "night" if time == "night" else f"{weather}-{time}"
    return group if group in GROUPS else None


def _labelled(
    pictures: Mapping[str, Path], labels: Mapping[str, Path], counts: Counter[str]
) -> dict[str, tuple[Path, Path]]:
    """Pictures with their labels, by name. The few without a counterpart are counted."""
    for ours, theirs, what in (
        (pictures, labels, "pictures without a label"),
        (labels, pictures, "labels without a picture"),
    ):
        alone = [path for name, path in ours.items() if name not in theirs]
        if len(alone) > TOLERATED * len(ours):
            raise BadInput(
                f"{alone[0]} is one of {len(alone)} {what}; unpack the archives 10K Images and Semantic Segmentation "
                "again, both whole"
            )
        if alone:
            counts[what] += len(alone)
    return {name: (path, labels[name]) for name, path in pictures.items() if name in labels}


def _styles(root: Path) -> dict[str, str | None]:
    """The style group of every picture that has attributes, by name; None where it is undefined."""
    found: dict[str, str | None] = {}
    for split, _ in SPLITS:
        paths = (root / f"labels/det_20/det_{split}.json", root / f"labels/bdd100k_labels_images_{split}.json")
        # The revised file of 2020 suffices; that of 2018 has 1.4 GB.
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise BadInput(f"{paths[0]} is missing, and {paths[1].name} as well; {_REMEDY}")
        for number, frame in enumerate(_frames(path)):
            try:
                name, attributes = Path(frame["name"]).stem, frame.get("attributes")
                if not attributes:
                    continue
                weather, time = (attributes.get(key) or "undefined" for key in ("weather", "timeofday"))
            except (AttributeError, KeyError, TypeError) as error:
                raise BadInput(f"{path}: entry {number} does not describe a picture: {error!r}; {_REMEDY}") from error
            for key, value, known in (("weather", weather, WEATHERS), ("timeofday", time, TIMES)):
                if value not in (*known, "undefined"):
                    raise BadInput(
                        f"{path}: entry {number} has {key} {value!r}, which is none of {', '.join(known)}, undefined; "
                        "mend the entry"
                    )
            found.setdefault(name, group_of(weather, time))
    return found


def _frames(path: Path) -> Iterator[Any]:
    """The entries of a JSON list, one at a time: parsed as a whole, the largest file would fill the memory."""
    decoder = json.JSONDecoder()
    with (
        path.open(encoding="utf-8", errors="replace") as file,
        tqdm(total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True) as bar,
    ):
        text, place = file.read(_CHUNK).lstrip(), 1
        bar.update(len(text))
        if not text.startswith("["):
            raise BadInput(f"{path} is no JSON list of pictures; {_REMEDY}")
        while True:
            place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]
            if text.startswith("]", place):
                return
            try:
                entry, place = decoder.raw_decode(text, place)
            except json.JSONDecodeError as error:
                more = file.read(_CHUNK)
                if not more:
                    raise BadInput(f"{path} is broken or cut off: {error.msg}; {_REMEDY}") from error
                bar.update(len(more))
                text, place = text[place:] + more, 0
                continue
            yield entry
