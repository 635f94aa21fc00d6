"""One model on several devices of one process: whichever is free runs next."""

import queue
from collections.abc import Sequence
from typing import Any, Protocol

from likeness.array import Array


class Loaded(Protocol):
    """A model that a runtime has loaded."""

    native: Any
    """The runtime's own session or compiled model."""
    metadata: dict[str, str]
    """Its `metadata_props`."""
    inputs: dict[str, tuple[str, list[int | None]]]
    """Type and shape of each tensor by its name, None for an axis that is free."""
    outputs: dict[str, tuple[str, list[int | None]]]
    """The same of what it gives."""

    def run(self, feeds: dict[str, Array]) -> Array:
        """The one output."""


class Devices:
    """The same model, once on each device, as one. Threads may call `run` at the same time: runtimes compute without
    Python's lock, so that one process keeps all devices busy, with one copy of decoding, encoding and everything else.

    models: the loaded ones, at least one. A single one runs as many calls at once as its callers have threads.
    """

    def __init__(self, models: Sequence[Loaded]) -> None:
        self.native, self.metadata = models[0].native, models[0].metadata
        self.inputs, self.outputs = models[0].inputs, models[0].outputs
        self.count = len(models)
        self._only = models[0] if len(models) == 1 else None
        # The one that has been free for longest is next, so that so many runs as there are devices reach each once.
        self._free: queue.SimpleQueue[Loaded] = queue.SimpleQueue()
        for model in models:
            self._free.put(model)

    def run(self, feeds: dict[str, Array]) -> Array:
        """The one output, from a device that is free, or the first that becomes free. Raises what its model raises."""
        if self._only is not None:
            return self._only.run(feeds)
        model = self._free.get()
        try:
            return model.run(feeds)
        finally:
            self._free.put(model)
