"""COCO-Stuff: COCO 2017 with thing and stuff labels in one picture. Pictures have no style keys.

The layout of the publisher's README (github.com/nightrome/cocostuff), and those that people commonly have; the
archives are train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip:

    images/{train2017,val2017}/*.jpg               or {train2017,val2017}/*.jpg
    annotations/{train2017,val2017}/*.png          or stuffthingmaps/{train2017,val2017}/*.png

The label pictures hold 0 to 181, one less than the ids of labels.txt, and 255 for unlabelled, which becomes 182, the
last channel. Eleven ids of things that COCO dropped (such as 11, street sign) never occur but keep their channels.
train2017 is for training and val2017 for testing.
"""

from pathlib import Path

from likeness.folders import Unused
from likeness.names import name_of
from shards.records import Split
from shards.sources.dataset import Classes, Dataset, Item
from shards.sources.layout import Shape, chosen, files, paired
from shards.sources.palette import BLACK, colours

SPLITS: tuple[tuple[str, Split], ...] = (("train2017", "train"), ("val2017", "test"))
SHAPES: tuple[Shape, ...] = tuple(
    tuple(f"{folder}{split}" for folder in (pictures, labels) for split, _ in SPLITS)
    for pictures in ("images/", "")
    for labels in ("stuffthingmaps/", "annotations/")
)
VOID = 182

# labels.txt from id 1 on: 91 things, of which COCO dropped eleven, then 91 stuff classes
NAMES = tuple(
    """\
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat,
backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife,
spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch,
potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush, hair brush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage,
cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff,
dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog,
food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal,
mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform,
playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper,
snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable,
wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops,
window-blind, window-other, wood
""".replace(",\n", ", ")
    .rstrip()
    .split(", ")
)


def find(root: Path) -> Dataset:
    """The pictures of train2017 and val2017, each of a style of its own; they are packed square.

    Raises BadInput when `root` is not COCO-Stuff, and naming the first picture without a label, or the other way
    round.
    """
    root = Path(root)
    shape = chosen(root, "COCO-Stuff", SHAPES)
    items, unused = [], Unused()
    for (_, split), images, annotations in zip(SPLITS, shape[:2], shape[2:], strict=True):
        folder = root / annotations
        labels = {}
        for key, path in files(folder, unused, ".png").items():
            if key.endswith("_labelTrainIds"):
                unused.add("label pictures that MMSegmentation writes, in other ids", key)
            else:
                labels[key] = path
        for picture, label in paired(files(root / images, unused, ".jpg"), labels, folder, ".png").values():
            source = name_of(picture, root)
            items.append(Item(source, picture, source, label, split))
    items.sort(key=lambda item: item.source)
    return Dataset(tuple(items), classes=things_and_stuff(), styled=False, notes=unused.notes())


def things_and_stuff() -> Classes:
    """91 things, 91 stuff classes, then unlabeled."""
    return Classes(
        names=(*NAMES, "unlabeled"),
        colours=(*colours(VOID), BLACK),
        ids=tuple(range(VOID + 1)),
        void=VOID,
        of_raw={raw: raw for raw in range(VOID)} | {255: VOID},
    )
