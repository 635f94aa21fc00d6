"""What the demo page gives the model: label maps as they are drawn, exemplars from shards or from people's files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from deploy.demo.drawing import Drawing, drawing_pad
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.input_files import decode_label, read_label
from shards.inputs import EXEMPLAR, EXEMPLAR_LABEL, LABEL, STYLE_LENGTH, inputs_of
from shards.labels.kinds import kind_of
from shards.media.boxes import resized
from shards.media.pictures import encode_picture, read_bytes
from shards.operators.beside import fitted_picture
from shards.operators.labelling import Labelling
from shards.operators.photos import photo_of, prepared_for_any
from shards.operators.sample_files import Preparing, decoded
from shards.reading import samples
from shards.records import LabelSchema, load_manifest

Result = TypeVar("Result")

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


def drawing_of(file: Path, labelling: Labelling) -> Drawing:
    """Somebody's label file, or a photo to find the label map in, for the page to go on with.

    labelling: see `labelling_of`. Raises BadInput as `read_label` does, and where nothing is found in the photo.
    """
    schema = labelling.schema

    def read() -> Drawing:
        content = read_bytes(file)
        if Preparing(labelling, (LABEL.name,), STYLE_LENGTH).is_photo(content, file.name):
            photo = photo_of(decoded((content, file.name)), file.name, prepared_for_any(file.name, labelling))
            loaded = labels.load(schema, photo.frame, photo.label_picture)
            return drawing_pad(schema).example(photo.frame, loaded)[0]
        return drawing_pad(schema).drawing(read_label(file, schema), file.read_bytes())

    return by_name(read, file)


def by_name(read: Callable[[], Result], file: Path) -> Result:
    """Runs `read`; messages call the file by its name: where the server keeps an upload is nothing to its owner."""
    try:
        return read()
    except BadInput as error:
        raise BadInput(str(error).replace(str(file), file.name)) from error


def uploaded(file: Path, labelling: Labelling, labelled: bool) -> Exemplar:
    """Somebody's photo of any size as an exemplar, prepared as the photos that the model has learnt from.

    labelling: see `labelling_of`. labelled: whether the model reads its label map. Raises BadInput when the photo
    cannot be read.
    """
    image = decoded((read_bytes(file), file.name))
    height, width = image.shape[:2]
    schema = labelling.schema
    note = f"{file.name}, {width}×{height}"
    try:
        photo = photo_of(image, file.name, prepared_for_any(file.name, labelling))
    except BadInput as error:
        part = fitted_picture(image, schema)
        exemplar = Exemplar(part, note=note + _cut(image, part, schema))
        # A face that is not found is a face that is not cut out: the picture may still be of use.
        missing = f"the model reads the exemplar's label map, too; upload that of {file.name} beside it ({error})"
        return replace(exemplar, missing=missing) if labelled else exemplar
    label = labels.load(schema, photo.frame, photo.label_picture) if labelled else None
    return Exemplar(photo.image, label, note + _cut(image, photo.image, schema))


def _cut(image: Array, part: Array, schema: LabelSchema) -> str:
    """What became of a photo, in words."""
    return "" if image.shape[:2] == part.shape[:2] else f": shown as {schema.width}×{schema.height}"


def thumbnail_png(picture: Array) -> bytes:
    """A PNG file of at most 128 pixels high and wide."""
    scale = min(1.0, THUMBNAIL / max(picture.shape[:2]))
    small = resized(picture, *(max(1, round(side * scale)) for side in picture.shape[:2]))
    return encode_picture(small)


def labelling_of(schema: LabelSchema, parser: Path | None) -> Labelling:
    """How photos are labelled that come without a label map; detectors are loaded with the first photo.

    parser: a segmentation model for the kind `classes`, see `shards.operators.parsing`. Raises BadInput when it is of
    no use, or cannot be loaded.
    """
    labelling = Labelling("auto", schema, parser=parser)
    if parser is not None:
        if not schema.ids:
            raise BadInput(f"--parser makes class maps, but the model's label maps are of kind {schema.kind!r}")
        prepared_for_any("a photo", labelling)
    return labelling


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
