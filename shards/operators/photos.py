"""From a video or a still picture to labelled photos of the schema's size: the label operators at work."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import classes
from shards.labels.kinds import CLASSES, EDGES, PICTURE, POSE, SKETCH, Kind, kind_of
from shards.media.orientation import DrawnOn, as_shown
from shards.media.pictures import read_ids, read_instances, read_picture
from shards.media.video import decode
from shards.operators.arguments import OPERATOR_OPTIONS
from shards.operators.edges import EdgeNetwork, canny
from shards.operators.face_landmarks import Detector, Face, FaceLandmarks, crop_face
from shards.records import Frame, LabelSchema
from shards.sources.dataset import Item
from shards.worlds import world_of
from shards.worlds.sidecar import sidecar_of, sidecar_path

BLANK_SPREAD = 2.0
"""A frame whose grey values, reduced to 64×64, have a smaller standard deviation shows nothing."""
DUPLICATE_DIFFERENCE = 0.5
"""A frame whose 64×64 grey values differ from the last kept one's by less, in the mean, shows the same again."""


@dataclass(frozen=True)
class Photo:
    """A photo with what its label is made of."""

    frame: Frame
    """Where it comes from, and the points that its label is drawn from."""
    image: Array
    """uint8 (H, W, 3), RGB, at the schema's size."""
    label_picture: Array | None
    """What the label picture holds, None where there is none: uint8 (H, W), or (H, W, 3) where the kind has colours."""
    instances: Array | None = None
    """uint16 (H, W), the instance map where the labelling takes them."""


@dataclass(frozen=True)
class Labelling:
    """How photos are labelled."""

    operator: str
    """One of OPERATORS."""
    schema: LabelSchema
    """Of the labels, and by its size of the photos."""
    every: int = 1
    """Keep every n-th frame of a video."""
    of_raw: Mapping[int, int] | None = None
    """For `given`, the publisher's class id to the schema's."""
    predictor: Path | None = None
    """dlib's 68-point predictor, None for MediaPipe."""
    openpose: Path | None = None
    """Folder of OpenPose's keypoint files, None to detect poses."""
    densepose: Path | None = None
    """Folder of DensePose's IUV pictures, None for poses without them."""
    parser: Path | None = None
    """An ONNX segmentation model."""
    edges: Path | None = None
    """An ONNX edge network, None for Canny's detector."""
    timeout_s: float | None = 1800.0
    """Seconds that one video may take, with all that is done to its frames meanwhile; None for no limit."""
    labels_drawn_on: DrawnOn | None = None
    """What label pictures beside photos were drawn on, where a photo has an EXIF mark; None where sizes are to tell."""
    instances: bool = False
    """Take the instance maps that lie beside label pictures (`given`, and `worlds` of class maps); every photo must
    have one."""


@dataclass(frozen=True)
class Labelled:
    """What an operator makes of a picture."""

    image: Array
    """The picture itself, maybe cropped: uint8 (h, w, 3) RGB."""
    landmarks: tuple[tuple[int, int], ...] | None = None
    """See `Frame`."""
    keypoints: tuple[tuple[float, float, float], ...] | None = None
    """See `Frame`."""
    label_picture: Array | None = None
    """At the schema's size; None where the points are all."""
    instances: Array | None = None
    """uint16, at the schema's size."""


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
        yield from _from_sidecar(item, labelling, outcomes)
        return
    for number, seconds, image in _frames(item, labelling, outcomes):
        photo = _photo(item, number, seconds, image, labelling, outcomes)
        if photo is not None:
            yield photo
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
        for photo in _from_sidecar(item, labelling, outcomes):
            yield photo.frame.seconds, photo
        return
    for number, seconds, image in decode(video, 1, labelling.timeout_s):
        yield seconds, _photo(item, number, seconds, image, labelling, outcomes)


def _photo(
    item: Item, number: int, seconds: float, image: Array, labelling: Labelling, outcomes: Counter[str]
) -> Photo | None:
    """What the operator makes of a picture; None, with the reason counted, where it rejects it."""
    label = OPERATORS[labelling.operator].label
    assert label is not None, "the labels of worlds are read from sidecars"
    result = label(image, item, number, labelling)
    if isinstance(result, str):
        outcomes[result] += 1
        return None
    outcomes["used"] += 1
    frame = Frame(item.source, number, seconds, item.style, result.landmarks, result.keypoints)
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
    operator = next((each for each in OPERATORS.values() if each.kind is kind and each.of_any_photo), None)
    optional = any(getattr(labelling, name) for name in OPERATOR_OPTIONS)
    beside = sidecar_path(path)
    may_be_of_world = world_of(kind) is not None and not Item(path.name, path, "").still and beside.is_file()
    of_world = may_be_of_world and sidecar_of(path) is not None
    if may_be_of_world and not of_world:
        print(f"note: {beside} is no sidecar of a world and is not used", file=sys.stderr)
    if of_world and not optional:
        operator = OPERATORS["worlds"]
    elif operator is None:
        raise BadInput(f"{path} needs a label map of kind {kind.name!r}, which nothing makes of a photo; give its file")
    elif operator.needs is not None and not getattr(labelling, operator.needs):
        raise BadInput(f"{path} needs a class map: give a segmentation model in ONNX form with --{operator.needs}")
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


def resized(image: Array, height: int, width: int) -> Array:
    """A photo at another size: area reduction when neither side grows, cubic enlargement otherwise."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def middle(image: Array, height: int, width: int) -> Array:
    """The largest part in the middle of a picture, (h, w) or (h, w, 3), that has the aspect of height and width."""
    high, wide = image.shape[:2]
    scale = min(high / height, wide / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (high - rows) // 2, (wide - columns) // 2
    return image[top : top + rows, left : left + columns]


def _nearest(ids: Array, schema: LabelSchema) -> Array:
    return cv2.resize(ids, (schema.width, schema.height), interpolation=cv2.INTER_NEAREST_EXACT)


def _on_photo(label: Array, file: Path, photo: Path, image: Array, labelling: Labelling) -> Array:
    """What a file holds that was drawn for a photo, as the photo is shown."""
    remedy = "give --labels-drawn-on stored or --labels-drawn-on shown"
    height, width = image.shape[:2]
    return as_shown(label, file, photo, (height, width), labelling.labels_drawn_on, remedy)


def _of_size(path: Path, image: Array) -> Array:
    """The instance map of a frame."""
    numbers = read_instances(path)
    if numbers.shape != image.shape[:2]:
        raise BadInput(
            f"{path} is {numbers.shape[1]}×{numbers.shape[0]} pixels, but its frame {image.shape[1]}×{image.shape[0]}; "
            "draw the world again"
        )
    return numbers


def _from_sidecar(item: Item, labelling: Labelling, outcomes: Counter[str]) -> Iterator[Photo]:
    """Labels that a world wrote beside its video."""
    video, schema = item.path, labelling.schema
    sidecar = sidecar_of(video)
    beside = sidecar_path(video)
    if sidecar is None:
        raise BadInput(f"{video} has no sidecar {beside.name}; draw the world again, or use --labels face-landmarks")
    entries = sidecar["frames"]
    kind = kind_of(schema)
    member = kind.member
    last = -1
    for number, seconds, image in decode(video, labelling.every, labelling.timeout_s):
        last = number
        if number >= len(entries):
            raise BadInput(f"{beside} describes {len(entries)} frames, but {video.name} has more; draw the world again")
        entry = entries[number]
        if member not in entry:
            raise BadInput(
                f"{beside} is of the world {sidecar['world']!r}, which has no {member} for a {schema.kind!r} label"
            )
        ids = instances = None
        points: dict[str, Any] = {}
        if kind.points is None:
            path = video.parent / entry[member]
            ids = classes.checked(schema, _nearest(read_ids(path), schema), str(path))
            if labelling.instances:
                if "instances" not in entry:
                    raise BadInput(f"{beside} names no instance maps; draw the world again")
                instances = _nearest(_of_size(video.parent / entry["instances"], image), schema)
        else:
            points[member] = tuple(tuple(point) for point in entry[member])
        outcomes["used"] += 1
        frame = Frame(item.source, number, seconds, item.style, **points)
        yield Photo(frame, resized(image, schema.height, schema.width), ids, instances)
    if last < len(entries) - labelling.every:
        raise BadInput(
            f"{video} ends with frame {last}, but {beside.name} describes {len(entries)} frames; draw the world again"
        )


@cache
def _landmark_detector(predictor: Path | None) -> Detector:
    if predictor is None:
        return FaceLandmarks()
    from shards.operators.dlib_landmarks import DlibLandmarks

    return DlibLandmarks(predictor)


def _label_face(image: Array, item: Item, number: int, labelling: Labelling) -> Labelled | str:
    """A face cut out, with landmarks detected in the crop (specification 5.4)."""
    face = crop_face(image, _landmark_detector(labelling.predictor))
    if not isinstance(face, Face):
        return face
    return Labelled(face.crop, landmarks=tuple((int(x), int(y)) for x, y in face.landmarks))


@cache
def _body_detector() -> Any:
    from shards.operators.body_pose import BodyPose

    return BodyPose()


def _label_body(image: Array, item: Item, number: int, labelling: Labelling) -> Labelled | str:
    """Keypoints from OpenPose's files where they are given, detected otherwise; DensePose pictures where given."""
    # As it is on the disk: the name in the dataset may be spelled otherwise than OpenPose's files.
    stem = item.path.stem
    if labelling.openpose is not None:
        from shards.operators.openpose import keypoints_of

        points = keypoints_of(labelling.openpose, stem, number, *image.shape[:2])
    else:
        points = _body_detector().detect(image)
    if points is None:
        return "no body"
    ids = None
    if labelling.densepose is not None:
        from shards.labels.densepose import densepose_of

        ids = _nearest(densepose_of(labelling.densepose, stem, number), labelling.schema)
    return Labelled(image, keypoints=tuple((float(x), float(y), float(c)) for x, y, c in points), label_picture=ids)


@cache
def _parser(model: Path, schema: LabelSchema) -> Any:
    from shards.operators.parsing import Parser

    return Parser(model, schema)


def _label_by_parser(image: Array, item: Item, number: int, labelling: Labelling) -> Labelled | str:
    """Class ids from a segmentation model, at the schema's size."""
    assert labelling.parser is not None, "prepared"
    schema = labelling.schema
    small = resized(image, schema.height, schema.width)
    ids: Array = _parser(labelling.parser, schema).ids(image)
    return Labelled(small, label_picture=ids)


def _label_beside(image: Array, item: Item, number: int, labelling: Labelling) -> Labelled | str:
    """The label picture that lies beside a still, in the schema's ids, and its instance map as it is."""
    if item.label is None:
        raise BadInput(f"{item.path} has no label picture; choose another label operator with --labels")
    raw = _on_photo(read_ids(item.label), item.label, item.path, image, labelling)
    schema = labelling.schema
    ids = _nearest(raw, schema)
    if labelling.of_raw is not None:
        table = np.full(256, -1, np.int16)
        table[list(labelling.of_raw)] = list(labelling.of_raw.values())
        mapped = table[ids]
        if (mapped < 0).any():
            row, column = (int(value) for value in np.argwhere(mapped < 0)[0])
            raise BadInput(
                f"{item.label} holds the id {int(ids[row, column])}, which this dataset does not have; it knows "
                f"{classes.in_words(tuple(labelling.of_raw))}"
            )
        ids = mapped.astype(np.uint8)
    ids = classes.checked(schema, ids, str(item.label))
    if not labelling.instances:
        return Labelled(image, label_picture=ids)
    if item.instances is None:
        raise BadInput(f"{item.path} has no instance map; give every picture one, or none")
    numbers = _on_photo(read_instances(item.instances), item.instances, item.path, image, labelling)
    return Labelled(image, label_picture=ids, instances=_nearest(numbers, schema))


def _label_picture_beside(image: Array, item: Item, number: int, labelling: Labelling) -> Labelled | str:
    """The picture that lies beside a still, as its label map; of both the middle of the schema's aspect."""
    if item.label is None:
        raise BadInput(f"{item.path} has no label picture; choose another label operator with --labels")
    stored = read_picture(item.label, obey_mark=False)
    label, schema = _on_photo(stored, item.label, item.path, image, labelling), labelling.schema
    label, image = (middle(each, schema.height, schema.width) for each in (label, image))
    return Labelled(image, label_picture=resized(label, schema.height, schema.width))


@cache
def _edge_network(model: Path, schema: LabelSchema) -> EdgeNetwork:
    return EdgeNetwork(model, schema)


def _label_edges(image: Array, item: Item, number: int, labelling: Labelling) -> Labelled | str:
    """Edges of the middle of a photo, found at the schema's size, or by a network at its own."""
    schema = labelling.schema
    part = middle(image, schema.height, schema.width)
    small = resized(part, schema.height, schema.width)
    edges = canny(small) if labelling.edges is None else _edge_network(labelling.edges, schema).edges(part)
    return Labelled(small, label_picture=edges)


def _load_body_detector(labelling: Labelling) -> None:
    if labelling.openpose is None:
        _body_detector()


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
    label: Callable[[Array, Item, int, Labelling], Labelled | str] | None
    """Labels a picture, uint8 (H, W, 3) RGB, of an item, by its number there, or says in a word why it cannot; None for
    `worlds`, which reads sidecars video by video."""
    load: Callable[[Labelling], object] | None = None
    """Loads what it needs, or raises BadInput."""
    options: tuple[str, ...] = ()
    """Those of OPERATOR_OPTIONS that concern it."""
    needs: str | None = None
    """The one of them that it cannot do without."""
    of_any_photo: bool = True
    """Whether it labels any photo, not only those that have a file beside them."""


OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator("worlds", None, None, of_any_photo=False),
        Operator(
            "face-landmarks",
            SKETCH,
            _label_face,
            lambda labelling: _landmark_detector(labelling.predictor),
            ("predictor",),
        ),
        Operator("pose", POSE, _label_body, _load_body_detector, ("openpose", "densepose")),
        Operator("parsing", CLASSES, _label_by_parser, _load_parser, ("parser",), needs="parser"),
        Operator("given", CLASSES, _label_beside, of_any_photo=False),
        Operator("picture", PICTURE, _label_picture_beside, of_any_photo=False),
        Operator("edges", EDGES, _label_edges, _load_edge_network, ("edges",)),
    )
}
"""The label operators by name."""


def options_of(kind: Kind) -> frozenset[str]:
    """The arguments of label operators that are of use for a kind of label maps."""
    return frozenset(name for operator in OPERATORS.values() if operator.kind is kind for name in operator.options)
