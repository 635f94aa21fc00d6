"""Inputs that any model takes, to see that it runs."""

import numpy as np

from deploy.runtime import Session
from likeness.array import Array


def inputs(session: Session, batch: int) -> dict[str, Array]:
    """What `session.run` takes, with a batch axis: grey photos, half-drawn labels, one class everywhere."""
    specs = session.metadata.specs()
    feeds = {}
    for name in session.inputs:
        spec = specs[name]
        free = iter((session.schema.height, session.schema.width))
        shape = [next(free) if side is None else side for side in spec.shape]
        value = spec.low if spec.ids else (spec.low + spec.high) / 2
        feeds[name] = np.full((batch, *shape), value, spec.dtype)
    return feeds
