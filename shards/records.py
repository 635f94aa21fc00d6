"""The contracts that travel: label schema, one side of a pair, pair, and manifest."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from likeness import atomic, typed
from likeness.command import BadInput
from likeness.typed import Digest, Finite, Natural
from shards.preparation import PREPARATION, Preparation

FORMAT_VERSION = 2
SIZE_MULTIPLE = 16
LabelKind = Literal["sketch", "pose", "classes", "picture", "edges"]
Split = Literal["train", "test"]
Level = Annotated[int, Field(ge=0, le=255)]
"""An 8-bit value: of a colour, or the id of a class."""
Side = Annotated[int, Field(ge=0, le=2**14)]
"""A picture's height or width in pixels."""
Spot = Annotated[int, Field(ge=-(2**14), le=2**14)]
"""A landmark's x or y; what lies further outside a frame of 512×512 is a mistake."""
Share = Annotated[float, Field(ge=-(2**10), le=2**10, allow_inf_nan=False)]
"""A keypoint's x or y as a fraction of a side; what lies further outside the picture is a mistake."""
_EXACT: Any = {"extra": "forbid"}
"""For pydantic: members that the dataclass has not are refused."""


@dataclass(frozen=True)
class LabelSchema:
    """What the channels of a label map mean. Written once into the manifest; travels to the ONNX file."""

    __pydantic_config__ = _EXACT

    kind: LabelKind
    """The name of one of `shards.labels.kinds.KINDS`."""
    channels: Natural
    """Label channels C_L after expansion; each lies in [0, 1]."""
    height: Side
    """Picture height in pixels; a multiple of 16, at least 32."""
    width: Side
    """Picture width in pixels; a multiple of 16, at least 32."""
    names: tuple[str, ...]
    """One name per channel."""
    colours: tuple[tuple[Level, Level, Level], ...]
    """One RGB triple per channel, for people to look at."""
    ids: tuple[Level, ...] = ()
    """For `classes`, the uint8 id that each channel stands for (the void id included); else empty."""
    void: Level | None = None
    """For `classes`, the id that means "unlabelled", or None."""
    preparation: Preparation = PREPARATION
    """How photos become pictures of this size; the JSON leaves the default out."""

    def __post_init__(self) -> None:
        check_size(self.height, self.width)
        counts = {len(self.names), len(self.colours), self.channels}
        if self.ids or self.void is not None:
            counts.add(len(self.ids))
        if len(counts) > 1:
            raise BadInput(
                f"label schema of kind {self.kind!r}: {self.channels} channels, but {len(self.names)} names, "
                f"{len(self.colours)} colours and {len(self.ids)} ids"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_json` gives the same schema back."""
        data = asdict(self)
        if self.preparation == PREPARATION:
            del data["preparation"]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "LabelSchema":
        """Raises BadInput when a field is missing, unknown or of another type."""
        try:
            return typed.from_plain(cls, data)
        except ValueError as error:
            raise BadInput(f"not a label schema: {error}") from error

    def difference(self, other: "LabelSchema") -> str | None:
        """The first field in which `other` differs, in words, or None when the schemas agree."""
        ours_by_name, theirs_by_name = asdict(self), asdict(other)
        for name, ours in ours_by_name.items():
            theirs = theirs_by_name[name]
            if ours != theirs:
                return f"{name} is {ours!r} here and {theirs!r} there"
        return None


def check_size(height: int, width: int) -> None:
    """Raises BadInput unless both sides are multiples of 16 and at least 32 (specification 9.1)."""
    for name, value in (("height", height), ("width", width)):
        if value < 2 * SIZE_MULTIPLE or value % SIZE_MULTIPLE:
            nearest = max(2 * SIZE_MULTIPLE, round(value / SIZE_MULTIPLE) * SIZE_MULTIPLE)
            raise BadInput(
                f"picture {name} {value} is not a multiple of 16 of at least 32 "
                f"(the generator halves pictures four times); try {nearest}"
            )


@dataclass(frozen=True)
class Frame:
    """Where a photo comes from, and what its label is drawn from."""

    source: str
    """The video (or picture folder) it comes from, relative to the source directory."""
    number: Natural
    """Its position in the source, counted from 0 in decoded frames."""
    seconds: Finite
    """Its presentation time."""
    style: str
    """The style key; photos with equal keys have the same style."""
    landmarks: tuple[tuple[Spot, Spot], ...] | None = None
    """For `sketch`, 68 (x, y) integer pairs in a 512×512 frame laid over the picture."""
    keypoints: tuple[tuple[Share, Share, Finite], ...] | None = None
    """For `pose`, 18 (x, y, confidence) triples, x and y as fractions of width and height."""
    outside: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the picture that lies outside the photo and was filled, in (0, 1]; None where nothing was."""
    hash: str | None = None
    """Its perceptual hash, 64 bits in 16 hex digits; near-duplicates differ in few of them."""

    @property
    def unlabelled(self) -> "Frame":
        """The frame without what its label is drawn from."""
        return replace(self, landmarks=None, keypoints=None)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: Any) -> "Frame":
        """Raises ValueError when a field is missing, of another type or not finite."""
        return typed.from_plain(cls, data)


@dataclass(frozen=True)
class Pair:
    """One sample: four frames. The `json` member of a record (specification 1 and 5.2), where landmarks and keypoints
    stand with target and exemplar only.
    """

    key: str
    """The sample's name, unique in its manifest."""
    target: Frame
    """The photo `z` to be painted, whose label map is `x`."""
    exemplar: Frame
    """The photo `I`."""
    consistent: Frame
    """`y+`, another photo with the exemplar's style, never the exemplar itself."""
    inconsistent: Frame | None
    """`y-`, a photo with another style; None where all photos have one."""
    same_style: bool
    """`s`, whether target and exemplar share a style: by their style keys, or by what people or a list of pairs say."""

    @property
    def frames(self) -> dict[str, Frame]:
        """The frames by side, those that there are."""
        frames = {side: getattr(self, side) for side in SIDES}
        return {side: frame for side, frame in frames.items() if frame is not None}

    def to_json(self) -> dict[str, Any]:
        # No label is ever drawn for other sides: their points would be read, sample by sample, for nothing.
        sides = {
            side: (frame if side in LABELLED_SIDES else frame.unlabelled).to_json()
            for side, frame in self.frames.items()
        }
        return {"key": self.key, "s": int(self.same_style), **sides}

    @classmethod
    def from_json(cls, content: str | bytes) -> "Pair":
        """The pair that a JSON text holds. Raises BadInput when a field is missing, of another type or not finite."""
        try:
            record = typed.from_json(_Record, content)
        except ValueError as error:
            raise BadInput(f"not a pair record: {error}") from error
        sides = {side: getattr(record, side) for side in SIDES}
        return cls(record.key, same_style=bool(record.s), **sides)


@dataclass(frozen=True)
class _Record:
    """A pair as its JSON has it."""

    key: str
    s: Literal[0, 1]
    target: Frame
    exemplar: Frame
    consistent: Frame
    inconsistent: Frame | None = None


SIDES = ("target", "exemplar", "consistent", "inconsistent")
LABELLED_SIDES = ("target", "exemplar")


@dataclass(frozen=True)
class Shard:
    """One tar file of the manifest."""

    __pydantic_config__ = _EXACT

    name: str
    """Its file name, without any folder."""
    samples: Natural
    """How many samples it holds."""
    bytes: Natural
    """Its size."""
    sha256: Digest
    """SHA-256 of its bytes, in hex."""


@dataclass(frozen=True)
class Manifest:
    """`manifest.json` beside the shards: what is in them, and how it was packed."""

    schema: LabelSchema
    """What the label maps mean."""
    split: Split
    """Which split the pairs are for."""
    seed: int
    """The pair sampler's seed."""
    sampling: dict[str, Any]
    """The parameters of the pair sampler, preset name included."""
    shards: tuple[Shard, ...]
    """The tar files, in the order in which samples are counted."""
    sources: dict[Split, tuple[str, ...]]
    """The source videos of each split; none stands in both, unless `shared_sources` says so."""
    shared_sources: bool = False
    """Whether the splits are halves of the same videos (the dance split of the paper)."""
    audit: dict[str, Any] = field(default_factory=dict)
    """What the pairs were checked for, with the figures found (see `shards.packing.audit`)."""
    notes: tuple[str, ...] = ()
    """What was left out and why, in words."""
    slice: tuple[Natural, Natural] | None = None
    """(i, n) in a part of the data that `merge` joins; None when all shards are here."""
    one_style: bool = False
    """Whether all photos have one style, so that samples have no `inconsistent`; the JSON leaves false out."""
    instances: bool = False
    """Whether samples have `target.instances.png`; the JSON leaves false out, so that manifests from before there were
    instance maps keep their digests."""
    version: int = field(default=FORMAT_VERSION)
    """The format's version."""

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that samples have."""
        return SIDES[:-1] if self.one_style else SIDES

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest's canonical JSON; checkpoints keep it."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()

    def dumps(self) -> str:
        data = asdict(self) | {"schema": self.schema.to_json()}
        for name in ("instances", "one_style"):
            if not data[name]:
                del data[name]
        return json.dumps(data, indent=1, sort_keys=True) + "\n"

    def save(self, folder: Path) -> None:
        """Writes `folder/manifest.json` atomically."""
        atomic.write_text(folder / "manifest.json", self.dumps())


def load_manifest(path: Path) -> tuple[Manifest, Path]:
    """Reads a manifest, given its own path or its folder; returns it with the folder of the shards.

    Raises BadInput when there is none, when it is not valid, or when a source stands in both splits.
    """
    path = Path(path)
    file = path / "manifest.json" if path.is_dir() else path
    if not file.is_file():
        raise BadInput(f"no manifest at {file}; write shards with `python -m shards pack`")
    return parse_manifest(file.read_bytes(), file), file.parent


def parse_manifest(text: str | bytes, where: str | Path) -> Manifest:
    """The manifest that a JSON text holds. where: the file or URL it comes from, for messages.

    Raises BadInput when it is not valid, or when a source stands in both splits.
    """
    try:
        version = typed.from_json(_Version, text).version
        if version != FORMAT_VERSION:
            raise BadInput(
                f"{where} has format version {typed.shown(version)}; this release reads version {FORMAT_VERSION}: pack "
                "the shards again"
            )
        manifest = typed.from_json(Manifest, text)
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"{where} is not a manifest: {error}; pack the shards again") from error
    both = set(manifest.sources.get("train", ())) & set(manifest.sources.get("test", ()))
    if both and not manifest.shared_sources:
        raise BadInput(f"{where}: source {min(both)} stands in train and in test; pack the shards again")
    return manifest


@dataclass(frozen=True)
class _Version:
    """What every version of the manifest has."""

    version: int


Shown = frozenset[tuple[str, int]]
"""Two photos that were shown together, each as (source, frame number)."""
