"""The kinds of label maps, one object each: all that depends on a label map's kind is asked of its object.

A label map has three forms. *Recorded*: points in the record's json, or a label picture, the member `label.png` (ids,
colours, edges; DensePose's beside the points of a pose with 23 channels). *Loaded*: a uint8 array that loader workers
make, (C, H, W), or (H, W) where it holds ids. *Expanded*: float channels (C, H, W) in [0, 1], what networks read.

Files (manifests, configs, ONNX metadata) hold a kind's name; `kind_of` gives the object of a schema.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import classes, densepose, pose, sketch
from shards.media.pictures import decode_ids, decode_picture, is_png
from shards.records import Frame, LabelKind, LabelSchema

Png = Literal["grey", "RGB"]
Layers = tuple[tuple[int, int, int], ...]
"""Channels for red, green and blue, from the lowest layer to the topmost."""


LEAST_EXTENT = 1 / 128
"""Of a picture's side: points that lie nearer together than that are in another unit."""
_FURTHEST = 16
"""Sides of the picture: a point further outside is a mistake."""


@dataclass(frozen=True, eq=False)
class Points:
    """The points that a label map is drawn from."""

    member: Literal["landmarks", "keypoints"]
    """What they are called: the field of `Frame`, and the entry of records, sidecars and people's files."""
    count: int
    """How many there are."""
    numbers: int
    """Numbers of each: x and y, and a confidence where there is a third."""
    side: int
    """What x and y count to from one side of the picture to the other: 512, or 1 for fractions."""
    margin: int
    """How far outside the picture a point of somebody's file may lie, in the unit of x and y."""
    unit: str
    """What x and y are in, in words."""
    whole: bool
    """Whether they are whole numbers."""

    def frame(self, points: Array, source: str) -> Frame:
        """A frame that holds these points, (count, numbers). source: what messages call it."""
        if self.whole:
            return Frame(source, 0, 0.0, "", landmarks=tuple((int(x), int(y)) for x, y in points))
        return Frame(source, 0, 0.0, "", keypoints=tuple((float(x), float(y), float(c)) for x, y, c in points))

    def check(self, points: Any, name: str) -> None:
        """Raises ValueError, naming the member of `name`, unless they are `count` lists of `numbers` finite numbers."""
        numbers, what = np.asarray(points), "whole numbers" if self.whole else "numbers"
        if numbers.shape != (self.count, self.numbers) or numbers.dtype.kind not in ("i" if self.whole else "if"):
            raise ValueError(f"{name} has {self.member} that are not {self.count} lists of {self.numbers} {what}")
        if not (np.abs(numbers) <= _FURTHEST * self.side).all():
            raise ValueError(f"{name} has {self.member} far outside the picture")

    def parse(self, content: bytes, name: str) -> Array:
        """The points of somebody's JSON file, float64 (count, numbers): bare, or in an object by their member's name.

        name: what messages call the file. Raises BadInput naming it, the first value that is wrong, and what is
        expected.
        """
        member, wanted = self.member, f"give {self.count} lists of {self.numbers} numbers"
        try:
            data = json.loads(content)
            points = np.asarray(data[member] if isinstance(data, dict) else data, np.float64)
        except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            # A decoding error's repr holds the whole file.
            reason = str(error) if isinstance(error, UnicodeDecodeError) else repr(error)
            raise BadInput(f"{name} is no JSON file of {member} ({reason}); {wanted}") from error
        if points.shape != (self.count, self.numbers):
            raise BadInput(f"{name} holds {member} of shape {points.shape}; {wanted}")
        low, high = -self.margin, self.side + self.margin
        fits = ((points[:, :2] >= low) & (points[:, :2] <= high) & np.isfinite(points[:, -1:])).all(axis=1)
        if not fits.all():
            first = int(np.argmin(fits))
            raise BadInput(f"{name}: {member}[{first}] is {points[first].tolist()}; x and y are in {self.unit}")
        places = points[points[:, 2] > 0, :2] if self.numbers > 2 else points
        inside = ((places >= 0) & (places <= self.side)).all(axis=1)
        together = len(places) == self.count and np.ptp(places, axis=0).max() < self.side * LEAST_EXTENT
        # Single points may lie outside, and a face may be small: not most of them, nor all of it on one spot.
        if 2 * inside.sum() < len(places) or together:
            raise BadInput(
                f"{name}: its {member} lie between {places.min():g} and {places.max():g}; x and y are in {self.unit}, "
                f"0 to {self.side}: give them so"
            )
        return points


LANDMARKS = Points(
    member="landmarks",
    count=sketch.LANDMARKS,
    numbers=2,
    side=sketch.FRAME,
    # What a cropped face needs, and no more.
    margin=sketch.FRAME,
    unit="a 512×512 frame",
    whole=True,
)
KEYPOINTS = Points(
    member="keypoints",
    count=pose.KEYPOINTS,
    numbers=3,
    side=1,
    margin=1,
    unit="fractions of the picture's sides",
    whole=False,
)


@dataclass(frozen=True, eq=False)
class Kind(ABC):
    """A kind of label maps."""

    name: LabelKind
    """What files call it."""
    schema: Callable[[int, int], LabelSchema]
    """The standard schema at a height and width."""
    paint: Callable[[LabelSchema, Array], Array]
    """Loaded form to an RGB picture for people: uint8 (H, W, 3)."""
    endings: tuple[str, ...]
    """Of somebody's file of one label map, without dots; the first is what we write."""
    file: str
    """The format of such a file, in words."""
    holds: str
    """What such a file holds, in words."""
    points: Points | None = None
    """What it is drawn from; None where it is a picture itself."""
    ids: bool = False
    """Whether the loaded form holds one class id per pixel, which become one-hot channels on the device."""
    mirrors: bool = True
    """Whether training may mirror samples: not those of bodies, whose drawn limbs have sides."""

    @property
    def member(self) -> str:
        """The entry of a world's sidecar that holds a frame's label."""
        return self.points.member if self.points else "label"

    def standard(self, height: int, width: int, with_densepose: bool = False) -> LabelSchema:
        """The standard schema at a picture size. with_densepose: with DensePose's channels, where the kind has them."""
        return self.schema(height, width)

    @abstractmethod
    def png(self, schema: LabelSchema) -> Png | None:
        """The colours of the label picture that samples carry, None where the record's points are all."""

    def one_file(self, schema: LabelSchema) -> bool:
        """Whether one file holds a whole label map: not where points and a label picture belong together."""
        return self.points is None or self.png(schema) is None

    def loaded_shape(self, schema: LabelSchema) -> tuple[int, ...]:
        """The shape of the loaded form, which is uint8: a value takes a byte."""
        size = (schema.height, schema.width)
        return size if self.ids else (schema.channels, *size)

    @abstractmethod
    def load(self, schema: LabelSchema, frame: Frame, label_picture: Array | None) -> Array:
        """Recorded form to loaded form.

        label_picture: uint8 (H, W), or (H, W, 3) where `png` says RGB. Raises BadInput when the record lacks what is
        needed, or holds what the schema does not allow.
        """

    def expand(self, schema: LabelSchema, loaded: Array) -> Array:
        """Loaded form to expanded form: float32 (C, H, W) in [0, 1]."""
        return loaded.astype(np.float32) / np.float32(255)

    def mirrored(self, label_picture: Array) -> Array:
        """The label picture of the mirrored photo. Points are mirrored by `shards.labels.flip`."""
        return cv2.flip(label_picture, 1)

    @abstractmethod
    def decode(self, schema: LabelSchema, content: bytes, name: str) -> Array:
        """The content of somebody's file as a loaded label map. name: what messages call the file.

        Raises BadInput naming the file, the first value that is wrong, and what is expected.
        """

    def pixels(self, content: bytes, name: str) -> Array:
        """The pixels of somebody's label picture of any size: (H, W), or (H, W, 3) where they are colours.

        name: what messages call it. Raises BadInput when it is no such picture, RuntimeError for kinds of points.
        """
        raise RuntimeError(f"a label map of kind {self.name} is no picture")

    def of_pixels(self, schema: LabelSchema, pixels: Array, name: str) -> Array:
        """A loaded label map of `pixels` of the schema's size. Raises BadInput for what the schema does not allow."""
        raise RuntimeError(f"a label map of kind {self.name} is no picture")

    def decode_files(self, schema: LabelSchema, files: Sequence[tuple[bytes, str]]) -> Array:
        """What `decode` gives, of all files that hold one label map together: see `one_file`.

        files: content of each, and what messages call it. Raises BadInput as `decode` does, and for too many files.
        """
        if len(files) != 1:
            raise BadInput(f"{files[1][1]} is one file too many: a label map of kind {self.name} is in one")
        return self.decode(schema, *files[0])

    @abstractmethod
    def layers(self, schema: LabelSchema) -> Layers | None:
        """How the channels make a picture in colours: layers of three of them, each over the one before where it has
        any colour at all; None where each channel is painted in its own colour of the schema."""


@dataclass(frozen=True, eq=False)
class Drawn(Kind):
    """Label maps that are drawn from points."""

    draw: Callable[[Array, int, int], Array] = sketch.draw
    """Points, height and width to uint8 (C, height, width)."""
    layer: tuple[int, int, int] = (0, 0, 0)
    """The channels in which the drawing is seen in colours."""

    def png(self, schema: LabelSchema) -> Png | None:
        return None

    def load(self, schema: LabelSchema, frame: Frame, label_picture: Array | None) -> Array:
        assert self.points is not None
        points = getattr(frame, self.points.member)
        if points is None:
            raise BadInput(
                f"{frame.source} frame {frame.number} has no {self.points.member}, which a {self.name} is drawn from"
            )
        return self.draw(np.asarray(points), schema.height, schema.width)

    def decode(self, schema: LabelSchema, content: bytes, name: str) -> Array:
        assert self.points is not None
        return self.load(schema, self.points.frame(self.points.parse(content, name), name), None)

    def layers(self, schema: LabelSchema) -> Layers | None:
        return (self.layer,)


class Pose(Drawn):
    """Skeletons, over DensePose's three channels where a schema has them."""

    def standard(self, height: int, width: int, with_densepose: bool = False) -> LabelSchema:
        return pose.schema(height, width, with_densepose)

    def png(self, schema: LabelSchema) -> Png | None:
        return "RGB" if schema.channels == pose.WITH_DENSEPOSE else None

    def load(self, schema: LabelSchema, frame: Frame, label_picture: Array | None) -> Array:
        drawn = super().load(schema, frame, None)
        if self.png(schema) is None:
            return drawn
        if label_picture is None or label_picture.shape != (schema.height, schema.width, 3):
            raise BadInput(f"{frame.source} frame {frame.number} has no DensePose picture of the schema's size")
        return np.concatenate([densepose.channels(label_picture), drawn])

    def decode(self, schema: LabelSchema, content: bytes, name: str) -> Array:
        return self.decode_files(schema, [(content, name)])

    def decode_files(self, schema: LabelSchema, files: Sequence[tuple[bytes, str]]) -> Array:
        if self.png(schema) is None:
            if len(files) == 1:
                return super().decode(schema, *files[0])
            return super().decode_files(schema, files)
        pictures = [(content, name) for content, name in files if is_png(content)]
        points = [(content, name) for content, name in files if not is_png(content)]
        if len(pictures) != 1 or len(points) != 1:
            raise BadInput(
                f"{', '.join(name for _, name in files)}: a label map of {schema.channels} channels is in two files, a "
                "DensePose picture (PNG) and keypoints (JSON); give both, as DENSEPOSE.png|KEYPOINTS.json in a CSV"
            )
        assert self.points is not None
        (content, name), (listed, source) = pictures[0], points[0]
        picture = decode_picture(content, name)
        densepose.check(picture, name)
        if picture.shape[:2] != (schema.height, schema.width):
            raise BadInput(
                f"{name} is {picture.shape[1]}×{picture.shape[0]} pixels, but the model takes "
                f"{schema.width}×{schema.height}; resize it to the nearest pixel, which mixes no parts"
            )
        return self.load(schema, self.points.frame(self.points.parse(listed, source), source), picture)

    def mirrored(self, label_picture: Array) -> Array:
        return densepose.mirrored(label_picture)

    def layers(self, schema: LabelSchema) -> Layers | None:
        if self.png(schema) is None:
            return (self.layer,)
        return (0, 1, 2), (3, 4, 5)


class ClassMap(Kind):
    """One class id per pixel."""

    def png(self, schema: LabelSchema) -> Png | None:
        return "grey"

    def load(self, schema: LabelSchema, frame: Frame, label_picture: Array | None) -> Array:
        if label_picture is None:
            raise BadInput(f"{frame.source} frame {frame.number} has no label picture")
        return classes.checked(schema, label_picture, f"{frame.source} frame {frame.number}")

    def expand(self, schema: LabelSchema, loaded: Array) -> Array:
        return classes.one_hot(schema, loaded)

    def pixels(self, content: bytes, name: str) -> Array:
        return decode_ids(content, name)

    def of_pixels(self, schema: LabelSchema, pixels: Array, name: str) -> Array:
        return classes.checked(schema, pixels, name)

    def decode(self, schema: LabelSchema, content: bytes, name: str) -> Array:
        return self.of_pixels(schema, self.pixels(content, name), name)

    def layers(self, schema: LabelSchema) -> Layers | None:
        return None


@dataclass(frozen=True, eq=False)
class Picture(Kind):
    """Label maps that are pictures: channels are what their pixels hold, divided by 255."""

    colours: Png = "RGB"
    """Whether a pixel has three values or one."""

    def png(self, schema: LabelSchema) -> Png | None:
        return self.colours

    def load(self, schema: LabelSchema, frame: Frame, label_picture: Array | None) -> Array:
        if label_picture is None:
            raise BadInput(f"{frame.source} frame {frame.number} has no label picture")
        return self._loaded(schema, label_picture, f"{frame.source} frame {frame.number}")

    def _loaded(self, schema: LabelSchema, pixels: Array, where: str) -> Array:
        channels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        if channels.shape != self.loaded_shape(schema):
            raise BadInput(
                f"{where}: a label map of kind {self.name!r} is a {self.colours} picture of {schema.width}×"
                f"{schema.height} pixels here; this one is of shape {pixels.shape}"
            )
        return channels

    def pixels(self, content: bytes, name: str) -> Array:
        pixels = decode_picture(content, name)
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if self.colours == "grey" else pixels

    def of_pixels(self, schema: LabelSchema, pixels: Array, name: str) -> Array:
        return self._loaded(schema, pixels, name)

    def decode(self, schema: LabelSchema, content: bytes, name: str) -> Array:
        return self.of_pixels(schema, self.pixels(content, name), name)

    def layers(self, schema: LabelSchema) -> Layers | None:
        return ((0, 1, 2),) if self.colours == "RGB" else ((0, 0, 0),)


def _picture_schema(height: int, width: int) -> LabelSchema:
    """3 channels: red, green and blue."""
    return LabelSchema(
        kind="picture",
        channels=3,
        height=height,
        width=width,
        names=("red", "green", "blue"),
        colours=((255, 0, 0), (0, 255, 0), (0, 0, 255)),
    )


def _edges_schema(height: int, width: int) -> LabelSchema:
    """1 channel: 1 on an edge, 0 elsewhere, or in between as an edge network says."""
    return LabelSchema(
        kind="edges", channels=1, height=height, width=width, names=("edge",), colours=((255, 255, 255),)
    )


def _seen(schema: LabelSchema, loaded: Array) -> Array:
    """A label map that is a picture, as it is: uint8 (H, W, 3)."""
    planes = loaded if len(loaded) == 3 else np.repeat(loaded, 3, axis=0)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


SKETCH = Drawn(
    name="sketch",
    schema=sketch.schema,
    paint=sketch.picture,
    endings=("json",),
    file="JSON",
    holds="68 landmarks [x, y] in a 512×512 frame laid over the picture",
    points=LANDMARKS,
    draw=sketch.draw,
)
"""Faces: lines drawn through 68 landmarks, and the distance to each of them."""
POSE = Pose(
    name="pose",
    schema=pose.schema,
    paint=pose.picture,
    endings=("json",),
    file="JSON",
    holds="18 keypoints [x, y, confidence], x and y as fractions of the sides",
    points=KEYPOINTS,
    draw=pose.draw,
    layer=(0, 1, 2),
    mirrors=False,
)
"""Bodies: a skeleton drawn through 18 keypoints, and the distance to each limb; with DensePose pictures, if given."""
CLASSES = ClassMap(
    name="classes",
    schema=classes.schema,
    paint=classes.picture,
    endings=("png",),
    file="PNG",
    holds="class ids of this width and height, grey or palette; see schema",
    ids=True,
)
"""Scenes: one of the schema's classes per pixel."""
PICTURE = Picture(
    name="picture",
    schema=_picture_schema,
    paint=_seen,
    endings=("png", "jpg"),
    file="PNG or JPEG",
    holds="the picture that is to become another one, of this width and height, RGB",
)
"""Pictures for pictures, as pix2pixHD learns them with `label_nc` 0: drawings, renderings, other seasons."""
EDGES = Picture(
    name="edges",
    schema=_edges_schema,
    paint=_seen,
    endings=("png", "jpg"),
    file="PNG or JPEG",
    holds="edges, white on black, of this width and height, grey",
    colours="grey",
)
"""Edges of any photo, by Canny's detector or by a network: labels for any folder of photographs."""

KINDS: dict[str, Kind] = {kind.name: kind for kind in (SKETCH, POSE, CLASSES, PICTURE, EDGES)}
"""By the names that stand in files."""


def kind_of(schema: LabelSchema) -> Kind:
    """The kind of a schema's label maps. Raises BadInput for one that this release does not know."""
    try:
        kind = KINDS[schema.kind]
    except KeyError:
        raise BadInput(
            f"label maps of kind {schema.kind!r} are not known here, only {', '.join(KINDS)}; use a later release"
        ) from None
    if kind.ids and not schema.ids:
        raise BadInput(f"label schema of kind {schema.kind!r}: {schema.channels} channels, but 0 ids")
    return kind
