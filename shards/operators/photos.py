"""From a video or a still picture to labelled photos of the schema's size: the label operators at work."""

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
from shards.media.pictures import read_ids, read_instances, read_picture
from shards.media.video import decode
from shards.operators.face_landmarks import Detector, Face, FaceLandmarks, crop_face
from shards.records import Frame, LabelSchema
from shards.sources.dataset import Item
from shards.worlds.sidecar import sidecar_of, sidecar_path

BLANK_SPREAD = 2.0
"""A frame whose grey values, reduced to 64×64, have a smaller standard deviation shows nothing."""
DUPLICATE_DIFFERENCE = 0.5
"""A frame whose 64×64 grey values differ from the last kept one's by less, in the mean, shows the same again."""


@dataclass(frozen=True)
class Photo:
    """A photo with what its label is drawn from.

    image: uint8 (H, W, 3), RGB, at the schema's size. ids: what the label picture holds, None where there is none:
    uint8 (H, W) for `classes`, uint8 (H, W, 3) for `pose` with DensePose. instances: uint16 (H, W), the instance map
    where the labelling takes them.
    """

    frame: Frame
    image: Array
    ids: Array | None
    instances: Array | None = None


@dataclass(frozen=True)
class Labelling:
    """How photos are labelled.

    operator: one of OPERATORS. every: keep every n-th frame of a video. of_raw: for `given`, the publisher's class id
    to the schema's. predictor: dlib's 68-point predictor, None for MediaPipe. openpose, densepose: folders of
    keypoint files and of IUV pictures. parser: an ONNX segmentation model. timeout_s: seconds that one video may take,
    with all that is done to its frames meanwhile; None for no limit. instances: take the instance maps that lie beside
    label pictures (`given`, and `worlds` of class maps); every photo must have one.
    """

    operator: str
    schema: LabelSchema
    every: int = 1
    of_raw: Mapping[int, int] | None = None
    predictor: Path | None = None
    openpose: Path | None = None
    densepose: Path | None = None
    parser: Path | None = None
    timeout_s: float | None = 1800.0
    instances: bool = False


@dataclass(frozen=True)
class Found:
    """What an operator makes of a picture: the picture itself, maybe cropped, and what its label is drawn from."""

    image: Array
    landmarks: tuple[tuple[int, int], ...] | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None
    ids: Array | None = None
    instances: Array | None = None


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
    found = _FINDERS[labelling.operator](image, item, number, labelling)
    if isinstance(found, str):
        outcomes[found] += 1
        return None
    outcomes["used"] += 1
    frame = Frame(item.source, number, seconds, item.style, found.landmarks, found.keypoints)
    schema = labelling.schema
    return Photo(frame, resized(found.image, schema.height, schema.width), found.ids, found.instances)


def prepare(labelling: Labelling) -> None:
    """Raises BadInput, before any file is decoded, when what the operator needs is not installed or not given."""
    if labelling.operator == "face-landmarks":
        _landmark_detector(labelling.predictor)
    if labelling.operator == "pose" and labelling.openpose is None:
        _body_detector()
    if labelling.operator == "parsing" and labelling.parser is not None:
        _parser(labelling.parser, labelling.schema)


def prepared_for(path: Path, labelling: Labelling) -> Labelling:
    """With the operator for a file: its sidecar where one lies beside it and no option says otherwise, else its kind's.

    Raises BadInput when what that operator needs is not installed or not given.
    """
    operator = {"sketch": "face-landmarks", "pose": "pose", "classes": "parsing"}[labelling.schema.kind]
    given = labelling.predictor or labelling.openpose or labelling.densepose or labelling.parser
    if not given and not Item(path.name, path, "").still and sidecar_path(path).is_file():
        operator = "worlds"
    elif operator == "parsing" and labelling.parser is None:
        raise BadInput(f"{path} needs a class map: give a segmentation model in ONNX form with --parser")
    prepared = replace(labelling, operator=operator)
    prepare(prepared)
    return prepared


_KINDS = {"face-landmarks": "sketch", "pose": "pose", "parsing": "classes", "given": "classes"}


def _check_kind(labelling: Labelling) -> None:
    kind = _KINDS.get(labelling.operator, labelling.schema.kind)
    if kind != labelling.schema.kind:
        raise BadInput(f"{labelling.operator} gives labels of kind {kind!r}, not {labelling.schema.kind!r}")


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


def _nearest(ids: Array, schema: LabelSchema) -> Array:
    return cv2.resize(ids, (schema.width, schema.height), interpolation=cv2.INTER_NEAREST_EXACT)


def _check_same_size(path: Path, ids: Array, image: Array) -> None:
    if ids.shape != image.shape[:2]:
        raise BadInput(
            f"{path} is {ids.shape[1]}×{ids.shape[0]} pixels, but its photo {image.shape[1]}×{image.shape[0]}; "
            "the two must have one size"
        )


def _instances(path: Path, image: Array, schema: LabelSchema) -> Array:
    """The instance map of a photo at the schema's size."""
    numbers = read_instances(path)
    _check_same_size(path, numbers, image)
    return _nearest(numbers, schema)


def _from_sidecar(item: Item, labelling: Labelling, outcomes: Counter[str]) -> Iterator[Photo]:
    """Labels that a world wrote beside its video."""
    video, schema = item.path, labelling.schema
    sidecar = sidecar_of(video)
    beside = sidecar_path(video)
    if sidecar is None:
        raise BadInput(f"{video} has no sidecar {beside.name}; draw the world again, or use --labels face-landmarks")
    told = sidecar["frames"]
    member = {"sketch": "landmarks", "pose": "keypoints", "classes": "label"}[schema.kind]
    last = -1
    for number, seconds, image in decode(video, labelling.every, labelling.timeout_s):
        last = number
        if number >= len(told):
            raise BadInput(f"{beside} describes {len(told)} frames, but {video.name} has more; draw the world again")
        entry = told[number]
        if member not in entry:
            raise BadInput(
                f"{beside} is of the world {sidecar['world']!r}, which has no {member} for a {schema.kind!r} label"
            )
        ids = instances = None
        place: dict[str, Any] = {}
        if schema.kind == "classes":
            path = video.parent / entry[member]
            ids = classes.checked(schema, _nearest(read_ids(path), schema), str(path))
            if labelling.instances:
                if "instances" not in entry:
                    raise BadInput(f"{beside} names no instance maps; draw the world again")
                instances = _instances(video.parent / entry["instances"], image, schema)
        else:
            place[member] = tuple(tuple(point) for point in entry[member])
        outcomes["used"] += 1
        frame = Frame(item.source, number, seconds, item.style, **place)
        yield Photo(frame, resized(image, schema.height, schema.width), ids, instances)
    if last < len(told) - labelling.every:
        raise BadInput(
            f"{video} ends with frame {last}, but {beside.name} describes {len(told)} frames; draw the world again"
        )


@cache
def _landmark_detector(predictor: Path | None) -> Detector:
    if predictor is None:
        return FaceLandmarks()
    from shards.operators.dlib_landmarks import DlibLandmarks

    return DlibLandmarks(predictor)


def _find_face(image: Array, item: Item, number: int, labelling: Labelling) -> Found | str:
    """A face cut out, with landmarks detected in the crop (specification 5.4)."""
    face = crop_face(image, _landmark_detector(labelling.predictor))
    if not isinstance(face, Face):
        return face
    return Found(face.crop, landmarks=tuple((int(x), int(y)) for x, y in face.landmarks))


@cache
def _body_detector() -> Any:
    from shards.operators.body_pose import BodyPose

    return BodyPose()


def _find_body(image: Array, item: Item, number: int, labelling: Labelling) -> Found | str:
    """Keypoints from OpenPose's files where they are given, detected otherwise; DensePose pictures where given."""
    stem = Path(item.source).stem
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
    return Found(image, keypoints=tuple((float(x), float(y), float(c)) for x, y, c in points), ids=ids)


@cache
def _parser(model: Path, schema: LabelSchema) -> Any:
    from shards.operators.parsing import Parser

    return Parser(model, schema)


def _find_parsing(image: Array, item: Item, number: int, labelling: Labelling) -> Found | str:
    """Class ids from a segmentation model, at the schema's size."""
    assert labelling.parser is not None, "prepared"
    schema = labelling.schema
    small = resized(image, schema.height, schema.width)
    ids: Array = _parser(labelling.parser, schema).ids(image)
    return Found(small, ids=ids)


def _find_given(image: Array, item: Item, number: int, labelling: Labelling) -> Found | str:
    """The label picture that lies beside a still, in the schema's ids, and its instance map as it is."""
    if item.label is None:
        raise BadInput(f"{item.path} has no label picture; choose another label operator with --labels")
    raw = read_ids(item.label)
    _check_same_size(item.label, raw, image)
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
        return Found(image, ids=ids)
    if item.instances is None:
        raise BadInput(f"{item.path} has no instance map; give every picture one, or none")
    return Found(image, ids=ids, instances=_instances(item.instances, image, schema))


_FINDERS: dict[str, Callable[[Array, Item, int, Labelling], Found | str]] = {
    "face-landmarks": _find_face,
    "pose": _find_body,
    "parsing": _find_parsing,
    "given": _find_given,
}
OPERATORS: tuple[str, ...] = ("worlds", *_FINDERS)
"""The label operators. `worlds` reads sidecars video by video; the others look at one picture after another."""
