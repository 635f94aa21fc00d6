"""What a `model.onnx` says about itself, in its `metadata_props`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from likeness.command import BadInput
from shards.labels.instance_features import FeatureCentres, parse_centres
from shards.records import SIZE_MULTIPLE, LabelSchema

FORMAT = "2"
PREFIX = "likeness."
INPUTS = ("label", "exemplar_label", "exemplar", "instances", "features", "style")
OUTPUT = "image"
MOST_INSTANCES = 2**16
FEATURES = 3
"""Channels of an instance's features (pix2pixHD 2.4)."""
STYLE_CHANNELS = 8
"""Length of a style code (MUNIT 2)."""
STYLE_RANGE = 100.0
"""Far outside a normal draw; a style code beyond is a mistake."""

Io = Literal["float", "uint8"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class Metadata:
    """Everything `deploy` needs to know of a model, so that it needs nothing but the model.

    schema: of both label inputs and, by its size, of all pictures. checkpoint_sha256: the checkpoint it was made of,
    "untrained" without one. perceptual: the weights of the loss network that it was trained with. io: what the graph
    takes and gives, see `specs`. precision: of its arithmetic. dynamic_size: whether pictures may have any height and
    width that are multiples of `size_multiple`, instead of the schema's. options: the method's, from which the same
    network can be built again in PyTorch. feature_centres: the looks that instances may have, of a model that reads
    features; None for any other, and where its labels have no classes. gates: what was measured before the file was let
    out; each with `name`, `passed`, `figures` and `remedy`.
    """

    method: str
    schema: LabelSchema
    checkpoint_sha256: str
    mlflow_run_id: str | None
    images_seen: int
    perceptual: str
    io: Io = "float"
    precision: Precision = "fp32"
    dynamic_size: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[dict[str, Any], ...] = ()
    size_multiple: int = SIZE_MULTIPLE
    feature_centres: FeatureCentres | None = None
    version: str = FORMAT

    @property
    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each tensor."""
        return {name: (spec.low, spec.high) for name, spec in self.specs().items()}

    def specs(self) -> dict[str, "Spec"]:
        """What every tensor is: of all inputs that a method may read, and of the output.

        io "float": photos and pictures float32 (3, H, W) RGB in [-1, 1], label channels float32 (C_L, H, W) in [0, 1].
        io "uint8": photos and pictures (H, W, 3) RGB, label channels (C_L, H, W), as files hold them; the graph
        scales. Label maps of kind `classes` are ids, uint8 (H, W), either way: the graph makes channels of them.
        instances: int32 (H, W), a number for each object of the picture. features: float32 (3, H, W) in [-1, 1],
        constant within an instance (pix2pixHD). style: float32 (8,), a style code (MUNIT).
        """
        schema = self.schema
        height, width = (None, None) if self.dynamic_size else (schema.height, schema.width)
        multiple = self.size_multiple
        if schema.kind == "classes":
            label = Spec("uint8", (height, width), min(schema.ids), max(schema.ids), schema.ids, multiple)
        elif self.io == "uint8":
            label = Spec("uint8", (schema.channels, height, width), 0, 255, multiple=multiple)
        else:
            label = Spec("float32", (schema.channels, height, width), 0.0, 1.0, multiple=multiple)
        photo = (
            Spec("uint8", (height, width, 3), 0, 255, multiple=multiple)
            if self.io == "uint8"
            else Spec("float32", (3, height, width), -1.0, 1.0, multiple=multiple)
        )
        return {
            "label": label,
            "exemplar_label": label,
            "exemplar": photo,
            "instances": Spec("int32", (height, width), 0, MOST_INSTANCES - 1, multiple=multiple),
            "features": Spec("float32", (FEATURES, height, width), -1.0, 1.0, multiple=multiple),
            "style": Spec("float32", (STYLE_CHANNELS,), -STYLE_RANGE, STYLE_RANGE),
            OUTPUT: photo,
        }

    def to_props(self) -> dict[str, str]:
        """Strings for `metadata_props`; `from_props` gives the same metadata back."""
        rare: dict[str, str] = {}
        if self.size_multiple != SIZE_MULTIPLE:
            rare[f"{PREFIX}size_multiple"] = str(self.size_multiple)
        if self.feature_centres is not None:
            rare[f"{PREFIX}feature_centres"] = json.dumps(asdict(self.feature_centres))
        return {
            f"{PREFIX}version": self.version,
            f"{PREFIX}method": self.method,
            f"{PREFIX}label_schema": json.dumps(self.schema.to_json()),
            f"{PREFIX}value_ranges": json.dumps(self.value_ranges),
            f"{PREFIX}checkpoint_sha256": self.checkpoint_sha256,
            f"{PREFIX}mlflow_run_id": self.mlflow_run_id or "",
            f"{PREFIX}images_seen": str(self.images_seen),
            f"{PREFIX}perceptual": self.perceptual,
            f"{PREFIX}io": self.io,
            f"{PREFIX}precision": self.precision,
            f"{PREFIX}dynamic_size": json.dumps(self.dynamic_size),
            f"{PREFIX}options": json.dumps(self.options),
            f"{PREFIX}gates": json.dumps(self.gates),
            **rare,
        }

    @classmethod
    def from_props(cls, props: Mapping[str, str], where: str) -> "Metadata":
        """Reads what `to_props` wrote. Raises BadInput, naming `where`, for any other model."""
        version = props.get(f"{PREFIX}version")
        if version is None:
            raise BadInput(f"{where} is an ONNX file, but not one of ours; write one with `python -m export`")
        if version != FORMAT:
            raise BadInput(f"{where} has model format {version}; this release reads {FORMAT}: export it again")
        centres = props.get(f"{PREFIX}feature_centres")
        try:
            return cls(
                method=props[f"{PREFIX}method"],
                schema=LabelSchema.from_json(json.loads(props[f"{PREFIX}label_schema"])),
                checkpoint_sha256=props[f"{PREFIX}checkpoint_sha256"],
                mlflow_run_id=props[f"{PREFIX}mlflow_run_id"] or None,
                images_seen=int(props[f"{PREFIX}images_seen"]),
                perceptual=props[f"{PREFIX}perceptual"],
                io=_one_of(props[f"{PREFIX}io"], Io),
                precision=_one_of(props[f"{PREFIX}precision"], Precision),
                dynamic_size=bool(json.loads(props[f"{PREFIX}dynamic_size"])),
                options=dict(json.loads(props[f"{PREFIX}options"])),
                gates=tuple(json.loads(props[f"{PREFIX}gates"])),
                size_multiple=int(props.get(f"{PREFIX}size_multiple", SIZE_MULTIPLE)),
                feature_centres=None if centres is None else parse_centres(centres, where),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{where} has damaged metadata ({error}); export it again") from error

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, without the version and the centres."""
        return {name: value for name, value in asdict(self).items() if name not in ("version", "feature_centres")}


@dataclass(frozen=True)
class Spec:
    """What a tensor holds, without its batch axis.

    shape: None where it is free, but for being a multiple of `multiple`. ids: the only values, if named.
    """

    dtype: Literal["float32", "uint8", "int32"]
    shape: tuple[int | None, ...]
    low: float
    high: float
    ids: tuple[int, ...] | None = None
    multiple: int = SIZE_MULTIPLE

    def shape_in_words(self) -> str:
        """Such as "(N, 3, 256, 256)"."""
        sides = (f"a multiple of {self.multiple}" if side is None else str(side) for side in self.shape)
        return f"({', '.join(['N', *sides])})"


def network_shape(name: str, schema: LabelSchema) -> tuple[int, ...]:
    """The shape of an input, without its batch axis, as a network in PyTorch takes it."""
    size = (schema.height, schema.width)
    channels = {"exemplar": 3, "features": FEATURES}
    shapes = {"instances": size, "style": (STYLE_CHANNELS,)}
    return shapes.get(name, (channels.get(name, schema.channels), *size))


def _one_of(value: str, choices: Any) -> Any:
    if value not in get_args(choices):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(choices))}")
    return value
