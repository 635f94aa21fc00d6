"""What a `model.onnx` says about itself, in its `metadata_props`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar, get_args

from likeness.command import BadInput
from likeness.names import quoted
from shards.inputs import INPUTS, STYLE_LENGTH, Io, Spec, photo_spec
from shards.labels.instance_features import CHANNELS, FeatureCentres, parse_centres
from shards.labels.kinds import kind_of
from shards.records import SIZE_MULTIPLE, LabelSchema

FORMAT = "2"
PREFIX = "likeness."
OUTPUT = "image"

_Kind = TypeVar("_Kind")
Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class Metadata:
    """Everything `deploy` needs to know of a model, so that it needs nothing but the model."""

    method: str
    """The method's name."""
    schema: LabelSchema
    """Of both label inputs and, by its size, of all pictures."""
    checkpoint_sha256: str
    """Of the checkpoint that it was made of; "untrained" without one."""
    mlflow_run_id: str | None
    """The MLflow run that trained it."""
    images_seen: int
    """Images that training had seen."""
    perceptual: str
    """The weights of the loss network that it was trained with."""
    io: Io = "float"
    """What the graph takes and gives, see `specs`."""
    precision: Precision = "fp32"
    """Of the graph's arithmetic."""
    dynamic_size: bool = False
    """Whether pictures may have any height and width that are multiples of `size_multiple`, not the schema's only."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The method's options, from which the same network can be built again in PyTorch."""
    gates: tuple[dict[str, Any], ...] = ()
    """What was measured before the file was let out; each with `name`, `passed`, `figures` and `remedy`."""
    size_multiple: int = SIZE_MULTIPLE
    """What the sides of pictures are multiples of, in pixels."""
    style_length: int = STYLE_LENGTH
    """How many numbers a style code has, of a model that reads one."""
    feature_channels: int = CHANNELS
    """How many numbers tell how an instance looks, of a model that reads features."""
    feature_centres: FeatureCentres | None = None
    """The looks that instances may have; None for a model that reads no features, or whose labels have no classes."""
    reach: int | None = None
    """How many pixels away, at most, a pixel of an input changes the picture, but for norms over the whole of it; None
    where nobody knows, and for a model that was exported before they said so: all around a change is then beyond it."""
    version: str = FORMAT
    """Of what the file says of itself."""

    @property
    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each tensor."""
        return {name: (spec.low, spec.high) for name, spec in self.specs().items()}

    def specs(self) -> dict[str, Spec]:
        """What every tensor is: of all inputs that a method may read, and of the output.

        io "float": photos and pictures float32 (3, H, W) RGB in [-1, 1], label channels float32 (C_L, H, W) in [0, 1].
        io "uint8": photos and pictures (H, W, 3) RGB, label channels (C_L, H, W), as files hold them; the graph
        scales. Label maps of kind `classes` are ids, uint8 (H, W), either way: the graph makes channels of them.
        instances: int32 (H, W), a number for each object of the picture. features: float32 (feature_channels, H, W) in
        [-1, 1], constant within an instance (pix2pixHD). style: float32 (style_length,), a style code (MUNIT).
        """
        return {**{name: each.spec(self) for name, each in INPUTS.items()}, OUTPUT: photo_spec(self)}

    def to_props(self) -> dict[str, str]:
        """Strings for `metadata_props`; `from_props` gives the same metadata back."""
        rare: dict[str, str] = {}
        if self.size_multiple != SIZE_MULTIPLE:
            rare[f"{PREFIX}size_multiple"] = str(self.size_multiple)
        if self.style_length != STYLE_LENGTH:
            rare[f"{PREFIX}style_length"] = str(self.style_length)
        if self.feature_channels != CHANNELS:
            rare[f"{PREFIX}feature_channels"] = str(self.feature_channels)
        if self.feature_centres is not None:
            rare[f"{PREFIX}feature_centres"] = json.dumps(asdict(self.feature_centres))
        if self.reach is not None:
            rare[f"{PREFIX}reach"] = str(self.reach)
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
        centres, reach = props.get(f"{PREFIX}feature_centres"), props.get(f"{PREFIX}reach")
        try:
            return cls(
                method=_word(props[f"{PREFIX}method"]),
                schema=_known(LabelSchema.from_json(_json(props[f"{PREFIX}label_schema"], dict))),
                checkpoint_sha256=_word(props[f"{PREFIX}checkpoint_sha256"]),
                mlflow_run_id=_word(props[f"{PREFIX}mlflow_run_id"]) or None,
                images_seen=_whole(props[f"{PREFIX}images_seen"], 0, 2**63 - 1),
                perceptual=_word(props[f"{PREFIX}perceptual"]),
                io=_one_of(props[f"{PREFIX}io"], Io),
                precision=_one_of(props[f"{PREFIX}precision"], Precision),
                dynamic_size=_json(props[f"{PREFIX}dynamic_size"], bool),
                options=_json(props[f"{PREFIX}options"], dict),
                gates=tuple(_json(props[f"{PREFIX}gates"], list, finite=False)),
                size_multiple=_whole(props.get(f"{PREFIX}size_multiple", str(SIZE_MULTIPLE)), 1, _LARGEST),
                style_length=_whole(props.get(f"{PREFIX}style_length", str(STYLE_LENGTH)), 1, _LARGEST),
                feature_channels=_whole(props.get(f"{PREFIX}feature_channels", str(CHANNELS)), 1, _LARGEST),
                feature_centres=None if centres is None else parse_centres(centres, where),
                reach=None if reach is None else _whole(reach, 0, 2**31 - 1),
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise BadInput(f"{where} has damaged metadata ({error}); export it again") from error

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, without the version and the centres."""
        return {name: value for name, value in asdict(self).items() if name not in ("version", "feature_centres")}


_LARGEST = 2**16
"""Of numbers that arrays are made by."""


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise ValueError(f"{quoted(text)} is not a whole number from {least} to {most}")
    return int(text)


def _known(schema: LabelSchema) -> LabelSchema:
    kind_of(schema)
    return schema


def _word(text: str) -> str:
    """What people read, and machines keep in columns of their own."""
    if len(text) > 1000 or not text.isprintable():
        raise ValueError(f"{quoted(text)} is no name")
    return text


def _json(text: str, kind: type[_Kind], finite: bool = True) -> _Kind:
    """A JSON value of that very type, of numbers that are numbers.

    finite: False for the gates' figures: equal pictures have an infinite signal-to-noise ratio.
    """

    def read(constant: str) -> float:
        if finite:
            raise ValueError(f"{constant} is no number")
        return float(constant)

    value = json.loads(text, parse_constant=read)
    if type(value) is not kind:
        raise ValueError(f"{quoted(text)} is no {kind.__name__} in JSON")
    return value


def _one_of(value: str, choices: Any) -> Any:
    if value not in get_args(choices):
        raise ValueError(f"{quoted(value)} is none of {', '.join(get_args(choices))}")
    return value
