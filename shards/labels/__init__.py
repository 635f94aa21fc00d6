"""Label maps in their three forms (see `shards.labels.kinds`), of whatever kind their schema names."""

from likeness.array import Array
from shards.labels.kinds import KINDS, kind_of
from shards.records import Frame, LabelKind, LabelSchema


def standard_schema(kind: LabelKind, height: int, width: int, with_densepose: bool = False) -> LabelSchema:
    """The schema of a label kind at a picture size: `sketch` 15 channels, `pose` 20 (or 23), `classes` 20, `picture` 3,
    `edges` 1."""
    return KINDS[kind].standard(height, width, with_densepose)


def load(schema: LabelSchema, frame: Frame, label_picture: Array | None = None) -> Array:
    """Recorded form to loaded form, see `Kind.load`."""
    return kind_of(schema).load(schema, frame, label_picture)


def expand(schema: LabelSchema, loaded: Array) -> Array:
    """Loaded form to expanded form: float32 (C, H, W) in [0, 1]."""
    return kind_of(schema).expand(schema, loaded)


def picture(schema: LabelSchema, loaded: Array) -> Array:
    """Loaded form to an RGB picture for people: uint8 (H, W, 3)."""
    return kind_of(schema).paint(schema, loaded)
