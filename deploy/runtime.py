"""The one session. Every picture that is served, or measured by a gate, comes from here."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deploy import openvino_model, pictures
from deploy.devices import Devices
from deploy.metadata import OUTPUT, Metadata
from likeness import onnx_runtime
from likeness.array import Array
from likeness.command import BadInput
from likeness.onnx_runtime import REFUSED, one_line
from shards import labels
from shards.input_files import to_tensor
from shards.inputs import INPUTS, Drawing, Expansion, Loaded, Spec, inputs_of
from shards.records import LabelSchema

Provider = Literal["cpu", "cuda", "cuda-tf32", "tensorrt", "openvino", "openvino-bf16"]

TOLERANCE = 1e-3


class Session:
    """A loaded model.

    model: a file that `python -m export` wrote. provider: where it runs; never anywhere else. threads: CPU threads
    within one run, None for one per core. size: (height, width) of the pictures, for models with a dynamic size;
    None means the size that the model was trained at. engines: where `python -m export engine` put what the provider
    `tensorrt` runs. devices: numbers of the GPUs that hold the model, each a copy; none means the first.

    Raises BadInput when the file is missing, broken or not one of ours, when the provider cannot run it here or has no
    such devices, or when it cannot make pictures of that size.
    """

    def __init__(
        self,
        model: Path,
        provider: Provider = "cpu",
        threads: int | None = None,
        size: tuple[int, int] | None = None,
        engines: Path | None = None,
        devices: Sequence[int] = (),
    ) -> None:
        self.path = Path(model)
        self.provider = provider
        if not self.path.is_file():
            raise BadInput(f"no model at {self.path}; write one with `python -m export`")
        if provider == "openvino" or provider == "openvino-bf16":
            if devices:
                raise BadInput(onnx_runtime.no_devices(provider))
            self._model = Devices([openvino_model.Model(self.path, provider, threads)])
        else:
            self._model = Devices(
                [
                    onnx_runtime.Model(self.path, provider, threads, "export it again", engines, device)
                    for device in devices or (None,)
                ]
            )
        self.metadata = Metadata.from_props(self._model.metadata, str(self.path))
        self._specs = self.metadata.specs()
        self._check_graph()
        self.schema = self._sized(size)

    @property
    def method(self) -> str:
        return self.metadata.method

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the tensors that `run` takes, in the order of the graph."""
        return tuple(self._model.inputs)

    @property
    def parallel(self) -> int:
        """How many runs at the same time keep all its devices busy."""
        return self._model.count

    @property
    def native(self) -> Any:
        """The runtime's own session or compiled model, on the first device, to measure what `run` does."""
        return self._model.native

    def tensors(self, loaded: Mapping[str, Array]) -> dict[str, Array]:
        """One sample's inputs as files and shards hold them, as what `run` takes, without the batch axis.

        loaded: photos uint8 (H, W, 3) RGB; label maps uint8 (C_L, H, W), or ids (H, W) for the kind `classes`;
        instance maps of whole numbers (H, W); features and style codes as `Metadata.specs` has them.
        """
        return {name: self._tensor(name, value) for name, value in loaded.items()}

    def _tensor(self, name: str, loaded: Array) -> Array:
        spec = self._specs[name]
        if spec.dtype == "uint8":
            return loaded
        expansion = Expansion(
            photo=to_tensor,
            label=functools.partial(labels.expand, self.schema),
            numbers=lambda numbers: numbers.astype(spec.dtype, copy=False),
            values=lambda values: values.astype(spec.dtype, copy=False),
        )
        tensor: Array = INPUTS[name].expand(loaded, expansion)
        return tensor

    def completed(
        self, loaded: Mapping[str, Array], seed: int, name: str, number: int = 1, elsewhere: Collection[str] = ()
    ) -> Loaded:
        """One sample's inputs in loaded form, with those that may be left out, and were, drawn.

        What is drawn is a function of the seed and of `name`, what the picture is called; a style code is one of its
        `number`, too: each stands for another style. Features are one of its class's centres for each instance.
        elsewhere: inputs that come from somewhere else, which are not drawn.
        Raises BadInput when the model has no centres that missing features could be drawn from, or what they are drawn
        for is not in `loaded`.
        """
        source = Drawing(self.metadata.feature_centres, self.metadata.style_length, str(self.path))
        full = dict(loaded)
        for each in inputs_of(self.inputs):
            if each.optional and each.name not in full and each.name not in elsewhere:
                full[each.name] = each.draw(source, full, seed, name, number)
        return full

    def pictures(self, image: Array) -> Array:
        """What `run` gave, as uint8 (N, H, W, 3) RGB."""
        return image if image.dtype == np.uint8 else np.stack([pictures.to_picture(each) for each in image])

    def run(self, **inputs: Array | None) -> Array:
        """Makes pictures: float32 (N, 3, H, W) RGB in [-1, 1], or uint8 (N, H, W, 3) from a model of io "uint8".

        The inputs are those of `Metadata.specs`, with a batch axis in front; `tensors` makes them from photos and
        loaded label maps. Exactly the ones named in `inputs` must be given.
        Raises BadInput naming tensor, shape, type or value when one does not fit the model's schema.
        """
        feeds = {name: value for name, value in inputs.items() if value is not None}
        self.check(feeds)
        return self.checked(self.run_unchecked(feeds))

    def check(self, feeds: Mapping[str, Array]) -> None:
        """Raises BadInput as `run` does when it is given something else than the model's schema says."""
        if set(feeds) != set(self.inputs):
            raise BadInput(
                f"{self.path} ({self.method}) takes {', '.join(self.inputs)}, but {', '.join(feeds) or 'nothing'} "
                "was given"
            )
        for name, value in feeds.items():
            self._check(name, value)
        if len(counts := {len(value) for value in feeds.values()}) != 1:
            raise BadInput(f"the inputs have {sorted(counts)} pictures; give each the same number")
        if (
            len(sizes := {_size(self._specs[name], value) for name, value in feeds.items() if INPUTS[name].has_size})
            != 1
        ):
            raise BadInput(f"the inputs have the sizes {sorted(sizes)} (height, width); give each the same")

    def run_unchecked(self, feeds: dict[str, Array]) -> Array:
        """The part of `run` that the model's own thread must do: `check` comes before it and `checked` after it."""
        count = len(next(iter(feeds.values())))
        try:
            image = self._model.run(feeds)
        except REFUSED as error:
            raise BadInput(f"{self.path} cannot run a batch of {count}: {one_line(str(error))}") from error
        # What the graph says of its output, a runtime does not hold it to.
        wanted = self._specs[OUTPUT]
        if image.dtype != wanted.dtype or image.shape[:1] != (count,) or not _fits(wanted, image.shape[1:]):
            raise BadInput(
                f"{self.path} gave {image.dtype} of shape {image.shape} for a batch of {count}, not {wanted.dtype} of "
                f"{wanted.shape_in_words()} as its metadata say; export it again"
            )
        return image

    def checked(self, image: Array) -> Array:
        """The image. Raises BadInput when it has values that are not finite."""
        if image.dtype != np.uint8 and not np.isfinite(image).all():
            raise BadInput(f"{self.path} gave values that are not finite; the model is broken: train or export it anew")
        return image

    def _check(self, name: str, value: Array) -> None:
        spec = self._specs[name]
        if not (value.ndim and len(value) > 0 and _fits(spec, value.shape[1:])):
            raise BadInput(
                f"{name} has shape {value.shape}; {self.path} takes {spec.shape_in_words()}, "
                f"by its label schema of kind {self.schema.kind!r}"
            )
        if value.dtype != spec.dtype:
            raise BadInput(f"{name} is {value.dtype}; give {spec.dtype} in [{spec.low:g}, {spec.high:g}]")
        if spec.ids is not None:
            known = np.zeros(256, bool)
            known[list(spec.ids)] = True
            if not (fit := known[value]).all():
                unknown = value[~fit].flat[0]
                raise BadInput(
                    f"{name} holds the id {unknown}; {self.path} takes the ids {labels.classes.in_words(spec.ids)}"
                )
        elif spec.dtype != "uint8":
            # Written so that a value that is not a number fails, too.
            lowest, highest = float(value.min()), float(value.max())
            if not (spec.low - TOLERANCE <= lowest and highest <= spec.high + TOLERANCE):
                raise BadInput(
                    f"{name} has values from {lowest:g} to {highest:g}; {self.path} takes [{spec.low:g}, {spec.high:g}]"
                )

    def _check_graph(self) -> None:
        """Raises BadInput when the graph is not what its own metadata says."""
        for name, (dtype, shape) in self._model.inputs.items():
            wanted = self._specs[name] if name in INPUTS else None
            if wanted is None or (dtype, tuple(shape[1:])) != (wanted.dtype, wanted.shape):
                raise BadInput(
                    f"{self.path} has an input {name} of {dtype}, shape {shape}, which its own metadata do not "
                    "describe; export it again"
                )
        if list(self._model.outputs) != [OUTPUT]:
            raise BadInput(f"{self.path} does not have the one output {OUTPUT!r}; export it again")
        dtype, shape = self._model.outputs[OUTPUT]
        wanted = self._specs[OUTPUT]
        # A side that the graph leaves open is known once it has run.
        known = [side if own is None else own for own, side in zip(shape[1:], wanted.shape, strict=False)]
        if dtype != wanted.dtype or len(shape) != len(wanted.shape) + 1 or tuple(known) != wanted.shape:
            raise BadInput(
                f"{self.path} has an output of {dtype}, shape {shape}, but by its own metadata it is {wanted.dtype}, "
                f"{wanted.shape_in_words()}; export it again"
            )

    def _sized(self, size: tuple[int, int] | None) -> LabelSchema:
        schema = self.metadata.schema
        if size is None or size == (schema.height, schema.width):
            return schema
        height, width = size
        if not self.metadata.dynamic_size:
            raise BadInput(
                f"{self.path} makes pictures of {schema.width}×{schema.height}, not of {width}×{height}; "
                "export it with --dynamic-size"
            )
        sized = replace(schema, height=height, width=width)
        multiple = self.metadata.size_multiple
        if any(side % multiple or side < 2 * multiple for side in size):
            raise BadInput(
                f"{self.path} makes pictures whose sides are multiples of {multiple}, at least {2 * multiple}, not "
                f"{width}×{height}; choose another --size"
            )
        return sized


def _fits(spec: Spec, shape: tuple[int, ...]) -> bool:
    return len(shape) == len(spec.shape) and all(
        side == wanted or (wanted is None and side >= 2 * spec.multiple and side % spec.multiple == 0)
        for side, wanted in zip(shape, spec.shape, strict=True)
    )


def _size(spec: Spec, value: Array) -> tuple[int, int]:
    """Height and width of the pictures in a tensor with a batch axis."""
    height, width = value.shape[1:3] if spec.dtype == "uint8" and spec.shape[-1] == 3 else value.shape[-2:]
    return int(height), int(width)
