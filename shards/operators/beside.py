"""Labels that lie beside photos as pictures of their own: class ids, instance numbers, colours."""

from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import classes
from shards.media.boxes import cut, fitted, nearest, resized
from shards.media.orientation import as_shown
from shards.media.pictures import read_ids, read_instances, read_picture
from shards.operators.labelling import Found, Labelled, Labelling
from shards.records import LabelSchema
from shards.sources.dataset import Item


def label_by_ids(image: Array, item: Item, number: int, labelling: Labelling, found: Found | None) -> Labelled | str:
    """The label picture that lies beside a still, in the schema's ids, and its instance map as it is."""
    if item.label is None:
        raise BadInput(f"{item.path} has no label picture; choose another label operator with --labels")
    raw = _on_photo(read_ids(item.label), item.label, item.path, image, labelling)
    schema = labelling.schema
    ids = fitted_map(raw, schema)
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
    part, outside = fitted_photo(image, labelling.schema)
    if not labelling.instances:
        return Labelled(part, label_picture=ids, outside=outside)
    if item.instances is None:
        raise BadInput(f"{item.path} has no instance map; give every picture one, or none")
    numbers = _on_photo(read_instances(item.instances), item.instances, item.path, image, labelling)
    return Labelled(part, label_picture=ids, instances=fitted_map(numbers, schema), outside=outside)


def label_by_picture(
    image: Array, item: Item, number: int, labelling: Labelling, found: Found | None
) -> Labelled | str:
    """The picture that lies beside a still, as its label map."""
    if item.label is None:
        raise BadInput(f"{item.path} has no label picture; choose another label operator with --labels")
    stored = read_picture(item.label, obey_mark=False)
    label, schema = _on_photo(stored, item.label, item.path, image, labelling), labelling.schema
    part, outside = fitted_photo(image, labelling.schema)
    return Labelled(part, label_picture=fitted_picture(label, schema), outside=outside)


def fitted_photo(image: Array, schema: LabelSchema) -> tuple[Array, float]:
    """What a schema shows of a photo, and the share of it that lies outside the photo."""
    height, width = image.shape[:2]
    box = fitted(height, width, schema.width / schema.height, schema.preparation.fit)
    return cut(image, box), box.outside(height, width)


def fitted_picture(image: Array, schema: LabelSchema) -> Array:
    """What a schema shows of a picture, at its size."""
    part, _ = fitted_photo(image, schema)
    return resized(part, schema.height, schema.width)


def fitted_map(numbers: Array, schema: LabelSchema) -> Array:
    """The same of a map of numbers that must not be mixed."""
    part, _ = fitted_photo(numbers, schema)
    return nearest(part, schema.height, schema.width)


def _on_photo(label: Array, file: Path, photo: Path, image: Array, labelling: Labelling) -> Array:
    """What a file holds that was drawn for a photo, as the photo is shown."""
    remedy = "give --labels-drawn-on stored or --labels-drawn-on shown"
    height, width = image.shape[:2]
    return as_shown(label, file, photo, (height, width), labelling.labels_drawn_on, remedy)
