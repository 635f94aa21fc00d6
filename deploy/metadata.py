"""What a `model.onnx` says about itself, in its `metadata_props`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shards.command import BadInput
from shards.records import LabelSchema

FORMAT = "1"
PREFIX = "likeness."
INPUTS = ("label", "exemplar_label", "exemplar")
OUTPUT = "image"
RANGES: Mapping[str, tuple[float, float]] = {
    "label": (0.0, 1.0),
    "exemplar_label": (0.0, 1.0),
    "exemplar": (-1.0, 1.0),
    OUTPUT: (-1.0, 1.0),
}


@dataclass(frozen=True)
class Metadata:
    """Everything `deploy` needs to know of a model, so that it needs nothing but the model's file.

    schema: of both label inputs and, by its size, of all pictures. value_ranges: lowest and highest value of each
    tensor. checkpoint_sha256: the checkpoint it was made of, "untrained" without one. gates: what was measured
    before the file was let out; each with `name`, `passed`, `figures` and `remedy`. perceptual: the weights of the
    loss network that it was trained with.
    """

    method: str
    schema: LabelSchema
    checkpoint_sha256: str
    mlflow_run_id: str | None
    images_seen: int
    perceptual: str
    gates: tuple[dict[str, Any], ...] = ()
    value_ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(RANGES))
    version: str = FORMAT

    def to_props(self) -> dict[str, str]:
        """Strings for `metadata_props`; `from_props` gives the same metadata back."""
        return {
            f"{PREFIX}version": self.version,
            f"{PREFIX}method": self.method,
            f"{PREFIX}label_schema": json.dumps(self.schema.to_json()),
            f"{PREFIX}value_ranges": json.dumps(self.value_ranges),
            f"{PREFIX}checkpoint_sha256": self.checkpoint_sha256,
            f"{PREFIX}mlflow_run_id": self.mlflow_run_id or "",
            f"{PREFIX}images_seen": str(self.images_seen),
            f"{PREFIX}perceptual": self.perceptual,
            f"{PREFIX}gates": json.dumps(self.gates),
        }

    @classmethod
    def from_props(cls, props: Mapping[str, str], where: str) -> "Metadata":
        """Reads what `to_props` wrote. Raises BadInput, naming `where`, for any other model."""
        version = props.get(f"{PREFIX}version")
        if version is None:
            raise BadInput(f"{where} is an ONNX file, but not one of ours; write one with `python -m export`")
        if version != FORMAT:
            raise BadInput(f"{where} has model format {version}; this release reads {FORMAT}: export it again")
        try:
            ranges = json.loads(props[f"{PREFIX}value_ranges"])
            return cls(
                method=props[f"{PREFIX}method"],
                schema=LabelSchema.from_json(json.loads(props[f"{PREFIX}label_schema"])),
                checkpoint_sha256=props[f"{PREFIX}checkpoint_sha256"],
                mlflow_run_id=props[f"{PREFIX}mlflow_run_id"] or None,
                images_seen=int(props[f"{PREFIX}images_seen"]),
                perceptual=props[f"{PREFIX}perceptual"],
                gates=tuple(json.loads(props[f"{PREFIX}gates"])),
                value_ranges={name: (float(ranges[name][0]), float(ranges[name][1])) for name in RANGES},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{where} has damaged metadata ({error}); export it again") from error

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, without the version."""
        return {name: value for name, value in asdict(self).items() if name != "version"}
