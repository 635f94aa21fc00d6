"""ADE20K as the scene parsing challenge of 2016 ships it, in 150 classes. Pictures have no style keys.

The layout that ADEChallengeData2016.zip unpacks to (github.com/CSAILVision/sceneparsing), under ADEChallengeData2016/:

    images/{training,validation}/*.jpg
    annotations/{training,validation}/*.png     0 "other objects", 1 to 150 the classes of objectInfo150.txt

The publisher's 1 to 150 become our 0 to 149, and its 0 becomes 150, the last channel, which is void.
training is for training and validation for testing.
"""

from pathlib import Path

from likeness.folders import Unused
from likeness.names import name_of
from shards.records import Split
from shards.sources.dataset import Classes, Dataset, Item
from shards.sources.layout import chosen, files, paired
from shards.sources.palette import BLACK, colours

SHAPE = ("images/training", "images/validation", "annotations/training", "annotations/validation")
SPLITS: tuple[tuple[str, Split], ...] = (("training", "train"), ("validation", "test"))
VOID = 150

# the column Name of objectInfo150.txt: one class a line, synonyms after commas
NAMES = tuple(
    """\
wall
building, edifice
sky
floor, flooring
tree
ceiling
road, route
bed
windowpane, window
grass
cabinet
sidewalk, pavement
person, individual, someone, somebody, mortal, soul
earth, ground
door, double door
table
mountain, mount
plant, flora, plant life
curtain, drape, drapery, mantle, pall
chair
car, auto, automobile, machine, motorcar
water
painting, picture
sofa, couch, lounge
shelf
house
sea
mirror
rug, carpet, carpeting
field
armchair
seat
fence, fencing
desk
rock, stone
wardrobe, closet, press
lamp
bathtub, bathing tub, bath, tub
railing, rail
cushion
base, pedestal, stand
box
column, pillar
signboard, sign
chest of drawers, chest, bureau, dresser
counter
sand
sink
skyscraper
fireplace, hearth, open fireplace
refrigerator, icebox
grandstand, covered stand
path
stairs, steps
runway
case, display case, showcase, vitrine
pool table, billiard table, snooker table
pillow
screen door, screen
stairway, staircase
river
bridge, span
bookcase
blind, screen
coffee table, cocktail table
toilet, can, commode, crapper, pot, potty, stool, throne
flower
book
hill
bench
countertop
stove, kitchen stove, range, kitchen range, cooking stove
palm, palm tree
kitchen island
computer, computing machine, computing device, data processor, electronic computer, information processing system
swivel chair
boat
bar
arcade machine
hovel, hut, hutch, shack, shanty
bus, autobus, coach, charabanc, double-decker, jitney, motorbus, motorcoach, omnibus, passenger vehicle
towel
light, light source
truck, motortruck
tower
chandelier, pendant, pendent
awning, sunshade, sunblind
streetlight, street lamp
booth, cubicle, stall, kiosk
television, television receiver, television set, tv, tv set, idiot box, boob tube, telly, goggle box
airplane, aeroplane, plane
dirt track
apparel, wearing apparel, dress, clothes
pole
land, ground, soil
bannister, banister, balustrade, balusters, handrail
escalator, moving staircase, moving stairway
ottoman, pouf, pouffe, puff, hassock
bottle
buffet, counter, sideboard
poster, posting, placard, notice, bill, card
stage
van
ship
fountain
conveyer belt, conveyor belt, conveyer, conveyor, transporter
canopy
washer, automatic washer, washing machine
plaything, toy
swimming pool, swimming bath, natatorium
stool
barrel, cask
basket, handbasket
waterfall, falls
tent, collapsible shelter
bag
minibike, motorbike
cradle
oven
ball
food, solid food
step, stair
tank, storage tank
trade name, brand name, brand, marque
microwave, microwave oven
pot, flowerpot
animal, animate being, beast, brute, creature, fauna
bicycle, bike, wheel, cycle
lake
dishwasher, dish washer, dishwashing machine
screen, silver screen, projection screen
blanket, cover
sculpture
hood, exhaust hood
sconce
vase
traffic light, traffic signal, stoplight
tray
ashcan, trash can, garbage can, wastebin, ash bin, ash-bin, ashbin, dustbin, trash barrel, trash bin
fan
pier, wharf, wharfage, dock
crt screen
plate
monitor, monitoring device
bulletin board, notice board
shower
radiator
glass, drinking glass
clock
flag
""".splitlines()
)


def find(root: Path) -> Dataset:
    """The pictures of training and validation, each of a style of its own; they are packed square.

    Raises BadInput when `root` is not the challenge's data, and naming the first picture without a label, or the
    other way round.
    """
    root = Path(root)
    chosen(root, "ADE20K's ADEChallengeData2016", (SHAPE,))
    items, unused = [], Unused()
    for folder, split in SPLITS:
        labels = root / "annotations" / folder
        pairs = paired(files(root / "images" / folder, unused, ".jpg"), files(labels, unused, ".png"), labels, ".png")
        for picture, label in pairs.values():
            source = name_of(picture, root)
            items.append(Item(source, picture, source, label, split))
    items.sort(key=lambda item: item.source)
    return Dataset(tuple(items), classes=scene_parsing(), styled=False, notes=unused.notes())


def scene_parsing() -> Classes:
    """The 150 classes in the publisher's order and words, then unknown."""
    return Classes(
        names=(*NAMES, "unknown"),
        colours=(*colours(VOID), BLACK),
        ids=tuple(range(VOID + 1)),
        void=VOID,
        of_raw={0: VOID} | {raw: raw - 1 for raw in range(1, VOID + 1)},
    )
