"""The one ONNX Runtime session. Every picture that is served, or measured by a gate, comes from here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.metadata import INPUTS, OUTPUT, Metadata
from shards.command import BadInput
from shards.onnx_runtime import REFUSED, Provider, one_line, start
from shards.records import LabelSchema

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-3


class Session:
    """A loaded model.

    model: a file that `python -m export` wrote. provider: where it runs; never anywhere else. threads: CPU threads
    within one run, None for one per core.

    Raises BadInput when the file is missing, broken or not one of ours, or when the provider cannot run it here.
    """

    def __init__(self, model: Path, provider: Provider = "cpu", threads: int | None = None) -> None:
        self.path = Path(model)
        self.provider = provider
        if not self.path.is_file():
            raise BadInput(f"no model at {self.path}; write one with `python -m export`")
        self._session = start(self.path, provider, threads, remedy="export it again")
        self.metadata = Metadata.from_props(self._session.get_modelmeta().custom_metadata_map, str(self.path))
        self._shapes = self._checked_shapes()

    @property
    def schema(self) -> LabelSchema:
        return self.metadata.schema

    @property
    def method(self) -> str:
        return self.metadata.method

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the tensors that `run` takes, in the order of the graph."""
        return tuple(self._shapes)

    def run(
        self, label: Array | None = None, exemplar_label: Array | None = None, exemplar: Array | None = None
    ) -> Array:
        """Makes pictures: float32 (N, 3, H, W) RGB in [-1, 1].

        label, exemplar_label: float32 (N, C_L, H, W) in [0, 1]. exemplar: float32 (N, 3, H, W) RGB in [-1, 1].
        Exactly the ones named in `inputs` must be given.
        Raises BadInput naming tensor, shape, type or value when one does not fit the model's schema.
        """
        given = {"label": label, "exemplar_label": exemplar_label, "exemplar": exemplar}
        feeds = {name: value for name, value in given.items() if value is not None}
        if set(feeds) != set(self.inputs):
            raise BadInput(
                f"{self.path} ({self.method}) takes {', '.join(self.inputs)}, but {', '.join(feeds) or 'nothing'} "
                "was given"
            )
        for name, value in feeds.items():
            self._check(name, value)
        if len(counts := {len(value) for value in feeds.values()}) != 1:
            raise BadInput(f"the inputs have {sorted(counts)} pictures; give each the same number")
        try:
            image: Array = self._session.run([OUTPUT], feeds)[0]
        except REFUSED as error:
            raise BadInput(f"{self.path} cannot run a batch of {counts.pop()}: {one_line(str(error))}") from error
        if not np.isfinite(image).all():
            raise BadInput(f"{self.path} gave values that are not finite; the model is broken: train or export it anew")
        return image

    def _check(self, name: str, value: Array) -> None:
        channels = self._shapes[name]
        height, width = self.schema.height, self.schema.width
        low, high = self.metadata.value_ranges[name]
        if value.ndim != 4 or value.shape[1:] != (channels, height, width) or len(value) == 0:
            raise BadInput(
                f"{name} has shape {value.shape}; {self.path} takes (N, {channels}, {height}, {width}), "
                f"by its label schema of kind {self.schema.kind!r}"
            )
        if value.dtype != np.float32:
            raise BadInput(f"{name} is {value.dtype}; give float32 in [{low:g}, {high:g}]")
        # Written so that a value that is not a number fails, too.
        lowest, highest = float(value.min()), float(value.max())
        if not (low - TOLERANCE <= lowest and highest <= high + TOLERANCE):
            raise BadInput(f"{name} has values from {lowest:g} to {highest:g}; {self.path} takes [{low:g}, {high:g}]")

    def _checked_shapes(self) -> dict[str, int]:
        """The channels of each input. Raises BadInput when the graph is not what its own metadata says."""
        schema = self.schema
        shapes = {}
        for tensor in self._session.get_inputs():
            channels = 3 if tensor.name == "exemplar" else schema.channels
            wanted: Sequence[object] = [channels, schema.height, schema.width]
            if tensor.name not in INPUTS or tensor.type != "tensor(float)" or list(tensor.shape[1:]) != wanted:
                raise BadInput(
                    f"{self.path} has an input {tensor.name} of {tensor.type}, shape {tensor.shape}, which its own "
                    "metadata do not describe; export it again"
                )
            shapes[tensor.name] = channels
        if [tensor.name for tensor in self._session.get_outputs()] != [OUTPUT]:
            raise BadInput(f"{self.path} does not have the one output {OUTPUT!r}; export it again")
        return shapes
