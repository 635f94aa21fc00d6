"""What the demo page gives the model: label maps as they are drawn, exemplars from shards or from people's files."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from deploy.demo.drawing import Drawing, drawing_pad
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.input_files import decode_label, read_label
from shards.inputs import EXEMPLAR, EXEMPLAR_LABEL, LABEL, inputs_of
from shards.labels.kinds import EDGES, KEYPOINTS, LANDMARKS, POSE, SKETCH, Kind, kind_of
from shards.media.pictures import encode_picture, read_bytes, read_picture, stored_size
from shards.operators import body_pose, edges, face_landmarks, parsing
from shards.operators.photos import middle, resized
from shards.reading import samples
from shards.records import Frame, LabelSchema, load_manifest

Operator = Callable[[Array], Array]
"""Makes the loaded label map of a photo, uint8 (h, w, 3) RGB of the model's aspect. Raises BadInput if it cannot."""

Result = TypeVar("Result")

MOST_PIXELS = 100_000_000
"""Of an uploaded photo: a file of 100 kB can hold so many that no memory suffices."""
THUMBNAIL = 128
MOST_READ = 2000
"""So many samples are looked at for examples; shards may hold millions."""


@dataclass(frozen=True)
class Exemplar:
    """What a picture is painted in the likeness of."""

    photo: Array
    """uint8 (H, W, 3) RGB of the model's size."""
    label: Array | None = None
    """Its loaded label map; None where nobody knows it."""
    note: str = ""
    """What the page says of it."""
    missing: str = ""
    """Why there is no label map, and what to do."""


@dataclass(frozen=True)
class Example:
    """A pair to begin with."""

    drawing: Drawing
    """The target's label map, for the page to go on with."""
    label_picture: Array
    """The same for people, uint8 (h, w, 3) RGB."""
    exemplar: Exemplar | None
    """The pair's exemplar; None for models that read none."""


def check_drawable(schema: LabelSchema, path: Path) -> None:
    """Raises BadInput for models whose label maps cannot be drawn by hand."""
    if not kind_of(schema).one_file(schema):
        raise BadInput(
            f"{path} reads DensePose pictures, which nobody can draw by hand; give them to `python -m deploy batch`, "
            "as DENSEPOSE.png|KEYPOINTS.json in a CSV"
        )


def loaded(drawn: str, schema: LabelSchema) -> Array:
    """What the page drew as a loaded label map, through the same door as everybody's files.

    drawn: the text of a JSON file of points, else the base64 of a picture file: what the page saves, too.
    Raises BadInput as `read_label` does.
    """
    try:
        content = drawing_pad(schema).content(drawn)
    except ValueError as error:
        raise BadInput(f"the label map that was drawn did not arrive whole ({error}); reload the page") from error
    return decode_label(content, "the label map", schema)


def label_of(file: Path, schema: LabelSchema) -> Array:
    """Somebody's label file as a loaded label map. Raises BadInput as `read_label` does."""
    return by_name(lambda: read_label(file, schema), file)


def drawing_of(file: Path, schema: LabelSchema) -> Drawing:
    """Somebody's label file for the page to go on with. Raises BadInput as `read_label` does."""

    def read() -> Drawing:
        return drawing_pad(schema).drawing(read_label(file, schema), file.read_bytes())

    return by_name(read, file)


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
    crop = middle(photo, schema.height, schema.width)
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


def thumbnail_png(picture: Array) -> bytes:
    """A PNG file of at most 128 pixels high and wide."""
    scale = min(1.0, THUMBNAIL / max(picture.shape[:2]))
    small = resized(picture, *(max(1, round(side * scale)) for side in picture.shape[:2]))
    return encode_picture(small)


def operator_of(schema: LabelSchema, parser: Path | None) -> Operator:
    """The label operator F of a schema, for exemplars that come without a label map.

    parser: a segmentation model for the kind `classes`, see `shards.operators.parsing`. MediaPipe finds faces and
    bodies; it is loaded with the first photo. Edges are found by Canny's detector. Raises BadInput when the parser
    cannot be loaded.
    """
    if parser is not None:
        if not schema.ids:
            raise BadInput(f"--parser makes class maps, but the model's label maps are of kind {schema.kind!r}")
        return parsing.Parser(parser, schema).ids
    operators: dict[Kind, Callable[[LabelSchema], Operator]] = {SKETCH: _Face, POSE: _Body, EDGES: _canny}
    return operators.get(kind_of(schema), _no_operator)(schema)


def _no_operator(schema: LabelSchema) -> Operator:
    def refuse(photo: Array) -> Array:
        raise BadInput(
            "start the page with --parser MODEL.onnx and it makes one itself"
            if schema.ids
            else "nothing else makes one"
        )

    return refuse


def _canny(schema: LabelSchema) -> Operator:
    def loaded(photo: Array) -> Array:
        picture = edges.canny(resized(photo, schema.height, schema.width))
        return labels.load(schema, Frame("upload", 0, 0.0, ""), picture)

    return loaded


class _Points(ABC):
    """Landmarks or keypoints by MediaPipe, which is loaded with the first photo."""

    def __init__(self, schema: LabelSchema) -> None:
        self._schema = schema

    @cached_property
    @abstractmethod
    def _detector(self) -> Any: ...

    @abstractmethod
    def _frame(self, photo: Array) -> Frame:
        """What was detected, as a frame holds it. Raises BadInput when that is nothing."""

    def __call__(self, photo: Array) -> Array:
        return labels.load(self._schema, self._frame(np.ascontiguousarray(photo)))


class _Face(_Points):
    @cached_property
    def _detector(self) -> Any:
        return face_landmarks.FaceLandmarks()

    def _frame(self, photo: Array) -> Frame:
        points = self._detector.detect(photo)
        if points is None:
            raise BadInput("no face was found in it")
        scaled = (points / photo.shape[1::-1] * LANDMARKS.side).round().astype(int)
        return LANDMARKS.frame(scaled, "upload")


class _Body(_Points):
    @cached_property
    def _detector(self) -> Any:
        return body_pose.BodyPose()

    def _frame(self, photo: Array) -> Frame:
        points = self._detector.detect(photo)
        if points is None:
            raise BadInput("nobody was found in it")
        return KEYPOINTS.frame(points, "upload")


def examples_of(folder: Path, schema: LabelSchema, inputs: tuple[str, ...], count: int = 12) -> list[Example]:
    """The first pairs of shards whose exemplars have different styles, as many as `count`.

    schema, inputs: the model's. Raises BadInput when the shards are damaged or have another label schema.
    """
    manifest, place = load_manifest(folder)
    if difference := schema.difference(manifest.schema):
        raise BadInput(f"{place}/manifest.json has another label schema than the model: {difference}")
    examples: dict[str, Example] = {}
    read = 0
    for shard in manifest.shards:
        if len(examples) == count or read >= MOST_READ:
            break
        samples.check_shard(place, shard)
        with samples.OpenShard(place / shard.name) as opened:
            for number in range(min(len(opened), MOST_READ - read)):
                read += 1
                style = samples.decode_pair(opened.members(number, ("json",))).exemplar.style
                if style not in examples and len(examples) < count:
                    examples[style] = _example(opened.members(number), schema, inputs)
    if not examples:
        raise BadInput(f"{folder} holds no pairs; pack some with `python -m shards pack`, or leave out --examples")
    return list(examples.values())


def _example(members: samples.Members, schema: LabelSchema, inputs: tuple[str, ...]) -> Example:
    pair = samples.decode_pair(members)
    label = LABEL.decode_members(members, schema)
    read = inputs_of(inputs)
    exemplar = None
    if EXEMPLAR in read:
        exemplar = Exemplar(
            EXEMPLAR.decode_members(members, schema),
            EXEMPLAR_LABEL.decode_members(members, schema) if EXEMPLAR_LABEL in read else None,
            f"{pair.exemplar.source}, frame {pair.exemplar.number}",
        )
    return Example(*drawing_pad(schema).example(pair.target, label), exemplar)
