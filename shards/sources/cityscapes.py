"""Cityscapes with fine annotations, one style a city.

The layout that the publisher's archives leftImg8bit_trainvaltest and gtFine_trainvaltest unpack to
(github.com/mcordts/cityscapesScripts):

    leftImg8bit/{train,val,test}/CITY/CITY_000000_000019_leftImg8bit.png
    gtFine/{train,val,test}/CITY/CITY_000000_000019_gtFine_labelIds.png       ids 0 to 33
    gtFine/{train,val,test}/CITY/CITY_000000_000019_gtFine_instanceIds.png    optional, 16 bits

The label pictures hold the publisher's 34 ids, not train ids. The 35th class, license plate, has the id -1 there and
is not drawn in the publisher's own files: those pixels belong to the car. Files that other programs drew have 255 in
its place, as -1 does not fit into a byte. It is the 35th channel here, with the id 34, so that there are as many
channels as in published systems (35, ids 0 to 34). "unlabeled", id 0, is void.

Instance maps hold the label id where things are not counted (stuff, and groups too dense to be told apart), else label
id · 1000 + n. The numbers are kept as they are; license plates belong to their cars there, too.

train is for training and val for testing; the labels of test are empty dummies, and test is left out.
"""

from pathlib import Path

from likeness.folders import Unused
from likeness.names import name_of
from shards.records import Split
from shards.sources.dataset import Classes, Dataset, Item
from shards.sources.layout import chosen, files, files_if_any, paired

SHAPE = ("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val")
PICTURE, LABEL, INSTANCES = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_instanceIds.png"
SPLITS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "test"))
LICENSE_PLATE = 34

_CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("unlabeled", (0, 0, 0)),
    ("ego vehicle", (0, 0, 0)),
    ("rectification border", (0, 0, 0)),
    ("out of roi", (0, 0, 0)),
    ("static", (0, 0, 0)),
    ("dynamic", (111, 74, 0)),
    ("ground", (81, 0, 81)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("parking", (250, 170, 160)),
    ("rail track", (230, 150, 140)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("bridge", (150, 100, 100)),
    ("tunnel", (150, 120, 90)),
    ("pole", (153, 153, 153)),
    ("polegroup", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("caravan", (0, 0, 90)),
    ("trailer", (0, 0, 110)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
    ("license plate", (0, 0, 142)),
)


def find(root: Path) -> Dataset:
    """The finely annotated pictures of train and val.

    Raises BadInput when `root` is not Cityscapes, and naming the first picture without a label, or the other way
    round.
    """
    root = Path(root)
    chosen(root, "Cityscapes", (SHAPE,))
    items, unused = [], Unused()
    # Polygons and colours lie beside every label picture. Of those that are read none can be missed: all are paired.
    beside = Unused()
    for folder, split in SPLITS:
        labels = root / "gtFine" / folder
        pairs = paired(
            files(root / "leftImg8bit" / folder, unused, PICTURE), files(labels, beside, LABEL), labels, LABEL
        )
        instances = files_if_any(labels, beside, INSTANCES)
        for key, (picture, label) in pairs.items():
            city = key.rpartition("/")[2].partition("_")[0]
            items.append(Item(name_of(picture, root), picture, city, label, split, instances.get(key)))
    notes = [*unused.notes()]
    dummies = root / "leftImg8bit" / "test"
    if dummies.is_dir():
        notes.append(f"pictures of test, whose labels are dummies, left out: {len(files(dummies, Unused(), PICTURE))}")
    return Dataset(
        tuple(sorted(items, key=lambda item: item.source)), classes=label_ids(), aspect=2.0, notes=tuple(notes)
    )


def label_ids() -> Classes:
    """The publisher's 34 ids, and license plate."""
    ids = tuple(range(len(_CLASSES)))
    names, colours = zip(*_CLASSES, strict=True)
    return Classes(names, colours, ids, void=0, of_raw={value: value for value in ids} | {255: LICENSE_PLATE})
