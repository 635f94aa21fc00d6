"""Files that somebody gives for one picture: photos of any size, prepared as the photos that the model has learnt from.

A photo may stand where a label map does: what the kind of label maps is drawn from is then looked for in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.input_files import decode_photo
from shards.inputs import INSTANCES, Input, Loaded, check_marks, inputs_of
from shards.labels.kinds import kind_of
from shards.media.orientation import QUARTER, orientation
from shards.media.pictures import decode_instances, decode_picture, is_jpeg, is_png, stored_size
from shards.operators.beside import fitted_map, fitted_picture
from shards.operators.labelling import Labelling
from shards.operators.photos import OPERATORS, photo_of, prepared_for_any
from shards.records import LabelSchema

MOST_PIXELS = 100_000_000
"""Of a photo: a file of 100 kB can hold so many that no memory suffices."""
MOST_COLOUR = 24
"""By how much the colours of a pixel of a picture of grey edges differ at most, after JPEG: photos have more."""

File = tuple[bytes, str]
"""The content of a file, and what messages call it."""


@dataclass(frozen=True)
class Preparing:
    """How somebody's files become what a model reads."""

    labelling: Labelling
    """Of photos; its operator is chosen here."""
    inputs: tuple[str, ...]
    """The model's, in its order."""
    style_length: int
    """Numbers of its style codes."""

    @property
    def schema(self) -> LabelSchema:
        return self.labelling.schema

    @property
    def finds_labels(self) -> bool:
        """Whether something finds in any photo what a label map is drawn from."""
        kind = kind_of(self.schema)
        return kind.one_file(self.schema) and any(
            operator.kind is kind
            and operator.of_any_photo
            and (operator.needs is None or getattr(self.labelling, operator.needs))
            for operator in OPERATORS.values()
        )

    def needed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the inputs that have to be given: a label map is found in the photo beside it, if something can."""
        if not self.finds_labels:
            return tuple(names)
        inputs = inputs_of(self.inputs)
        sides = {each.photo_side for each in inputs if each.photo_side is not None}
        found = {each.name for each in inputs if each.label_side in sides}
        return tuple(name for name in names if name not in found)

    def is_photo(self, content: bytes, name: str) -> bool:
        """Whether a file that stands for a label map is a photo to find it in. name: what messages call it.

        Raises BadInput when it cannot be decoded.
        """
        kind = kind_of(self.schema)
        if not self.finds_labels or not (is_png(content) or is_jpeg(content)):
            return False
        if kind.points is not None:
            return True
        if self.schema.ids:
            return is_jpeg(content)
        picture = decoded((content, name)).astype(np.int16)
        return bool(np.ptp(picture, axis=2).max() > MOST_COLOUR)


def load_files(files: Mapping[str, Sequence[File]], preparing: Preparing) -> Loaded:
    """The loaded form of what is given, with label maps that are found in photos.

    files: by input; several for a label map that is in several. What a model reads beside the target's label map (an
    instance map) is cut as that is; an exemplar and its label map are, too. A photo of the model's size whose label map
    is given, or not read, is taken as it is.

    Raises BadInput naming the file when it cannot be used.
    """
    schema = preparing.schema
    check_marks({name: given[0] for name, given in files.items()}, schema)
    loaded: Loaded = {}
    # Photos first: they bring their label maps along.
    for each in sorted(inputs_of(preparing.inputs), key=lambda each: each.photo_side is None):
        if each.name not in files or each.name in loaded:
            continue
        given = files[each.name]
        if each.photo_side is not None:
            loaded |= _photo(each, given[0], _label_of(each.photo_side, preparing), files, preparing)
        elif each.label_side is not None:
            loaded[each.name] = _label(given, preparing)
        elif each.is_instances:
            loaded[each.name] = _instances(given[0], preparing)
        else:
            loaded[each.name] = each.decode(*given[0], schema, preparing.style_length)
    return loaded


def _label_of(side: str, preparing: Preparing) -> Input | None:
    """The model's input that is the label map of this side."""
    return next((each for each in inputs_of(preparing.inputs) if each.label_side == side), None)


def _photo(
    each: Input, file: File, label: Input | None, files: Mapping[str, Sequence[File]], preparing: Preparing
) -> Loaded:
    """A photo and, if the model reads it, its label map."""
    schema = preparing.schema
    if label is not None and label.name in files:
        own = files[label.name]
        picture = decode_photo(*file, schema) if _is_size(file[0], schema) else _beside(file, own, preparing)
        return {each.name: picture, label.name: _label(own, preparing)}
    if label is None and _is_size(file[0], schema):
        return {each.name: decode_photo(*file, schema)}
    image = decoded(file)
    try:
        photo = photo_of(image, file[1], prepared_for_any(file[1], preparing.labelling))
    except BadInput:
        if label is not None:
            raise
        # The model reads the photo alone, and may have a use for one without a face.
        return {each.name: fitted_picture(image, schema)}
    found = {} if label is None else {label.name: labels.load(schema, photo.frame, photo.label_picture)}
    return {each.name: photo.image, **found}


def _beside(file: File, label: Sequence[File], preparing: Preparing) -> Array:
    """A photo of another size than the model's, cut as its label picture is."""
    schema, kind = preparing.schema, kind_of(preparing.schema)
    image = decoded(file)
    height, width = image.shape[:2]
    size = None if kind.points is not None or len(label) > 1 else stored_size(label[0][0])
    if size != (width, height):
        has = "" if size is None else f" of {size[0]}×{size[1]}"
        remedy = ", or leave the label map out and it is found in the photo" if preparing.finds_labels else ""
        raise BadInput(
            f"{file[1]} is {width}×{height} pixels, and its label map {label[0][1]}{has} does not say where it lies in "
            f"it; give the photo as {schema.width}×{schema.height}{remedy}"
        )
    return fitted_picture(image, schema)


def _label(files: Sequence[File], preparing: Preparing) -> Array:
    """A label map of its files, or of a photo that stands for it."""
    schema, kind = preparing.schema, kind_of(preparing.schema)
    if len(files) > 1 or not kind.one_file(schema):
        return kind.decode_files(schema, files)
    content, name = files[0]
    if preparing.is_photo(content, name):
        photo = photo_of(decoded(files[0]), name, prepared_for_any(name, preparing.labelling))
        return labels.load(schema, photo.frame, photo.label_picture)
    if kind.points is not None or stored_size(content) in (None, (schema.width, schema.height)):
        return kind.decode(schema, content, name)
    _check_pixels(content, name)
    small = fitted_map if schema.ids else fitted_picture
    return kind.of_pixels(schema, small(kind.pixels(content, name), schema), name)


def _instances(file: File, preparing: Preparing) -> Array:
    (content, name), schema = file, preparing.schema
    if stored_size(content) in (None, (schema.width, schema.height)):
        return INSTANCES.decode(content, name, schema, preparing.style_length)
    _check_pixels(content, name)
    return fitted_map(decode_instances(content, name), schema)


def _is_size(content: bytes, schema: LabelSchema) -> bool:
    """Whether a photo, as it is shown, has the schema's size."""
    stored = stored_size(content)
    if stored is not None and orientation(content) >= QUARTER:
        stored = stored[::-1]
    return stored == (schema.width, schema.height)


def decoded(file: File) -> Array:
    """The pixels of a photo as it is shown. Raises BadInput for too many of them, before they are decoded."""
    content, name = file
    _check_pixels(content, name)
    return decode_picture(content, name)


def _check_pixels(content: bytes, name: str) -> None:
    width, height = stored_size(content) or (0, 0)
    if width * height > MOST_PIXELS:
        raise BadInput(f"{name} is {width}×{height} pixels, more than {MOST_PIXELS:,}; make it smaller")
