"""Class maps: one uint8 id per pixel, Cityscapes' 19 train classes and void (specification 5.6)."""

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.records import LabelSchema

VOID = 255
# Cityscapes' train ids in order, with the colours of its own palette
_CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)


def schema(height: int, width: int) -> LabelSchema:
    """20 channels: the 19 train classes with ids 0 to 18, then void with id 255."""
    return LabelSchema(
        kind="classes",
        channels=len(_CLASSES) + 1,
        height=height,
        width=width,
        names=(*(name for name, _ in _CLASSES), "void"),
        colours=(*(colour for _, colour in _CLASSES), (0, 0, 0)),
        ids=(*range(len(_CLASSES)), VOID),
        void=VOID,
    )


def checked(schema: LabelSchema, ids: Array, where: str) -> Array:
    """The id map as uint8 (H, W), unchanged; `where` names the file or frame in errors.

    Raises BadInput when the size is not the schema's, or naming the first id outside the schema and its place.
    """
    ids = np.asarray(ids)
    if ids.shape != (schema.height, schema.width) or ids.dtype.kind not in "ui":
        raise BadInput(
            f"{where}: a label picture holds one whole-number id per pixel, {schema.height} rows by {schema.width} "
            f"columns; this one is {ids.dtype} of shape {ids.shape}"
        )
    known = np.isin(ids, schema.ids)
    if not known.all():
        row, column = (int(value) for value in np.argwhere(~known)[0])
        raise BadInput(
            f"{where}: label id {int(ids[row, column])} at row {row}, column {column} is not in the schema, "
            f"which knows the ids {in_words(schema.ids)}; map it to one of these"
            + ("" if schema.void is None else f" ({schema.void} is void)")
        )
    return ids.astype(np.uint8)


def in_words(ids: tuple[int, ...]) -> str:
    """Ids as ranges: (0, 1, 2, 255) gives "0-2, 255"."""
    ranges: list[list[int]] = []
    for value in sorted(ids):
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1][1] = value
        else:
            ranges.append([value, value])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def _channel_of(schema: LabelSchema) -> Array:
    channel = np.full(256, -1, np.int16)
    channel[list(schema.ids)] = np.arange(schema.channels)
    return channel


def one_hot(schema: LabelSchema, ids: Array) -> Array:
    """Ids (H, W) to float32 (C, H, W): 1 in the channel of the pixel's id, 0 elsewhere. The ids must be checked."""
    channels = np.arange(schema.channels, dtype=np.int16)
    hot: Array = (_channel_of(schema)[ids] == channels[:, None, None]).astype(np.float32)
    return hot


def picture(schema: LabelSchema, loaded: Array) -> Array:
    """Ids (H, W) in the colours of the schema: uint8 (H, W, 3)."""
    painted: Array = np.asarray(schema.colours, np.uint8)[_channel_of(schema)[loaded]]
    return painted
