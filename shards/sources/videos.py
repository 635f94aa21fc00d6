"""A folder of videos as labelled photos, with labels from a world's sidecars or from a detector."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shards.command import BadInput
from shards.labels import classes
from shards.labels.face_landmarks import Detector, Face, FaceLandmarks, crop_face
from shards.records import Frame, LabelSchema
from shards.video import decode
from shards.worlds.sidecar import sidecar_of, sidecar_path

Array = np.ndarray[Any, Any]

EXTENSIONS = frozenset((
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
))  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A photo with what its label is drawn from.

    image: uint8 (H, W, 3), RGB, at the schema's size. ids: uint8 (H, W) for the label kind `classes`, else None.
    """

    frame: Frame
    image: Array
    ids: Array | None


def find_videos(root: Path) -> list[Path]:
    """The video files under a folder, at any depth, sorted by path; hidden files and folders are left out.

    Raises BadInput when there is no such folder, or no video in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; give a folder of videos")
    videos = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )
    if not videos:
        raise BadInput(f"{root} holds no videos; looked for files that end in {', '.join(sorted(EXTENSIONS))}")
    return videos


def detect_operator(root: Path) -> str:
    """The label operator that fits a folder: `worlds` when any video has a sidecar, else `face-landmarks`."""
    return "worlds" if any(sidecar_path(video).is_file() for video in find_videos(root)) else "face-landmarks"


def labelled_frames(video: Path, root: Path, schema: LabelSchema, operator: str, every: int = 1) -> Iterator[Photo]:
    """Decodes a video and yields every `every`-th frame that has a label, as a photo of the schema's size.

    operator: `worlds` takes labels and style key from the sidecar beside the video; `face-landmarks` crops the face
    out of each frame, leaves out frames without a usable one, and takes the video's name as style key.
    `Frame.source` is the video's path relative to `root`.

    Raises BadInput for an unknown operator, a broken video, a sidecar or label that does not fit, and, naming the
    video, when no frame has a usable face.
    """
    if operator not in OPERATORS:
        raise BadInput(f"no label operator {operator!r}; choose one of {', '.join(OPERATORS)}")
    return OPERATORS[operator](Path(video), Path(root), schema, every)


def resized(image: Array, height: int, width: int) -> Array:
    """A photo at another size: area reduction when neither side grows, cubic enlargement otherwise."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def from_sidecar(video: Path, root: Path, schema: LabelSchema, every: int) -> Iterator[Photo]:
    """Labels that a world wrote beside its video."""
    sidecar = sidecar_of(video)
    beside = sidecar_path(video)
    if sidecar is None:
        raise BadInput(f"{video} has no sidecar {beside.name}; draw the world again, or use --labels face-landmarks")
    told = sidecar["frames"]
    member = {"sketch": "landmarks", "pose": "keypoints", "classes": "label"}[schema.kind]
    source, style = video.relative_to(root).as_posix(), str(sidecar["style_key"])
    if style == video.stem:
        # Videos of equal names in several folders have styles of their own.
        style = video.relative_to(root).with_suffix("").as_posix()
    last = -1
    for number, seconds, image in decode(video, every):
        last = number
        if number >= len(told):
            raise BadInput(f"{beside} describes {len(told)} frames, but {video.name} has more; draw the world again")
        entry = told[number]
        if member not in entry:
            raise BadInput(
                f"{beside} is of the world {sidecar['world']!r}, which has no {member} for a {schema.kind!r} label"
            )
        ids = None
        place: dict[str, Any] = {}
        if schema.kind == "classes":
            ids = _id_picture(schema, video.parent / entry[member])
        else:
            place[member] = tuple(tuple(point) for point in entry[member])
        frame = Frame(source, number, seconds, style, **place)
        yield Photo(frame, resized(image, schema.height, schema.width), ids)
    if last < len(told) - every:
        raise BadInput(
            f"{video} ends with frame {last}, but {beside.name} describes {len(told)} frames; draw the world again"
        )


def _id_picture(schema: LabelSchema, path: Path) -> Array:
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if ids is None:
        raise BadInput(f"{path} is missing or not a picture; draw the world again")
    if ids.ndim == 2:
        ids = cv2.resize(ids, (schema.width, schema.height), interpolation=cv2.INTER_NEAREST_EXACT)
    return classes.checked(schema, ids, str(path))


@cache
def _face_landmarks() -> Detector:
    return FaceLandmarks()


def from_faces(
    video: Path, root: Path, schema: LabelSchema, every: int, detector: Callable[[], Detector] = _face_landmarks
) -> Iterator[Photo]:
    """Faces cut out of real footage, with landmarks detected in the crop (specification 5.4)."""
    if schema.kind != "sketch":
        raise BadInput(f"face landmarks give labels of kind 'sketch', not {schema.kind!r}")
    source = video.relative_to(root).as_posix()
    outcomes: Counter[str] = Counter()
    for number, seconds, image in decode(video, every):
        face = crop_face(image, detector())
        if not isinstance(face, Face):
            outcomes[face] += 1
            continue
        outcomes["used"] += 1
        landmarks = tuple((int(x), int(y)) for x, y in face.landmarks)
        frame = Frame(source, number, seconds, style=source, landmarks=landmarks)
        yield Photo(frame, resized(face.crop, schema.height, schema.width), None)
    if not outcomes["used"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in outcomes.most_common() if count)
        raise BadInput(
            f"{video}: no usable face in {outcomes.total()} frames ({reasons}); take the video out of the folder, "
            "or keep more frames with a smaller --every"
        )


OPERATORS: dict[str, Callable[[Path, Path, LabelSchema, int], Iterator[Photo]]] = {
    "worlds": from_sidecar,
    "face-landmarks": from_faces,
}
