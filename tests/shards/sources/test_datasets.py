"""Published datasets are found as their publishers ship them, or one line says what is wrong with the folder."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likeness.command import BadInput
from shards.labels import classes as class_maps
from shards.media.pictures import read_ids
from shards.media.video import decode
from shards.packing.pairs import preset
from shards.packing.plan import Packing, plan_of
from shards.records import LabelSchema
from shards.sources import ade20k, bdd100k, cityscapes, coco_stuff, face_forensics, palette, pictures
from shards.sources.dataset import Classes, Dataset
from shards.worlds.streets import GROUPS
from tests.shards.sources import dataset_fixtures as written

Find = Callable[[Path], Dataset]
Write = Callable[[Path], None]

SOURCES: dict[str, tuple[Find, Write]] = {
    "face_forensics": (face_forensics.find, written.write_face_forensics),
    "face_forensics_2018": (face_forensics.find, written.write_face_forensics_2018),
    "bdd100k": (bdd100k.find, written.write_bdd100k),
    "bdd100k_2018": (bdd100k.find, lambda root: written.write_bdd100k(root, old=True)),
    "cityscapes": (cityscapes.find, written.write_cityscapes),
    "coco_stuff": (coco_stuff.find, written.write_coco_stuff),
    "ade20k": (ade20k.find, written.write_ade20k),
    "pictures": (pictures.find, written.write_pictures),
}
STILLS = [name for name in SOURCES if not name.startswith("face")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one dataset of each kind; tests that change one copy it first."""
    root = tmp_path_factory.mktemp("data")
    for name, (_, write) in SOURCES.items():
        (root / name).mkdir()
        write(root / name)
    return root


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(data / name, tmp_path / name))


def ids_of(classes: Classes, label: Path) -> np.ndarray:
    """A label picture with our ids. Ids that the classes do not know become -1."""
    raw = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    table = np.full(256, -1)
    for theirs, ours in classes.of_raw.items():
        table[theirs] = ours
    return table[raw]


@pytest.mark.parametrize("name", SOURCES)
def test_what_every_source_keeps(data: Path, name: str) -> None:
    root = data / name
    found = SOURCES[name][0](root)
    sources = [item.source for item in found.items]
    assert sources == sorted(set(sources))
    assert all(item.path == root / item.source and item.path.is_file() for item in found.items)
    assert not any("manipulated" in source or "altered" in source for source in sources)
    for split in {item.split for item in found.items}:
        ours = [item for item in found.items if item.split == split]
        assert len(ours) >= 4
        if found.styled and name in STILLS:
            counts = Counter(item.style for item in ours)
            assert len(counts) >= 2 and min(counts.values()) >= 2
        else:
            assert len({item.style for item in ours}) == len(ours)
    assert SOURCES[name][0](root) == found


@pytest.mark.parametrize("name", STILLS)
def test_label_pictures_hold_known_classes(data: Path, name: str) -> None:
    found = SOURCES[name][0](data / name)
    assert found.classes is not None
    schema = found.classes.schema(32, 32)
    assert set(found.classes.of_raw.values()) == set(schema.ids)
    assert schema.void is None or schema.void in schema.ids
    assert len(set(schema.names)) == schema.channels
    seen = set()
    for item in found.items:
        assert item.label is not None
        picture = cv2.imread(str(item.path))
        ids = ids_of(found.classes, item.label)
        assert picture.shape[:2] == ids.shape
        seen |= set(np.unique(ids).tolist())
    assert len(seen) == len(written.PARTS) and seen <= set(schema.ids)


@pytest.mark.parametrize("name", ["face_forensics", "face_forensics_2018"])
def test_videos_can_be_decoded(data: Path, name: str) -> None:
    found = face_forensics.find(data / name)
    assert found.classes is None and found.styled
    frames = [frame for _, _, frame in decode(found.items[0].path)]
    assert len(frames) == 8 and frames[0].shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("name", "channels", "named", "aspect"),
    [
        ("bdd100k", 20, {0: "road", 10: "sky", 18: "bicycle", 19: "void"}, 16 / 9),
        ("cityscapes", 35, {0: "unlabeled", 7: "road", 26: "car", 33: "bicycle", 34: "license plate"}, 2.0),
        ("coco_stuff", 183, {0: "person", 11: "street sign", 90: "hair brush", 91: "banner", 181: "wood"}, 1.0),
        ("ade20k", 151, {0: "wall", 1: "building, edifice", 149: "flag", 150: "unknown"}, 1.0),
        ("pictures", 5, {0: "sky", 4: "edge"}, 1.5),
    ],
)
def test_classes_are_those_of_the_publisher(
    data: Path, name: str, channels: int, named: dict[int, str], aspect: float
) -> None:
    found = SOURCES[name][0](data / name)
    assert found.classes is not None and found.aspect == pytest.approx(aspect)
    schema = found.classes.schema(64, 128)
    assert schema.channels == channels
    assert {channel: schema.names[channel] for channel in named} == named
    # What is meant by a channel is looked up by its place in ids: these put class k in channel k.
    assert name in ("bdd100k", "pictures") or schema.ids == tuple(range(channels))


def one_hot_of(classes: Classes, raw: int) -> int:
    """The channel of a raw id, through the project's own one-hot."""
    schema: LabelSchema = classes.schema(32, 32)
    ids = np.full((32, 32), classes.of_raw[raw], np.uint8)
    hot = class_maps.one_hot(schema, class_maps.checked(schema, ids, "test"))
    assert hot.sum(axis=0).min() == hot.sum(axis=0).max() == 1
    return int(hot[:, 0, 0].argmax())


def test_raw_ids_to_channels() -> None:
    ade, coco = ade20k.scene_parsing(), coco_stuff.things_and_stuff()
    city, bdd = cityscapes.label_ids(), bdd100k.train_ids()
    assert [one_hot_of(ade, raw) for raw in (0, 1, 2, 150)] == [150, 0, 1, 149]
    assert [one_hot_of(coco, raw) for raw in (0, 90, 91, 181, 255)] == [0, 90, 91, 181, 182]
    assert [one_hot_of(city, raw) for raw in (0, 7, 33, 34, 255)] == [0, 7, 33, 34, 34]
    assert [one_hot_of(bdd, raw) for raw in (0, 18, 255)] == [0, 18, 19]
    assert [known.void for known in (ade, coco, city, bdd)] == [150, 182, 0, 255]
    assert 151 not in ade.of_raw and 182 not in coco.of_raw and 35 not in city.of_raw and 19 not in bdd.of_raw


def test_cityscapes_agrees_with_its_own_train_ids() -> None:
    """The 19 classes that the publisher trains on have the names and colours that streets have elsewhere here."""
    trained = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    ours, theirs = cityscapes.label_ids(), class_maps.schema(32, 32)
    assert [ours.names[value] for value in trained] == list(theirs.names[:19])
    assert [ours.colours[value] for value in trained] == list(theirs.colours[:19])


def test_palette_is_that_of_pascal_voc() -> None:
    voc = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert {index: palette.colour(index) for index in (*voc, 255)} == {**voc, 255: (224, 224, 192)}
    assert len({palette.colour(index) for index in range(256)}) == 256
    assert (0, 0, 0) not in palette.colours(255)


# FaceForensics


def test_face_forensics_splits(data: Path) -> None:
    found = face_forensics.find(data / "face_forensics")
    split_of = {item.path.stem: item.split for item in found.items}
    test = itertools.chain(*json.loads((data / "face_forensics/splits/test.json").read_text()))
    held = itertools.chain(*json.loads((data / "face_forensics/splits/val.json").read_text()))
    assert {number for number, split in split_of.items() if split == "test"} == set(test)
    assert not set(held) & set(split_of)
    assert split_of["01__talking_outside"] == split_of["02__talking_outside"] == "train"
    assert "videos of the publisher's validation split, left out: 4" in found.notes
    assert any("c40" in note for note in found.notes) and not any("/c40/" in item.source for item in found.items)


def test_face_forensics_without_split_files(copy: Callable[[str], Path]) -> None:
    root = copy("face_forensics")
    shutil.rmtree(root / "splits")
    found = face_forensics.find(root)
    assert len(found.items) == 14 and {item.split for item in found.items} == {None}


def test_face_forensics_videos_that_no_split_names_are_trained_on(copy: Callable[[str], Path]) -> None:
    root = copy("face_forensics")
    file = root / "splits/train.json"
    first, *others = json.loads(file.read_text())
    file.write_text(json.dumps(others))
    split_of = {item.path.stem: item.split for item in face_forensics.find(root).items}
    assert {split_of[number] for number in first} == {"train"}


def test_face_forensics_takes_the_least_compressed(copy: Callable[[str], Path]) -> None:
    root = copy("face_forensics")
    shutil.move(root / "original_sequences/youtube/c40", root / "original_sequences/youtube/raw")
    assert all("/raw/" in item.source for item in face_forensics.find(root).items)


def test_face_forensics_2018_splits(data: Path) -> None:
    found = face_forensics.find(data / "face_forensics_2018")
    assert Counter((item.source.split("/")[0], item.split) for item in found.items) == {
        ("train", "train"): 4,
        ("test", "test"): 4,
    }
    assert found.notes == ("videos of the publisher's validation split, left out: 4",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[", "no list of pairs"),
        ("[[1, 2]]", "no video number"),
        ('["000"]', "no list of pairs"),
        ('{"a": 1}', "no list of pairs"),
        (None, "is missing"),
    ],
)
def test_face_forensics_split_files_that_are_wrong(
    copy: Callable[[str], Path], content: str | None, message: str
) -> None:
    root = copy("face_forensics")
    path = root / "splits/val.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BadInput, match=message) as caught:
        face_forensics.find(root)
    assert "val.json" in str(caught.value)


def test_face_forensics_video_in_two_splits(copy: Callable[[str], Path]) -> None:
    root = copy("face_forensics")
    shutil.copy(root / "splits/train.json", root / "splits/test.json")
    with pytest.raises(BadInput, match=r"video 000 stands in train\.json, too"):
        face_forensics.find(root)


# BDD100K


def test_bdd100k_counts(data: Path) -> None:
    for name in ("bdd100k", "bdd100k_2018"):
        found = bdd100k.find(data / name)
        assert Counter((item.split, item.style) for item in found.items) == {
            (split, style): 4 for split in ("train", "test") for style in ("clear-daytime", "night")
        }
        assert all(f"/{ {'train': 'train', 'test': 'val'}[str(item.split)] }/" in item.source for item in found.items)
        assert set(found.notes) == {
            "pictures without attributes, left out: 2",
            "pictures whose weather or time of day is undefined, left out: 4",
            "pictures of test, which have no labels, left out: 2",
        }


def test_bdd100k_groups() -> None:
    weathers = ("rainy", "snowy", "clear", "overcast", "undefined", "partly cloudy", "foggy")
    times = ("daytime", "night", "dawn/dusk", "undefined")
    of = {(weather, time): bdd100k.group_of(weather, time) for weather in weathers for time in times}
    assert {of[weather, "night"] for weather in weathers} == {"night"}
    assert (
        {of[weather, "undefined"] for weather in weathers}
        == {None}
        == {of["undefined", time] for time in times} - {"night"}
    )
    groups = {group for group in of.values() if group is not None}
    assert groups == set(GROUPS) and len(groups) == 13 == len(GROUPS)
    assert of["partly cloudy", "dawn/dusk"] == "partly cloudy-dawn/dusk"


@pytest.mark.parametrize("file", ["det_train.json", "det_val.json"])
def test_bdd100k_needs_both_attribute_files(copy: Callable[[str], Path], file: str) -> None:
    root = copy("bdd100k")
    (root / "labels/det_20" / file).unlink()
    with pytest.raises(BadInput, match=f"{file} is missing, .*Detection 2020 Labels"):
        bdd100k.find(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "broken or cut off"),
        (lambda text: text.replace("night", "midnight"), "has timeofday 'midnight'"),
        (
            lambda text: text.replace('"attributes": {', '"attributes": 3, "more": {'),
            "entry 0 does not describe a picture",
        ),
        (lambda text: text.replace('"name"', '"title"'), "entry 0 does not describe a picture"),
        (lambda text: "{}", "no JSON list"),
        (lambda text: "[1]", "entry 0 does not describe"),
        (lambda text: "", "no JSON list"),
    ],
)
def test_bdd100k_attribute_files_that_are_wrong(
    copy: Callable[[str], Path], change: Callable[[str], str], message: str
) -> None:
    root = copy("bdd100k")
    path = root / "labels/det_20/det_train.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(BadInput, match=message) as caught:
        bdd100k.find(root)
    assert str(path) in str(caught.value)


def test_bdd100k_attributes_that_fit_no_picture(copy: Callable[[str], Path]) -> None:
    root = copy("bdd100k")
    path = root / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace("timeofday", "time"))
    with pytest.raises(BadInput, match="no picture has its weather and time of day"):
        bdd100k.find(root)
    path.write_text("[]")
    with pytest.raises(BadInput, match="no picture has its weather and time of day"):
        bdd100k.find(root)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_bdd100k_attribute_files_are_read_in_pieces(data: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    whole = bdd100k.find(data / "bdd100k")
    monkeypatch.setattr(bdd100k, "_CHUNK", chunk)
    assert bdd100k.find(data / "bdd100k") == whole


def empty_bdd100k(root: Path, names: dict[str, list[str]], attributes: dict[str, list[str]]) -> None:
    """Empty files in the layout of BDD100K: names of pictures in train and val, and of entries by day in each file."""
    for split in ("train", "val"):
        for folder, ending in ((f"images/10k/{split}", "jpg"), (f"labels/sem_seg/masks/{split}", "png")):
            (root / folder).mkdir(parents=True)
            for name in names[split]:
                (root / folder / f"{name}.{ending}").touch()
        (root / "labels/det_20").mkdir(exist_ok=True)
        day = {"weather": "clear", "timeofday": "daytime"}
        entries = [{"name": f"{name}.jpg", "attributes": day} for name in attributes[split]]
        (root / f"labels/det_20/det_{split}.json").write_text(json.dumps(entries))


NAMES = st.lists(st.integers(0, 12).map("{:02d}".format), min_size=1, unique=True)


@given(train=NAMES, val=NAMES, told_train=NAMES, told_val=NAMES)
def test_bdd100k_join(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[str],
    val: list[str],
    told_train: list[str],
    told_val: list[str],
) -> None:
    """Every picture with attributes in either file comes once, in one split, and all are accounted for."""
    root = tmp_path_factory.mktemp("bdd")
    empty_bdd100k(root, {"train": train, "val": val}, {"train": told_train, "val": told_val})
    told = {*told_train, *told_val}
    usable = {"test": told & set(val), "train": (told & set(train)) - set(val)}
    if not all(usable.values()):
        with pytest.raises(BadInput, match="no picture has its weather"):
            bdd100k.find(root)
        return
    found = bdd100k.find(root)
    names = [item.path.stem for item in found.items]
    assert len(set(names)) == len(names)
    for split, expected in usable.items():
        assert {item.path.stem for item in found.items if item.split == split} == expected
    left_out = sum(int(note.rpartition(" ")[2]) for note in found.notes)
    assert len(names) + left_out == len(train) + len(val)


def test_bdd100k_archives_that_differ_a_little(tmp_path: Path) -> None:
    """The publisher's own archives differ by a handful; a missing archive differs by more."""
    names = {"train": [f"t{number:03d}" for number in range(400)], "val": [f"v{number:03d}" for number in range(200)]}
    empty_bdd100k(tmp_path, names, names)
    (tmp_path / "labels/sem_seg/masks/train/t007.png").unlink()
    (tmp_path / "images/10k/val/v003.jpg").unlink()
    found = bdd100k.find(tmp_path)
    assert len(found.items) == 598
    assert set(found.notes) == {"pictures without a label, left out: 1", "labels without a picture, left out: 1"}
    for number in range(10):
        (tmp_path / f"images/10k/train/t1{number:02d}.jpg").unlink()
    with pytest.raises(BadInput, match=r"t100\.png is one of 10 labels without a picture"):
        bdd100k.find(tmp_path)


# Cityscapes, COCO-Stuff, ADE20K


def test_cityscapes_splits_and_cities(data: Path) -> None:
    found = cityscapes.find(data / "cityscapes")
    assert Counter((item.split, item.style) for item in found.items) == {
        ("train", "aachen"): 4,
        ("train", "bochum"): 4,
        ("test", "frankfurt"): 4,
        ("test", "munster"): 4,
    }
    assert found.notes == ("pictures of test, whose labels are dummies, left out: 2",)
    assert all(item.label is not None and item.label.name.endswith("labelIds.png") for item in found.items)


@pytest.mark.parametrize("name", ["coco_stuff", "ade20k"])
def test_unstyled_splits(data: Path, name: str) -> None:
    found = SOURCES[name][0](data / name)
    assert not found.styled and found.notes == ()
    assert Counter(item.split for item in found.items) == {"train": 8, "test": 8}
    folders = {item.source.split("/")[1]: item.split for item in found.items}
    assert {folder[:3]: split for folder, split in folders.items()} == {"tra": "train", "val": "test"}
    assert all(item.style == item.source for item in found.items)


@pytest.mark.parametrize("images", ["images/", ""])
@pytest.mark.parametrize("labels", ["annotations/", "stuffthingmaps/"])
def test_coco_stuff_layouts(tmp_path: Path, images: str, labels: str) -> None:
    written.write_coco_stuff(tmp_path, pictures=2, images=images, labels=labels)
    # COCO's own annotation files often lie there, too.
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations/instances_val2017.json").touch()
    (tmp_path / labels / "val2017/000000000001_labelTrainIds.png").touch()
    found = coco_stuff.find(tmp_path)
    assert len(found.items) == 4 and found.items[0].source == f"{images}train2017/000000000001.jpg"
    assert found.items[0].label == tmp_path / f"{labels}train2017/000000000001.png"


# a person's own pictures


def test_pictures_styles(data: Path) -> None:
    found = pictures.find(data / "pictures")
    assert found.styled and {item.split for item in found.items} == {None}
    assert Counter(item.style for item in found.items) == {"noon": 8, "dusk": 8}
    assert {item.style for item in found.items if "3.jpeg" in item.source} == {"dusk"}
    by_name = {item.path.stem: item for item in found.items}
    assert by_name["2"].label == data / "pictures/labels/sea/north/2.png"


def test_pictures_without_tables(tmp_path: Path) -> None:
    written.write_pictures(tmp_path, pictures=4, styles=False, classes=False)
    found = pictures.find(tmp_path)
    assert not found.styled and all(item.style == item.source for item in found.items)
    assert found.classes is not None and found.classes.ids == (1, 2, 5, 7, 255) and found.classes.void == 255
    assert found.classes.names == ("class 1", "class 2", "class 5", "class 7", "void")
    assert len(set(found.classes.colours)) == 5


def test_pictures_without_void(tmp_path: Path) -> None:
    written.write_pictures(tmp_path, pictures=2, styles=False, classes=False, void=9)
    classes = pictures.find(tmp_path).classes
    assert classes is not None and classes.void is None and classes.ids == (1, 2, 5, 7, 9)


def test_pictures_of_several_shapes_are_packed_square(tmp_path: Path) -> None:
    written.write_pictures(tmp_path, pictures=3)
    assert pictures.find(tmp_path).aspect == 1.5
    for path in (tmp_path / "images/town/0.jpg", tmp_path / "labels/town/0.png"):
        written.save(path, np.zeros((64, 64), np.uint8) + 1)
    assert pictures.find(tmp_path).aspect == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], r"has no line for images/.*\(1 are missing"),
        (lambda lines: [*lines, "gone.jpg,noon"], "line 18: there is no images/gone.jpg"),
        (lambda lines: [*lines, lines[1].replace("noon", "dawn")], "line 18: .* has two styles"),
        (lambda lines: [*lines[:-1], lines[-1].partition(",")[0] + ","], "has no style"),
        (lambda lines: ["file,kind", *lines[1:]], "first line must be picture,style"),
        (lambda lines: [], "first line must be picture,style"),
    ],
)
def test_pictures_with_a_wrong_style_table(
    copy: Callable[[str], Path], change: Callable[[list[str]], list[str]], message: str
) -> None:
    path = copy("pictures") / "styles.csv"
    path.write_text("\n".join(change(path.read_text().split())))
    with pytest.raises(BadInput, match=message) as caught:
        pictures.find(path.parent)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ["sky"]}, "1 names, 5 ids"),
        ({"ids": [1, 2, 5, 7, 300]}, "whole numbers of 0 to 255"),
        ({"ids": [1, 2, 5, 7, 7]}, "different whole numbers"),
        ({"void": 3}, "void is 3"),
        ({"colours": [[0, 0, 0]]}, "1 colours"),
        ({"colours": [[0, 0, 256]] * 5}, "each of 0 to 255"),
        ({"colours": 3}, "does not describe classes"),
        ({"names": [1, 2, 3, 4, 5]}, "one word or more"),
        ({"ids": None}, "does not describe classes"),
    ],
)
def test_pictures_with_wrong_classes(copy: Callable[[str], Path], changes: dict[str, object], message: str) -> None:
    path = copy("pictures") / "classes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BadInput, match=message) as caught:
        pictures.find(path.parent)
    assert str(path) in str(caught.value)


STREETS = Path(pictures.__file__).with_name("pix2pixsc-street-classes.json")


def test_the_published_street_weights_classes(data: Path) -> None:
    """42 channels for the ids 0 to 40 and 255 (specification 1.2, 5.6); what BDD100K's pictures hold stays as it is."""
    packing = Packing(data / "bdd100k", preset("default"), dataset="bdd100k", classes=STREETS)
    plan = plan_of(packing, held_out=False)
    schema, own = plan.schema, plan_of(replace(packing, classes=None), held_out=False)
    assert (schema.channels, schema.height, schema.width) == (42, 144, 256) and 2 * schema.channels + 3 == 87
    assert schema.ids == (*range(41), 255) and schema.void == 255 and len(set(schema.colours)) == 42
    assert schema.names[:19] == own.schema.names[:19] and schema.colours[:19] == own.schema.colours[:19]
    assert plan.preprocessing.labelling.of_raw == own.preprocessing.labelling.of_raw
    assert plan.digest != own.digest
    hot = class_maps.one_hot(schema, np.array([[0, 18], [40, 255]], np.uint8))
    assert hot.reshape(42, -1).argmax(axis=0).tolist() == [0, 18, 40, 41]


def test_classes_that_do_not_fit_a_dataset(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"names": ["road", "void"], "ids": [0, 255], "void": 255}))
    for dataset, path, message in (
        ("bdd100k", file, r"classes\.json has no class for the id 1 of --dataset bdd100k"),
        ("bdd100k", tmp_path / "none.json", r"none\.json: there is no such file of classes"),
        ("face_forensics", STREETS, r"--classes .* is of no use: --dataset face-forensics has no label pictures"),
    ):
        packing = Packing(data / dataset, preset("default"), dataset=dataset.replace("_", "-"), classes=path)
        with pytest.raises(BadInput, match=message):
            plan_of(packing, held_out=False)


def test_pictures_with_styles_from_a_spreadsheet(copy: Callable[[str], Path]) -> None:
    path = copy("pictures") / "styles.csv"
    before = pictures.find(path.parent)
    text = path.read_text().replace("dusk", "crépuscule")
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    found = pictures.find(path.parent)
    assert [item.source for item in found.items] == [item.source for item in before.items]
    assert {item.style for item in found.items} == {"noon", "crépuscule"}
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"styles\.csv is not in UTF-8"):
        pictures.find(path.parent)


def test_pictures_with_colours(copy: Callable[[str], Path]) -> None:
    path = copy("pictures") / "classes.json"
    colours = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [0, 0, 0]]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colours": colours, "void": None}))
    classes = pictures.find(path.parent).classes
    assert classes is not None and classes.void is None and classes.colours[1] == (4, 5, 6)


def test_pictures_with_labels_in_colour(tmp_path: Path) -> None:
    written.write_pictures(tmp_path, pictures=2, classes=False)
    written.save(tmp_path / "labels/town/1.png", np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(
        BadInput, match=r"1\.png is no label picture \(it is a colour picture; .*--dataset picture-pairs"
    ):
        pictures.find(tmp_path)
    (tmp_path / "labels/town/1.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"1\.png is no label picture \(neither PNG, JPEG nor WebP\)"):
        pictures.find(tmp_path)
    written.write_pictures(tmp_path, pictures=2)
    (tmp_path / "labels/town/1.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"1\.png is no PNG picture"):
        pictures.find(tmp_path)


def test_pictures_of_one_name(copy: Callable[[str], Path]) -> None:
    root = copy("pictures")
    shutil.copy(root / "images/town/0.jpg", root / "images/town/0.jpeg")
    with pytest.raises(BadInput, match="differ only in their endings"):
        pictures.find(root)


# wrong folders


@pytest.mark.parametrize("name", SOURCES)
def test_wrong_folders(data: Path, tmp_path: Path, name: str) -> None:
    find, _ = SOURCES[name]
    with pytest.raises(BadInput, match="there is no such folder") as caught:
        find(tmp_path / "absent")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"is not .*: there is no folder .*; expected the folders"):
        find(tmp_path)
    # one level too high
    shutil.copytree(data / name, tmp_path / "data" / "inside")
    with pytest.raises(BadInput, match=f"give {tmp_path / 'data' / 'inside'}$"):
        find(tmp_path / "data")
    # too deep: at every folder on the way to the first file
    for folder in itertools.islice(find(data / name).items[0].path.relative_to(data / name).parents, 4):
        if folder.parts:
            with pytest.raises(BadInput, match=f"is not the top folder of .*; give {data / name}$"):
                find(data / name / folder)


@pytest.mark.parametrize("name", SOURCES)
def test_another_dataset(data: Path, name: str) -> None:
    family = name.removesuffix("_2018")
    for other in SOURCES:
        if other.startswith(family):
            continue
        # BDD100K has folders called images and labels, too; there it is the files that do not fit.
        similar = name == "pictures" and other.startswith("bdd100k")
        message = r"bdd100k" if similar else r"there is no folder .*; expected the folders"
        with pytest.raises(BadInput, match=message):
            SOURCES[name][0](data / other)


@pytest.mark.parametrize("name", STILLS)
@pytest.mark.parametrize("lost", ["path", "label"])
def test_pictures_and_labels_belong_together(copy: Callable[[str], Path], name: str, lost: str) -> None:
    root = copy(name)
    find, _ = SOURCES[name]
    item = find(root).items[1]
    assert item.label is not None
    kept = item.label if lost == "path" else item.path
    (item.path if lost == "path" else item.label).unlink()
    with pytest.raises(BadInput) as caught:
        find(root)
    assert str(kept) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SOURCES)
def test_hidden_files_are_no_data(copy: Callable[[str], Path], name: str) -> None:
    root = copy(name)
    find, _ = SOURCES[name]
    before = find(root)
    for item in before.items[:2]:
        for path in filter(None, (item.path, item.label)):
            # what macOS leaves behind, and half a download
            path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
            (path.parent / ".cache").mkdir(exist_ok=True)
            (path.parent / ".cache" / path.name).touch()
            path.with_name("Thumbs.db").touch()
    after = find(root)
    assert replace(after, notes=before.notes) == before
    (note,) = (note for note in after.notes if note.startswith("not used: "))
    assert " hidden (" in note and "Thumbs.db" in note


@pytest.mark.parametrize("name", SOURCES)
def test_empty_folders(copy: Callable[[str], Path], name: str) -> None:
    root = copy(name)
    find, _ = SOURCES[name]
    for folder in {item.path.parent for item in find(root).items}:
        for path in folder.iterdir():
            path.unlink()
    with pytest.raises(BadInput, match=r"holds no files that end in .*; unpack the dataset there"):
        find(root)


def test_ids_of_any_depth_are_taken_as_they_are_stored(tmp_path: Path) -> None:
    """Pillow writes these files, bit by bit; what finds the classes and what reads labels agree about them."""
    written.write_pictures(tmp_path, pictures=4, classes=False)
    ids = np.arange(64 * 96).reshape(64, 96) % 2
    files = sorted((tmp_path / "labels").rglob("*.png"))
    palette = Image.fromarray((ids + 5).astype(np.uint8)).convert("P")
    palette.putpalette([value for rgb in range(8) for value in (200, rgb, 9)])
    palette.save(files[0], bits=4)
    Image.fromarray(ids.astype(bool)).save(files[1])
    Image.fromarray((ids + 254).astype(np.uint16)).save(files[2])
    found = pictures.find(tmp_path)
    seen = {path: set(np.unique(read_ids(path)).tolist()) for path in files}
    assert [seen[path] for path in files[:3]] == [{5, 6}, {0, 1}, {254, 255}]
    assert found.classes is not None and set(found.classes.ids) == set().union(*seen.values())


def test_ids_above_255_are_refused_by_name(tmp_path: Path) -> None:
    written.write_pictures(tmp_path, pictures=2, classes=False)
    ids = np.zeros((64, 96), np.uint16)
    ids[3, 4] = 300
    Image.fromarray(ids).save(tmp_path / "labels/town/1.png")
    with pytest.raises(BadInput, match=r"town/1\.png holds the id 300 at row 3, column 4, but class ids are 0 to 255"):
        pictures.find(tmp_path)


def test_accents_may_be_composed_in_a_table_and_not_on_the_disk(tmp_path: Path) -> None:
    written.write_pictures(tmp_path, pictures=2, classes=False)
    styles = (tmp_path / "styles.csv").read_text()
    (tmp_path / "images/town/0.jpg").rename(tmp_path / "images/town/cafe\u0301.jpg")
    (tmp_path / "labels/town/0.png").rename(tmp_path / "labels/town/caf\u00e9.png")
    (tmp_path / "styles.csv").write_text(styles.replace("town/0.jpg", "town/caf\u00e9.jpg"), encoding="utf-8")
    found = pictures.find(tmp_path)
    (item,) = (item for item in found.items if "caf" in item.source)
    assert item.source == "images/town/caf\u00e9.jpg" and item.path.is_file()
    assert item.label is not None and item.label.is_file() and found.notes == ()


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    written.write_pictures(tmp_path, pictures=2, classes=False)
    for name in ("style.csv", "images/town/Thumbs.db", ".DS_Store"):
        (tmp_path / name).touch()
    (note,) = pictures.find(tmp_path).notes
    assert note.startswith("not used: ") and "1 hidden (.DS_Store)" in note
    assert "1 none of images, labels, instances, styles.csv, classes.json (style.csv)" in note
    assert "1 of images that do not end in .jpg or .jpeg or .png or .webp (town/Thumbs.db)" in note
