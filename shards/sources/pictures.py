"""Anybody's pictures with label pictures, and optionally with styles.

    images/**/NAME.{jpg,jpeg,png,webp}
    labels/**/NAME.png        the same path: images/park/1.jpg has labels/park/1.png; grey or palette, an id per pixel,
                              0 to 255
    instances/**/NAME.png     optional; the same path; grey, 16 or 8 bits, a number per pixel, one for each object of
                              the picture; what the numbers are does not matter
    styles.csv                optional; columns picture and style, pictures as paths in images/: park/1.jpg,autumn
    classes.json              optional; {"names": ["road", ...], "ids": [0, ...], "colours": [[r, g, b], ...],
                              "void": 255}, of which colours and void may be missing or null

Without styles.csv pictures have no style keys. Without classes.json all label pictures are read for the ids that they
hold; id 7 is then called "class 7", and 255 is void, as most datasets have it.

Without the folder labels/, labels are made of the pictures: edges, say, or a face's landmarks. A picture of images/ is
then of no shape but a square one.

There is no split. Pictures are packed in their own shape if all have the same, and square if not; shapes are those of
the label pictures, which need no decoding.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from tqdm import tqdm

from likeness.command import BadInput
from likeness.folders import Unused
from likeness.names import name_of, spelled
from likeness.rows import Columns, read_rows
from shards.media.orientation import QUARTER, orientation_of
from shards.media.pictures import PNG_HEADER_BYTES, png_header, read_bytes, read_ids, stored_size
from shards.sources.dataset import Classes, Dataset, Item
from shards.sources.layout import chosen, files, paired
from shards.sources.palette import BLACK, colour

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
VOID = 255
STYLES_CSV = "styles.csv"
STYLES = Columns("styles", ("picture", "style"), "its first line must be picture,style", others=True)


def find(root: Path) -> Dataset:
    """The pictures of `images` with their labels, and with their instance maps where there is a folder of them.

    Raises BadInput when a folder is missing, when a picture has no label or instance map or the other way round, when
    styles.csv does not name just the pictures that are there, and for a classes.json or label pictures that are not as
    described.
    """
    root = Path(root)
    labels, unused = root / "labels", Unused()
    # Beside another folder that may hold labels, pictures alone are not what somebody means.
    if root.is_dir() and [path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."] == ["images"]:
        return _unlabelled(root, unused)
    chosen(root, "a dataset of pictures", (("images", "labels"),))
    names, maps = root / "classes.json", root / "instances"
    count_others(root, ("images", "labels", maps.name, "styles.csv", names.name), unused)
    pairs = paired(files(root / "images", unused, *ENDINGS), files(labels, unused, ".png"), labels, ".png")
    instances = _instances(maps, pairs, unused) if maps.is_dir() else {}
    beside = [label for _, label in pairs.values()]
    classes = described_classes(names) if names.is_file() else _found_classes(beside)
    return labelled(root, pairs, unused, classes, instances)


def _unlabelled(root: Path, unused: Unused) -> Dataset:
    """The pictures of `images` alone: their labels are made of them."""
    count_others(root, ("images", STYLES_CSV), unused)
    images, listed = root / "images", root / STYLES_CSV
    named = {name_of(path, images): path for path in files(images, unused, *ENDINGS).values()}
    styles = styles_of(listed, named, "images/") if listed.is_file() else {}
    items = [Item(name_of(path, root), path, styles.get(name, name_of(path, root))) for name, path in named.items()]
    ordered = tuple(sorted(items, key=lambda item: item.source))
    return Dataset(ordered, styled=bool(styles), split_by_style=bool(styles), notes=unused.notes())


def count_others(root: Path, known: Sequence[str], unused: Unused) -> None:
    """Counts what lies in `root` beside the files and folders that are read."""
    for path in sorted(root.iterdir()):
        if path.name not in known:
            reason = "hidden" if path.name.startswith(".") else f"none of {', '.join(known)}"
            unused.add(reason, name_of(path, root))


def labelled(
    root: Path,
    pairs: Mapping[str, tuple[Path, Path]],
    unused: Unused,
    classes: Classes | None = None,
    instances: Mapping[str, Path] = MappingProxyType({}),
) -> Dataset:
    """The dataset of pictures under `root`/images with their label pictures, in the styles of `root`/styles.csv.

    pairs, instances: by key, see `shards.sources.layout.paired`. unused: what the notes tell of. Raises BadInput when
    styles.csv does not name just the pictures that are there.
    """
    images, styles = root / "images", root / "styles.csv"
    names = [name_of(picture, images) for picture, _ in pairs.values()]
    style_of = styles_of(styles, names, "images/") if styles.is_file() else {}
    items = []
    for (key, (picture, label)), name in zip(pairs.items(), names, strict=True):
        source = name_of(picture, root)
        items.append(Item(source, picture, style_of.get(name, source), label, instances=instances.get(key)))
    return Dataset(
        tuple(sorted(items, key=lambda item: item.source)),
        classes=classes,
        styled=styles.is_file(),
        aspect=_aspect(pairs.values()),
        notes=unused.notes(),
    )


def _instances(folder: Path, pictures: Mapping[str, tuple[Path, Path]], unused: Unused) -> dict[str, Path]:
    """The instance map of every picture, by key."""
    found = files(folder, unused, ".png")
    for key, (picture, _) in pictures.items():
        if key not in found:
            raise BadInput(
                f"{picture}: its instance map {folder / (key + '.png')} is missing; add it, or take the folder "
                f"{folder.name} away"
            )
    for key, path in found.items():
        if key not in pictures:
            raise BadInput(f"{path} is the instance map of no picture; add the picture {key}, or remove the map")
    return found


def styles_of(path: Path, pictures: Iterable[str], folder: str = "") -> dict[str, str]:
    """The style of every picture in a styles.csv, by its name. folder: of the pictures, for messages: "images/".

    Raises BadInput when it does not name just these pictures, each with one style.
    """
    there, found = set(pictures), dict[str, str]()
    for line, row in read_rows(path, STYLES):
        picture, style = spelled(row["picture"]), row["style"]
        if picture not in there:
            raise BadInput(f"{path} line {line}: there is no {folder}{picture}; take the line out")
        if not style:
            raise BadInput(f"{path} line {line}: {picture} has no style; give it one")
        if found.setdefault(picture, style) != style:
            raise BadInput(f"{path} line {line}: {picture} has two styles; keep one line of it")
    if missing := sorted(there - set(found)):
        raise BadInput(f"{path} has no line for {folder}{missing[0]} ({len(missing)} are missing); add picture,style")
    return found


def described_classes(path: Path) -> Classes:
    """The classes that a file like classes.json describes. Raises BadInput when it does not, or cannot be read."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file of classes")
    try:
        data = json.loads(path.read_bytes())
        names, ids, void = tuple(data["names"]), tuple(data["ids"]), data.get("void")
        palette = data.get("colours")
        colours = (
            tuple(_colour(value, value == void) for value in ids) if palette is None else tuple(map(tuple, palette))
        )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        # A decoding error's repr holds the whole file.
        reason = str(error) if isinstance(error, UnicodeDecodeError) else repr(error)
        raise BadInput(
            f"{path} does not describe classes: {reason}; it needs names and ids, one per class, as JSON in UTF-8"
        ) from error
    if not names or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{path}: names are {names!r}; give one word or more per class")
    if not all(_is_byte(value) for value in ids) or len(set(ids)) < len(ids):
        raise BadInput(f"{path}: ids are {list(ids)}; give different whole numbers of 0 to 255")
    if not all(len(rgb) == 3 and all(_is_byte(value) for value in rgb) for rgb in colours):
        raise BadInput(f"{path}: colours must be [red, green, blue], each of 0 to 255")
    if len({len(names), len(ids), len(colours)}) > 1:
        raise BadInput(f"{path} has {len(names)} names, {len(ids)} ids and {len(colours)} colours; give one per class")
    if void is not None and not (_is_byte(void) and void in ids):
        raise BadInput(f"{path}: void is {void!r}, which is not among the ids; add it to ids, with a name")
    return Classes(names, colours, ids, void, of_raw={value: value for value in ids})


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _found_classes(labels: list[Path]) -> Classes:
    """The classes of the ids that the label pictures hold; all of them are read."""
    seen = np.zeros(256, bool)
    for path in tqdm(labels, desc="reading label ids", unit="picture"):
        try:
            seen[read_ids(path)] = True
        except BadInput as error:
            raise BadInput(f"{error} (for label pictures in colours there is --dataset picture-pairs)") from error
    ids_found = tuple(int(value) for value in np.flatnonzero(seen))
    void = VOID if VOID in ids_found else None
    return Classes(
        names=tuple("void" if value == void else f"class {value}" for value in ids_found),
        colours=tuple(_colour(value, value == void) for value in ids_found),
        ids=ids_found,
        void=void,
        of_raw={value: value for value in ids_found},
    )


def _colour(value: int, void: bool) -> tuple[int, int, int]:
    # Black is left for void, so that every id has a colour of its own.
    return BLACK if void else colour((value + 1) % 256)


def _aspect(pairs: Iterable[tuple[Path, Path]]) -> float:
    shapes = {_shape(picture, label) for picture, label in pairs}
    return float(shapes.pop()) if len(shapes) == 1 else 1.0


def _shape(picture: Path, label: Path) -> Fraction:
    """Width over height of a label picture, a PNG, from its header; as its photo is shown."""
    with label.open("rb") as file:
        header = png_header(file.read(PNG_HEADER_BYTES))
    if header is None or not header.width or not header.height:
        raise BadInput(f"{label} is no PNG picture; write it again as a PNG of 8 bits")
    shape = Fraction(header.width, header.height)
    own = orientation_of(label)
    on_stored_pixels = own == 1 and orientation_of(picture) >= QUARTER
    if on_stored_pixels:
        on_stored_pixels = stored_size(read_bytes(picture)) == (header.width, header.height)
    return 1 / shape if on_stored_pixels or own >= QUARTER else shape
