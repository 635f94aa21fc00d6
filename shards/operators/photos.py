"""From a video or a still picture to labelled photos of the schema's size: the label operators at work."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.kinds import CLASSES, EDGES, PICTURE, POSE, SKETCH, Kind, kind_of
from shards.media.boxes import Box, resized
from shards.media.pictures import read_picture
from shards.media.video import decode
from shards.operators.arguments import OPERATOR_OPTIONS
from shards.operators.beside import fitted_photo, label_by_ids, label_by_picture
from shards.operators.edges import EdgeNetwork, canny
from shards.operators.labelling import Found, Labelled, Labelling, Photo
from shards.operators.points import (
    body_boxes,
    body_detector,
    find_body,
    find_face,
    label_body,
    label_face,
    landmark_detector,
)
from shards.operators.shots import Places
from shards.operators.smoothing import OneEuro
from shards.operators.world_frames import world_photos
from shards.records import Frame, LabelSchema
from shards.sources.dataset import Item
from shards.worlds import world_of
from shards.worlds.sidecar import sidecar_of, sidecar_path

BLANK_SPREAD = 2.0
"""A frame whose grey values, reduced to 64×64, have a smaller standard deviation shows nothing."""
DUPLICATE_DIFFERENCE = 0.5
"""A frame whose 64×64 grey values differ from the last kept one's by less, in the mean, shows the same again."""

Sight = tuple[int, float, Array, Found | str | None]
"""A picture by its number and second, uint8 (H, W, 3) RGB, and what was found in it, why nothing was, or None where
nothing is looked for."""


def labelled_photos(item: Item, labelling: Labelling, outcomes: Counter[str] | None = None) -> Iterator[Photo]:
    """The labelled photos of a video or still picture, at the schema's size.

    Of a video every `every`-th frame is looked at; blank frames, repetitions of the frame before, and frames that the
    operator rejects are left out. `outcomes` counts them, and the ones used, by reason.

    Raises BadInput naming the file when it is broken, takes too long, has a label that does not fit, or when no
    frame is left.
    """
    outcomes = Counter() if outcomes is None else outcomes
    if labelling.operator not in OPERATORS:
        raise BadInput(f"no label operator {labelling.operator!r}; choose one of {', '.join(OPERATORS)}")
    _check_kind(labelling)
    if labelling.operator == "worlds":
        yield from world_photos(item, labelling, outcomes)
        return
    places = Places() if labelling.shots and not item.still else None
    for sight in _sights(item, labelling, partial(_frames, item, labelling), outcomes):
        # Of all that is looked at: a cut may lie where nothing is found.
        place = 0 if places is None else places.place_of(sight[2])
        photo = _photo(item, sight, labelling, outcomes)
        if photo is not None:
            yield (
                photo if not place else replace(photo, frame=replace(photo.frame, style=f"{item.style} place {place}"))
            )
    if not outcomes["used"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in outcomes.most_common() if count)
        remedy = "choose another file"
        if labelling.every > 1:
            remedy = "take the file out of the folder, or keep more frames with a smaller --every"
        raise BadInput(f"{item.path}: no usable frame among {outcomes.total()} ({reasons}); {remedy}")


def every_frame(video: Path, labelling: Labelling, outcomes: Counter[str]) -> Iterator[tuple[float, Photo | None]]:
    """(seconds, labelled photo) of each frame of a video, in order; None where the operator rejects the frame.

    seconds: from the start of the file. `outcomes` counts the frames used, and the others by reason.
    Raises BadInput naming the file when it is broken, or has a sidecar that does not fit.
    """
    item = Item(video.name, video, video.name)
    _check_kind(labelling)
    if labelling.operator == "worlds":
        for photo in world_photos(item, labelling, outcomes):
            yield photo.frame.seconds, photo
        return

    def frames(_: Counter[str]) -> Iterator[tuple[int, float, Array]]:
        return decode(video, 1, labelling.timeout_s)

    for sight in _sights(item, labelling, frames, outcomes):
        yield sight[1], _photo(item, sight, labelling, outcomes)


def photo_of(image: Array, name: str, labelling: Labelling) -> Photo:
    """Somebody's photo, prepared and labelled as those that a model has learnt from.

    image: uint8 (H, W, 3) RGB of any size, as it is shown. name: what messages call it. labelling: `prepared`.
    Raises BadInput when the operator finds nothing in it.
    """
    _check_kind(labelling)
    outcomes: Counter[str] = Counter()
    item, once = Item(name, Path(name), ""), replace(labelling, smooth=False)

    def frames(_: Counter[str]) -> Iterator[tuple[int, float, Array]]:
        return iter([(0, 0.0, image)])

    for sight in _sights(item, once, frames, outcomes):
        if (photo := _photo(item, sight, once, outcomes)) is not None:
            return photo
    raise BadInput(f"{name} cannot be used: {next(iter(outcomes))}; choose another photo")


def _sights(
    item: Item,
    labelling: Labelling,
    frames: Callable[[Counter[str]], Iterator[tuple[int, float, Array]]],
    outcomes: Counter[str],
) -> Iterator[Sight]:
    """The pictures of a file with what the operator finds in them.

    frames: gives them, and counts those that it leaves out. Where what is shown of a video depends on all of its
    frames, they are read twice.
    """
    operator = OPERATORS[labelling.operator]
    if operator.find is None:
        yield from ((number, seconds, image, None) for number, seconds, image in frames(outcomes))
        return
    smoother = OneEuro() if labelling.smooth and not item.still else None

    def found(number: int, seconds: float, image: Array) -> Array | str:
        assert operator.find is not None
        points = operator.find(image, item, number, labelling)
        return points if isinstance(points, str) or smoother is None else smoother.smoothed(points, seconds)

    if operator.view is None:
        for number, seconds, image in frames(outcomes):
            points = found(number, seconds, image)
            yield number, seconds, image, points if isinstance(points, str) else Found(points, None)
        return
    everywhere, shape = [], (0, 0)
    progress = tqdm(frames(Counter()), desc=f"looking at {item.path.name}", unit="frame", disable=None)
    for number, seconds, image in progress:
        everywhere.append(found(number, seconds, image))
        shape = image.shape[0], image.shape[1]
    seen = [points for points in everywhere if not isinstance(points, str)]
    boxes = iter(operator.view(seen, shape, labelling))
    for (number, seconds, image), points in zip(frames(outcomes), everywhere, strict=True):
        yield number, seconds, image, points if isinstance(points, str) else Found(points, next(boxes))


def _photo(item: Item, sight: Sight, labelling: Labelling, outcomes: Counter[str]) -> Photo | None:
    """What the operator makes of a picture; None, with the reason counted, where it rejects it."""
    number, seconds, image, found = sight
    label = OPERATORS[labelling.operator].label
    assert label is not None, "the labels of worlds are read from sidecars"
    result = found if isinstance(found, str) else label(image, item, number, labelling, found)
    if isinstance(result, str):
        outcomes[result] += 1
        return None
    outcomes["used"] += 1
    outside = round(result.outside, 4) or None
    frame = Frame(item.source, number, seconds, item.style, result.landmarks, result.keypoints, outside)
    schema = labelling.schema
    return Photo(frame, resized(result.image, schema.height, schema.width), result.label_picture, result.instances)


def prepare(labelling: Labelling) -> None:
    """Raises BadInput, before any file is decoded, when what the operator needs is not installed or not given."""
    if (load := OPERATORS[labelling.operator].load) is not None:
        load(labelling)


def prepared_for(path: Path, labelling: Labelling) -> Labelling:
    """With the operator for a file: its sidecar where one lies beside it and no option says otherwise, else its kind's.

    Raises BadInput when what that operator needs is not installed or not given.
    """
    kind = kind_of(labelling.schema)
    optional = any(getattr(labelling, name) for name in OPERATOR_OPTIONS)
    beside = sidecar_path(path)
    may_be_of_world = world_of(kind) is not None and not Item(path.name, path, "").still and beside.is_file()
    of_world = may_be_of_world and sidecar_of(path) is not None
    if may_be_of_world and not of_world:
        print(f"note: {beside} is no sidecar of a world and is not used", file=sys.stderr)
    if of_world and not optional:
        prepared = replace(labelling, operator="worlds")
        prepare(prepared)
        return prepared
    return prepared_for_any(str(path), labelling)


def prepared_for_any(name: str, labelling: Labelling) -> Labelling:
    """With the operator that labels any photo of the schema's kind. name: what messages call the photo.

    Raises BadInput when there is none, or what it needs is not installed or not given.
    """
    kind = kind_of(labelling.schema)
    operator = next((each for each in OPERATORS.values() if each.kind is kind and each.of_any_photo), None)
    if operator is None:
        raise BadInput(f"{name} needs a label map of kind {kind.name!r}, which nothing makes of a photo; give its file")
    if operator.needs is not None and not getattr(labelling, operator.needs):
        raise BadInput(f"{name} needs a class map: give a segmentation model in ONNX form with --{operator.needs}")
    prepared = replace(labelling, operator=operator.name)
    prepare(prepared)
    return prepared


def _check_kind(labelling: Labelling) -> None:
    kind = OPERATORS[labelling.operator].kind
    if kind is not None and kind is not kind_of(labelling.schema):
        raise BadInput(f"{labelling.operator} gives labels of kind {kind.name!r}, not {labelling.schema.kind!r}")


def _frames(item: Item, labelling: Labelling, outcomes: Counter[str]) -> Iterator[tuple[int, float, Array]]:
    """(number, seconds, RGB picture) of what there is to label."""
    if item.still:
        yield 0, 0.0, read_picture(item.path)
        return
    last: Array | None = None
    for number, seconds, image in decode(item.path, labelling.every, labelling.timeout_s):
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
        grey = small.astype(np.float32)
        if grey.std() < BLANK_SPREAD:
            outcomes["blank"] += 1
        elif last is not None and np.abs(grey - last).mean() < DUPLICATE_DIFFERENCE:
            outcomes["duplicate"] += 1
        else:
            last = grey
            yield number, seconds, image


@cache
def _parser(model: Path, schema: LabelSchema) -> Any:
    from shards.operators.parsing import Parser

    return Parser(model, schema)


def _label_by_parser(
    image: Array, item: Item, number: int, labelling: Labelling, found: Found | None
) -> Labelled | str:
    """Class ids from a segmentation model, at the schema's size."""
    assert labelling.parser is not None, "prepared"
    part, outside = fitted_photo(image, labelling.schema)
    ids: Array = _parser(labelling.parser, labelling.schema).ids(part)
    return Labelled(part, label_picture=ids, outside=outside)


@cache
def _edge_network(model: Path, schema: LabelSchema) -> EdgeNetwork:
    return EdgeNetwork(model, schema)


def _label_edges(image: Array, item: Item, number: int, labelling: Labelling, found: Found | None) -> Labelled | str:
    """Edges of a photo, found at the schema's size, or by a network at its own."""
    schema = labelling.schema
    part, outside = fitted_photo(image, labelling.schema)
    small = resized(part, schema.height, schema.width)
    edges = canny(small) if labelling.edges is None else _edge_network(labelling.edges, schema).edges(part)
    return Labelled(small, label_picture=edges, outside=outside)


def _load_body_detector(labelling: Labelling) -> None:
    if labelling.openpose is None:
        body_detector()


def _load_parser(labelling: Labelling) -> None:
    if labelling.parser is not None:
        _parser(labelling.parser, labelling.schema)


def _load_edge_network(labelling: Labelling) -> None:
    if labelling.edges is not None:
        _edge_network(labelling.edges, labelling.schema)


@dataclass(frozen=True)
class Operator:
    """A label operator `F(photo)`."""

    name: str
    """What `--labels` calls it."""
    kind: Kind | None
    """Of the labels that it gives; None: of whatever kind the world has."""
    label: Callable[[Array, Item, int, Labelling, Found | None], Labelled | str] | None
    """Labels a picture, uint8 (H, W, 3) RGB, of an item, by its number there, with what was found in it, or says in a
    word why it cannot; None for `worlds`, which reads sidecars video by video."""
    find: Callable[[Array, Item, int, Labelling], Array | str] | None = None
    """Finds the points that it needs, as `Found` has them, or says in a word why not; None where it needs none."""
    view: Callable[[Sequence[Array], tuple[int, int], Labelling], list[Box]] | None = None
    """What to show of the frames of a video, by the points found in each, (N, 3), and height and width of the frames;
    None where each is cut for itself."""
    load: Callable[[Labelling], object] | None = None
    """Loads what it needs, or raises BadInput."""
    options: tuple[str, ...] = ()
    """Those of OPERATOR_OPTIONS that concern it."""
    needs: str | None = None
    """The one of them that it cannot do without."""
    faces: bool = False
    """Whether it cuts faces out."""
    of_any_photo: bool = True
    """Whether it labels any photo, not only those that have a file beside them."""


OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator("worlds", None, None, of_any_photo=False),
        Operator(
            "face-landmarks",
            SKETCH,
            label_face,
            find=find_face,
            load=lambda labelling: landmark_detector(labelling.predictor),
            options=("predictor",),
            faces=True,
        ),
        Operator(
            "pose",
            POSE,
            label_body,
            find=find_body,
            view=body_boxes,
            load=_load_body_detector,
            options=("openpose", "densepose"),
        ),
        Operator("parsing", CLASSES, _label_by_parser, load=_load_parser, options=("parser",), needs="parser"),
        Operator("given", CLASSES, label_by_ids, of_any_photo=False),
        Operator("picture", PICTURE, label_by_picture, of_any_photo=False),
        Operator("edges", EDGES, _label_edges, load=_load_edge_network, options=("edges",)),
    )
}
"""The label operators by name."""


def options_of(kind: Kind) -> frozenset[str]:
    """The arguments of label operators that are of use for a kind of label maps."""
    return frozenset(name for operator in OPERATORS.values() if operator.kind is kind for name in operator.options)
