"""Inputs that any model takes, to see that it runs."""

from dataclasses import replace

import numpy as np

from deploy.runtime import Session
from likeness.array import Array
from shards.inputs import Spec
from shards.records import LabelSchema


def inputs(session: Session, batch: int) -> dict[str, Array]:
    """What `session.run` takes, with a batch axis: grey photos, half-drawn labels, one class everywhere."""
    specs = session.metadata.specs()
    return {name: _array(specs[name], session.schema, batch) for name in session.inputs}


def as_loaded(session: Session, name: str, batch: int) -> Array:
    """The same of one input in loaded form, as the steps of a chain get it that no model reads."""
    # What a graph of this io takes is what files hold.
    return _array(replace(session.metadata, io="uint8").specs()[name], session.schema, batch)


def _array(spec: Spec, schema: LabelSchema, batch: int) -> Array:
    free = iter((schema.height, schema.width))
    shape = [next(free) if side is None else side for side in spec.shape]
    value = spec.low if spec.ids else (spec.low + spec.high) / 2
    return np.full((batch, *shape), value, spec.dtype)
