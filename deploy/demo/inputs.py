"""What the demo page gives the model: label maps as they are drawn, exemplars from shards or from people's files."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.input_files import decode_label, read_label
from shards.media.pictures import read_bytes, read_picture, stored_size
from shards.operators import body_pose, face_landmarks, parsing
from shards.operators.photos import resized
from shards.reading import samples
from shards.records import Frame, LabelSchema, load_manifest, recorded_label

Drawing = dict[str, Any]
"""A label map for the page to show: {"ids": base64 of H·W bytes} for `classes`, else {"points": [[x, y, …], …]}."""
Operator = Callable[[Array], Array]
"""Makes the loaded label map of a photo, uint8 (h, w, 3) RGB of the model's aspect. Raises BadInput if it cannot."""

Result = TypeVar("Result")

MOST_PIXELS = 100_000_000
"""Of an uploaded photo: a file of 100 kB can hold so many that no memory suffices."""
THUMBNAIL = 128
MOST_READ = 2000
"""So many samples are looked at for examples; shards may hold millions."""

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


@dataclass(frozen=True)
class Exemplar:
    """photo: uint8 (H, W, 3) RGB of the model's size. label: its loaded label map, None where nobody knows it.

    note: what the page says of it. missing: why there is no label, and what to do.
    """

    photo: Array
    label: Array | None = None
    note: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Example:
    """A pair to begin with. exemplar: None for models that read none. label_picture: the target's label map for
    people, uint8 (h, w, 3) RGB."""

    drawing: Drawing
    label_picture: Array
    exemplar: Exemplar | None


def check_drawable(schema: LabelSchema, path: Path) -> None:
    """Raises BadInput for models whose label maps cannot be drawn by hand."""
    if schema.kind != "classes" and recorded_label(schema):
        raise BadInput(
            f"{path} reads DensePose pictures, which nobody can draw by hand; use `python -m deploy batch` instead"
        )


def spec(schema: LabelSchema) -> dict[str, Any]:
    """What the page has to know of a label schema to draw with it."""
    if schema.kind == "classes":
        return {
            "width": schema.width,
            "height": schema.height,
            "ids": schema.ids,
            "names": schema.names,
            "colours": schema.colours,
        }
    if schema.kind == "sketch":
        lines, unit, parts, glow = labels.sketch.POLYLINES, labels.sketch.FRAME, _FACE_PARTS, 1.0
    else:
        # A skeleton's own colours are dim: none of their values is above 153.
        lines, unit, parts, glow = labels.pose.LIMBS, 1, _BODY_PARTS, 255 / 153
    return {
        "width": schema.width,
        "height": schema.height,
        "kind": schema.kind,
        "unit": unit,
        "lines": lines,
        "colours": [[round(glow * value) for value in colour] for colour in schema.colours[-len(lines) :]],
        "parts": [{"name": name, "points": points} for name, points in parts],
    }


_Parts = tuple[tuple[str, tuple[int, ...]], ...]
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


def blank(schema: LabelSchema) -> Drawing:
    """What the page shows without examples: a neutral face or pose, or one class everywhere."""
    if schema.kind == "sketch":
        return {"points": NEUTRAL_FACE}
    if schema.kind == "pose":
        return {"points": NEUTRAL_POSE}
    ground = schema.ids[0] if schema.void is None else schema.void
    return _ids_drawing(np.full((schema.height, schema.width), ground, np.uint8))


def loaded(drawn: str, schema: LabelSchema) -> Array:
    """What the page drew as a loaded label map, through the same door as everybody's files.

    drawn: for `classes` the base64 of a PNG of ids, else the text of a JSON file of points: what the page saves, too.
    Raises BadInput as `read_label` does.
    """
    try:
        content = base64.b64decode(drawn, validate=True) if schema.kind == "classes" else drawn.encode()
    except ValueError as error:
        raise BadInput(f"the label map that was drawn did not arrive whole ({error}); reload the page") from error
    return decode_label(content, "the label map", schema)


def label_of(file: Path, schema: LabelSchema) -> Array:
    """Somebody's label file as a loaded label map. Raises BadInput as `read_label` does."""
    return by_name(lambda: read_label(file, schema), file)


def drawing_of(file: Path, schema: LabelSchema) -> Drawing:
    """Somebody's label file for the page to go on with. Raises BadInput as `read_label` does."""
    return by_name(lambda: _drawing_of(file, schema), file)


def _drawing_of(file: Path, schema: LabelSchema) -> Drawing:
    label = read_label(file, schema)
    if schema.kind == "classes":
        return _ids_drawing(label)
    data = json.loads(file.read_bytes())
    if isinstance(data, dict):
        data = data["landmarks" if schema.kind == "sketch" else "keypoints"]
    return {"points": data}


def _ids_drawing(ids: Array) -> Drawing:
    return {"ids": base64.b64encode(np.ascontiguousarray(ids).tobytes()).decode()}


def by_name(read: Callable[[], Result], file: Path) -> Result:
    """Runs `read`; messages call the file by its name: where the server keeps an upload is nothing to its owner."""
    try:
        return read()
    except BadInput as error:
        raise BadInput(str(error).replace(str(file), file.name)) from error


def uploaded(file: Path, schema: LabelSchema, operator: Operator | None) -> Exemplar:
    """Somebody's photo as an exemplar: its middle, at the model's size.

    operator: makes its label, for models that read one. Raises BadInput when the photo cannot be read.
    """
    width, height = stored_size(read_bytes(file)) or (0, 0)
    if width * height > MOST_PIXELS:
        raise BadInput(f"{file.name} is {width}×{height} pixels, more than {MOST_PIXELS:,}; make it smaller")
    photo = by_name(lambda: read_picture(file), file)
    height, width = photo.shape[:2]
    crop = middle(photo, schema)
    note = f"{file.name}, {width}×{height}"
    if (height, width) != (schema.height, schema.width):
        cut = ": its middle, resized to" if crop.shape != photo.shape else ": resized to"
        note += f"{cut} {schema.width}×{schema.height}"
    exemplar = Exemplar(resized(crop, schema.height, schema.width), note=note)
    if operator is None:
        return exemplar
    try:
        return replace(exemplar, label=operator(crop))
    except BadInput as error:
        missing = f"the model reads the exemplar's label map, too; upload that of {file.name} beside it ({error})"
        return replace(exemplar, missing=missing)


def middle(photo: Array, schema: LabelSchema) -> Array:
    """The largest part of a photo in its middle that has the model's aspect."""
    height, width = photo.shape[:2]
    scale = min(height / schema.height, width / schema.width)
    high, wide = max(1, round(schema.height * scale)), max(1, round(schema.width * scale))
    top, left = (height - high) // 2, (width - wide) // 2
    return photo[top : top + high, left : left + wide]


def thumbnail_png(picture: Array) -> bytes:
    """A PNG file of at most 128 pixels high and wide."""
    scale = min(1.0, THUMBNAIL / max(picture.shape[:2]))
    small = resized(picture, *(max(1, round(side * scale)) for side in picture.shape[:2]))
    content: bytes = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
    return content


def operator_of(schema: LabelSchema, parser: Path | None) -> Operator:
    """The label operator F of a schema, for exemplars that come without a label map.

    parser: a segmentation model for the kind `classes`, see `shards.operators.parsing`. MediaPipe finds faces and
    bodies; it is loaded with the first photo. Raises BadInput when the parser cannot be loaded.
    """
    if parser is not None:
        if schema.kind != "classes":
            raise BadInput(f"--parser makes class maps, but the model's label maps are of kind {schema.kind!r}")
        return parsing.Parser(parser, schema).ids
    return _no_parser if schema.kind == "classes" else _Points(schema)


def _no_parser(photo: Array) -> Array:
    raise BadInput("start the page with --parser MODEL.onnx and it makes one itself")


class _Points:
    """Landmarks or keypoints by MediaPipe."""

    def __init__(self, schema: LabelSchema) -> None:
        self._schema = schema
        self._detector: Any = None

    def __call__(self, photo: Array) -> Array:
        if self._detector is None:
            self._detector = face_landmarks.FaceLandmarks() if self._schema.kind == "sketch" else body_pose.BodyPose()
        found = self._detector.detect(np.ascontiguousarray(photo))
        if found is None:
            raise BadInput("no face was found in it" if self._schema.kind == "sketch" else "nobody was found in it")
        if self._schema.kind == "sketch":
            scaled = (found / photo.shape[1::-1] * labels.sketch.FRAME).round().astype(int)
            frame = Frame("upload", 0, 0.0, "", landmarks=tuple((int(x), int(y)) for x, y in scaled))
        else:
            frame = Frame("upload", 0, 0.0, "", keypoints=tuple((float(x), float(y), float(c)) for x, y, c in found))
        return labels.load(self._schema, frame)


def examples_of(folder: Path, schema: LabelSchema, inputs: tuple[str, ...], count: int = 12) -> list[Example]:
    """The first pairs of shards whose exemplars have different styles, as many as `count`.

    schema, inputs: the model's. Raises BadInput when the shards are damaged or have another label schema.
    """
    manifest, place = load_manifest(folder)
    if difference := schema.difference(manifest.schema):
        raise BadInput(f"{place}/manifest.json has another label schema than the model: {difference}")
    found: dict[str, Example] = {}
    read = 0
    for shard in manifest.shards:
        if len(found) == count or read >= MOST_READ:
            break
        samples.check_shard(place, shard)
        with samples.OpenShard(place / shard.name) as opened:
            for number in range(min(len(opened), MOST_READ - read)):
                read += 1
                style = samples.decode_pair(opened.members(number, ("json",))).exemplar.style
                if style not in found and len(found) < count:
                    found[style] = _example(opened.members(number), schema, inputs)
    if not found:
        raise BadInput(f"{folder} holds no pairs; pack some with `python -m shards pack`, or leave out --examples")
    return list(found.values())


def _example(members: samples.Members, schema: LabelSchema, inputs: tuple[str, ...]) -> Example:
    pair = samples.decode_pair(members)
    label = samples.decode_label(members, "target", schema, pair)
    exemplar = None
    if "exemplar" in inputs:
        exemplar = Exemplar(
            samples.decode_photo(members, "exemplar", schema),
            samples.decode_label(members, "exemplar", schema, pair) if "exemplar_label" in inputs else None,
            f"{pair.exemplar.source}, frame {pair.exemplar.number}",
        )
    if schema.kind == "classes":
        return Example(_ids_drawing(label), labels.picture(schema, label), exemplar)
    # Drawn again: what small models read is too coarse to look at.
    scale = max(1, -(-2 * THUMBNAIL // max(schema.height, schema.width)))
    larger = replace(schema, height=schema.height * scale, width=schema.width * scale)
    points = pair.target.landmarks if schema.kind == "sketch" else pair.target.keypoints
    return Example({"points": points}, labels.picture(larger, labels.load(larger, pair.target)), exemplar)
