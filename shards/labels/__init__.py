"""Label operators `F(photo)`, and how their compact results become label channels.

A label has three forms. *Recorded*: landmarks or keypoints in the record's json, or a label picture (ids for
`classes`, DensePose's for `pose` with 23 channels). *Loaded*: a uint8 array that loader workers make, (C, H, W) for
`sketch` and `pose` and (H, W) ids for `classes`. *Expanded*: float channels (C, H, W) in [0, 1], what networks read.
"""

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import classes, densepose, pose, sketch
from shards.records import Frame, LabelKind, LabelSchema, recorded_label


def standard_schema(kind: LabelKind, height: int, width: int, with_densepose: bool = False) -> LabelSchema:
    """The schema of a label kind at a picture size: `sketch` 15 channels, `pose` 20 (or 23), `classes` 20."""
    if with_densepose and kind == "pose":
        return pose.schema(height, width, densepose=True)
    made: LabelSchema = {"sketch": sketch, "pose": pose, "classes": classes}[kind].schema(height, width)
    return made


def load(schema: LabelSchema, frame: Frame, ids: Array | None = None) -> Array:
    """Recorded form to loaded form: uint8 (C, H, W), or (H, W) ids for `classes`.

    `ids` is the decoded label picture: uint8 (H, W) for `classes`, uint8 (H, W, 3) for `pose` with 23 channels.
    Raises BadInput when the record lacks what the schema's kind is drawn from, or has an id outside it.
    """
    if schema.kind == "sketch":
        if frame.landmarks is None:
            raise BadInput(f"{frame.source} frame {frame.number} has no landmarks, which a sketch is drawn from")
        return sketch.draw(np.asarray(frame.landmarks), schema.height, schema.width)
    if schema.kind == "pose":
        if frame.keypoints is None:
            raise BadInput(f"{frame.source} frame {frame.number} has no keypoints, which a pose is drawn from")
        drawn = pose.draw(np.asarray(frame.keypoints), schema.height, schema.width)
        if not recorded_label(schema):
            return drawn
        if ids is None or ids.shape != (schema.height, schema.width, 3):
            raise BadInput(f"{frame.source} frame {frame.number} has no DensePose picture of the schema's size")
        return np.concatenate([densepose.channels(ids), drawn])
    if ids is None:
        raise BadInput(f"{frame.source} frame {frame.number} has no label picture")
    return classes.checked(schema, ids, f"{frame.source} frame {frame.number}")


def expand(schema: LabelSchema, loaded: Array) -> Array:
    """Loaded form to expanded form: float32 (C, H, W) in [0, 1]."""
    if schema.kind == "classes":
        return classes.one_hot(schema, loaded)
    return loaded.astype(np.float32) / np.float32(255)


def picture(schema: LabelSchema, loaded: Array) -> Array:
    """Loaded form to an RGB picture for people: uint8 (H, W, 3)."""
    painted: Array = {"sketch": sketch, "pose": pose, "classes": classes}[schema.kind].picture(schema, loaded)
    return painted
