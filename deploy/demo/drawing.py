"""How the demo page takes a label map: drawn by hand as points or as classes, or uploaded as a picture."""

import base64
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from likeness.array import Array
from shards import labels
from shards.labels import pose, sketch
from shards.labels.kinds import POSE, SKETCH, Kind, kind_of
from shards.media.pictures import encode_picture
from shards.records import Frame, LabelSchema

Drawing = dict[str, Any]
"""A label map for the page to show: {"points": [[x, y, …], …]}, {"ids": base64 of H·W bytes} or {"picture": base64 of a
PNG}."""

LARGE = 256
"""Pixels: examples of points are drawn again where what the model reads is smaller, too coarse to look at."""

NEUTRAL_FACE = (
    (133, 231), (135, 267), (142, 297), (152, 323), (166, 346), (184, 364), (205, 378), (228, 386), (256, 389),
    (284, 386), (307, 378), (328, 364), (346, 346), (360, 323), (370, 297), (377, 267), (379, 231),  # jaw
    (168, 202), (184, 187), (201, 184), (217, 187), (234, 194), (278, 194), (295, 187), (311, 184), (328, 187),
    (344, 202),  # brows
    (256, 238), (256, 257), (256, 275), (256, 293), (233, 303), (244, 308), (256, 311), (268, 308), (279, 303),  # nose
    (178, 239), (193, 227), (214, 227), (228, 242), (214, 249), (193, 248), (284, 242), (298, 227), (319, 227),
    (334, 239), (319, 248), (298, 249),  # eyes
    (211, 341), (228, 337), (246, 333), (256, 335), (266, 333), (284, 337), (301, 341), (283, 354), (267, 359),
    (256, 360), (245, 359), (229, 354), (217, 341), (245, 342), (256, 342), (267, 342), (295, 341), (267, 347),
    (256, 348), (245, 347),  # mouth
)  # fmt: skip
"""68 landmarks in a 512×512 frame: somebody who looks straight ahead."""

NEUTRAL_POSE = (
    (0.5, 0.16, 1.0), (0.5, 0.27, 1.0), (0.41, 0.27, 1.0), (0.36, 0.4, 1.0), (0.33, 0.52, 1.0), (0.59, 0.27, 1.0),
    (0.64, 0.4, 1.0), (0.67, 0.52, 1.0), (0.45, 0.53, 1.0), (0.44, 0.71, 1.0), (0.43, 0.89, 1.0), (0.55, 0.53, 1.0),
    (0.56, 0.71, 1.0), (0.57, 0.89, 1.0), (0.475, 0.14, 1.0), (0.525, 0.14, 1.0), (0.45, 0.155, 1.0),
    (0.55, 0.155, 1.0),
)  # fmt: skip
"""18 keypoints, x and y in fractions of the sides: somebody who stands and faces us."""


class DrawingPad(ABC):
    """What the page shows a label map in, and how it is sent. `template` is the name of its HTML and its script."""

    template: str

    def __init__(self, schema: LabelSchema) -> None:
        self.schema = schema

    def spec(self) -> dict[str, Any]:
        """What the script has to know of the label schema."""
        return {"width": self.schema.width, "height": self.schema.height}

    @abstractmethod
    def blank(self) -> Drawing:
        """What the page shows without examples."""

    def content(self, drawn: str) -> bytes:
        """What the page sent, as the content of a label file. Raises ValueError when it is broken."""
        return base64.b64decode(drawn, validate=True)

    @abstractmethod
    def drawing(self, loaded: Array, content: bytes) -> Drawing:
        """A label file to go on with. loaded: the label map that it holds. content: the file's."""

    def example(self, frame: Frame, loaded: Array) -> tuple[Drawing, Array]:
        """A sample's label map to begin with, and its picture for people: uint8 (h, w, 3)."""
        return self.drawing(loaded, b""), labels.picture(self.schema, loaded)


_Parts = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Figure:
    """How points are shown and dragged."""

    lines: tuple[tuple[int, ...], ...]
    """Numbers of the points that each line runs through; those beyond the last point are a forehead's."""
    parts: _Parts
    """What moves together, by name."""
    neutral: tuple[tuple[float, ...], ...]
    """What the page begins with."""
    lowest: float
    """The least x and y, in their unit. A keypoint at x = 0 would count as missing."""
    highest: float
    """The largest x and y, in their unit."""
    decimals: int
    """Of x and y."""
    radius: int
    """Of a point, in thousandths of the width."""
    glow: float = 1.0
    """What colours are multiplied by: a skeleton's own are dim, none of their values is above 153."""


_FACE_PARTS: _Parts = (
    ("jaw", (*range(17),)),
    ("right brow", (*range(17, 22),)),
    ("left brow", (*range(22, 27),)),
    ("nose", (*range(27, 36),)),
    ("right eye", (*range(36, 42),)),
    ("left eye", (*range(42, 48),)),
    ("mouth", (*range(48, 68),)),
)
_BODY_PARTS: _Parts = (
    ("head", (0, 14, 15, 16, 17)),
    ("neck", (1,)),
    ("right arm", (2, 3, 4)),
    ("left arm", (5, 6, 7)),
    ("right leg", (8, 9, 10)),
    ("left leg", (11, 12, 13)),
)


_FIGURES: dict[Kind, _Figure] = {
    SKETCH: _Figure(sketch.POLYLINES, _FACE_PARTS, NEUTRAL_FACE, 0, sketch.FRAME - 1, decimals=0, radius=6),
    POSE: _Figure(pose.LIMBS, _BODY_PARTS, NEUTRAL_POSE, 0.001, 0.999, decimals=4, radius=10, glow=255 / 153),
}


class PointsPad(DrawingPad):
    """Points that are dragged."""

    template = "points"

    def __init__(self, schema: LabelSchema) -> None:
        super().__init__(schema)
        kind = kind_of(schema)
        assert kind.points is not None
        self.points, self.figure = kind.points, _FIGURES[kind]

    def spec(self) -> dict[str, Any]:
        figure = self.figure
        colours = self.schema.colours[-len(figure.lines) :]
        return super().spec() | {
            "member": self.points.member,
            "unit": self.points.side,
            "lowest": figure.lowest,
            "highest": figure.highest,
            "decimals": figure.decimals,
            "radius": figure.radius,
            # With a confidence, which is 0 where a point is hidden.
            "hidden": self.points.numbers > 2,
            "forehead": any(number >= self.points.count for line in figure.lines for number in line),
            "lines": figure.lines,
            "colours": [[round(figure.glow * value) for value in colour] for colour in colours],
            "parts": [{"name": name, "points": points} for name, points in figure.parts],
        }

    def blank(self) -> Drawing:
        return {"points": self.figure.neutral}

    def content(self, drawn: str) -> bytes:
        return drawn.encode()

    def drawing(self, loaded: Array, content: bytes) -> Drawing:
        data = json.loads(content)
        return {"points": data[self.points.member] if isinstance(data, dict) else data}

    def example(self, frame: Frame, loaded: Array) -> tuple[Drawing, Array]:
        schema = self.schema
        scale = max(1, -(-LARGE // max(schema.height, schema.width)))
        larger = replace(schema, height=schema.height * scale, width=schema.width * scale)
        drawn = {"points": getattr(frame, self.points.member)}
        return drawn, labels.picture(larger, labels.load(larger, frame))


class ClassesPad(DrawingPad):
    """Classes that are painted with a brush."""

    template = "classes"

    def spec(self) -> dict[str, Any]:
        schema = self.schema
        return super().spec() | {"ids": schema.ids, "names": schema.names, "colours": schema.colours}

    def blank(self) -> Drawing:
        schema = self.schema
        ground = schema.ids[0] if schema.void is None else schema.void
        return self.drawing(np.full((schema.height, schema.width), ground, np.uint8), b"")

    def drawing(self, loaded: Array, content: bytes) -> Drawing:
        return {"ids": base64.b64encode(np.ascontiguousarray(loaded).tobytes()).decode()}


class PicturePad(DrawingPad):
    """A picture that is uploaded, and only looked at here."""

    template = "picture"

    def blank(self) -> Drawing:
        return self.drawing(np.zeros(kind_of(self.schema).loaded_shape(self.schema), np.uint8), b"")

    def drawing(self, loaded: Array, content: bytes) -> Drawing:
        seen = encode_picture(labels.picture(self.schema, loaded))
        return {"picture": base64.b64encode(seen).decode()}


def drawing_pad(schema: LabelSchema) -> DrawingPad:
    """How the page takes label maps of a schema."""
    if kind_of(schema).points is not None:
        return PointsPad(schema)
    return ClassesPad(schema) if schema.ids else PicturePad(schema)
