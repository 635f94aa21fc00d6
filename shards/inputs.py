"""What a model can be given: one object for each input, which knows everything that others have to ask about it.

A model names its inputs (`label`, `exemplar`, …) in the order of its graph; `INPUTS` has the object of each name.
Whoever handles inputs iterates over the objects, and nobody else compares names. An input has four forms: *loaded*, as
shards and files hold it (uint8 pixels, ids, whole numbers); *fed*, as the exported graph takes it; *expanded*, as the
network in PyTorch takes it; and what a person gives for it: a file, a part of a request, or a cell of a CSV.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards import input_files
from shards.labels.instance_features import FeatureCentres, paint
from shards.labels.kinds import kind_of
from shards.media.orientation import MARKS, QUARTER, orientation
from shards.reading import samples
from shards.records import SIZE_MULTIPLE, LabelSchema

Io = Literal["float", "uint8"]
"""Whether a graph takes and gives numbers, or pixels as files hold them."""
Loaded = dict[str, Array]
"""One sample's inputs by name, in loaded form."""

MOST_INSTANCES = 2**16
STYLE_LENGTH = 8
"""Numbers of a style code where a model does not say otherwise (MUNIT 2)."""


@dataclass(frozen=True)
class Spec:
    """What a fed tensor holds, without its batch axis."""

    dtype: Literal["float32", "uint8", "int32"]
    """The type of its values."""
    shape: tuple[int | None, ...]
    """Its sides; None where one is free, but for being a multiple of `multiple`."""
    low: float
    """The lowest value."""
    high: float
    """The highest value."""
    ids: tuple[int, ...] | None = None
    """The only values, if there are only a few."""
    multiple: int = SIZE_MULTIPLE
    """What free sides are multiples of, in pixels."""

    def shape_in_words(self) -> str:
        """Such as "(N, 3, 256, 256)"."""
        sides = (f"a multiple of {self.multiple}" if side is None else str(side) for side in self.shape)
        return f"({', '.join(['N', *sides])})"


class Model(Protocol):
    """What a model says of itself that its inputs depend on; `deploy.metadata.Metadata` does."""

    @property
    def schema(self) -> LabelSchema: ...
    @property
    def io(self) -> Io: ...
    @property
    def dynamic_size(self) -> bool: ...
    @property
    def size_multiple(self) -> int: ...
    @property
    def style_length(self) -> int: ...
    @property
    def feature_channels(self) -> int: ...


@dataclass(frozen=True)
class Drawing:
    """What missing inputs are drawn from."""

    centres: FeatureCentres | None
    """The looks that a model's instances may have; None where it has none."""
    style_length: int
    """How many numbers its style codes have."""
    where: str
    """The model, as messages name it."""


@dataclass(frozen=True)
class Expansion:
    """How a room expands the loaded or fed forms, with the array library that it works in."""

    photo: Callable[[Any], Any]
    """Photos: (…, H, W, 3) in 0 to 255 to (…, 3, H, W) in [-1, 1]."""
    label: Callable[[Any], Any]
    """Loaded label maps to channels in [0, 1]."""
    numbers: Callable[[Any], Any]
    """Instance numbers (…, H, W)."""
    values: Callable[[Any], Any]
    """Numbers that are what they are: features and style codes."""


class Read(Protocol):
    """Samples that have been read: a decoded sample, or a batch of them in any array library."""

    @property
    def photos(self) -> Mapping[str, Any]: ...
    @property
    def labels(self) -> Mapping[str, Any]: ...
    @property
    def instances(self) -> Any: ...


@dataclass(frozen=True)
class Input(ABC):
    """One input."""

    name: str
    """Its name in graphs, requests, columns and folders."""
    follows_label: bool
    """Whether it belongs to the target: where another pair's label map is taken, this one is, too."""

    optional: ClassVar[bool] = False
    """Whether it is drawn where nobody gives it."""
    numbered: ClassVar[bool] = False
    """Whether what is drawn has many variants of the same sample, each with its own number."""
    has_size: ClassVar[bool] = True
    """Whether it has the height and width of the picture."""
    absent_in_videos: ClassVar[str | None] = None
    """In words, what is missing in a video; None where a video, or the exemplar beside it, has the input."""

    @abstractmethod
    def spec(self, model: Model) -> Spec:
        """What the exported graph takes."""

    @abstractmethod
    def network_shape(self, schema: LabelSchema, style_length: int, feature_channels: int) -> tuple[int, ...]:
        """Its shape as the network in PyTorch takes it, without the batch axis."""

    @abstractmethod
    def decode(self, content: bytes, where: str, schema: LabelSchema, style_length: int) -> Array:
        """The loaded form of a file's content. where: what messages call the file.

        Raises BadInput when it does not hold what the input needs.
        """

    @abstractmethod
    def file_in_words(self, schema: LabelSchema, style_length: int) -> dict[str, str]:
        """`file`: the formats that `decode` takes; `holds`: what is in them. For people who ask the service."""

    @abstractmethod
    def endings(self, schema: LabelSchema) -> tuple[str, ...]:
        """Suffixes of the files that `decode` takes, without the dot, the usual one first."""

    @abstractmethod
    def expand(self, value: Any, how: Expansion) -> Any:
        """The expanded form of a loaded or fed value."""

    @abstractmethod
    def example(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Random values of the expanded form, of any shape: to time a network with."""

    def height_axis(self, value: Array) -> int:
        """The axis of a loaded batch that runs over rows; the next one runs over columns."""
        return value.ndim - 2

    def of(self, read: Read) -> Any:
        """The loaded form in what was read; None where it is not among it, or cannot be."""
        return None

    @property
    def photo_side(self) -> str | None:
        """The side of a sample whose photo it is; None where it is no photo."""
        return None

    @property
    def label_side(self) -> str | None:
        """The side of a sample whose label map it is; None where it is none."""
        return None

    @property
    def is_instances(self) -> bool:
        """Whether it is the target's instance map."""
        return False

    def decode_members(self, members: samples.Members, schema: LabelSchema) -> Array:
        """The loaded form from the members of a sample.

        Raises BadInput when one is missing or broken, RuntimeError where samples never hold this input.
        """
        raise RuntimeError(f"samples hold no {self.name}: it is drawn, or comes in a file")

    def in_cell(self, cell: str) -> bool:
        """Whether a cell of a CSV holds the input itself, instead of a file's path."""
        return False

    def draw(self, source: Drawing, loaded: Mapping[str, Array], seed: int, name: str, number: int = 1) -> Array:
        """The loaded form of a missing input: a function of the seed and of `name`, what the picture is called.

        loaded: the sample's other inputs. number: which of several variants, from 1, where the input is `numbered`.
        Raises BadInput when the model has nothing to draw it from, RuntimeError where the input cannot be left out.
        """
        raise RuntimeError(f"{self.name} cannot be left out")


@dataclass(frozen=True)
class LabelMap(Input):
    """The label map of one side of a pair."""

    side: str = "target"
    """The side whose photo it labels."""

    @property
    def label_side(self) -> str:
        return self.side

    def spec(self, model: Model) -> Spec:
        """Ids are fed as ids, uint8 (H, W), whatever the io: the graph makes channels of them."""
        schema, multiple = model.schema, model.size_multiple
        size = _size(model)
        if schema.ids:
            return Spec("uint8", size, min(schema.ids), max(schema.ids), schema.ids, multiple)
        if model.io == "uint8":
            return Spec("uint8", (schema.channels, *size), 0, 255, multiple=multiple)
        return Spec("float32", (schema.channels, *size), 0.0, 1.0, multiple=multiple)

    def network_shape(self, schema: LabelSchema, style_length: int, feature_channels: int) -> tuple[int, ...]:
        return schema.channels, schema.height, schema.width

    def decode(self, content: bytes, where: str, schema: LabelSchema, style_length: int) -> Array:
        return input_files.decode_label(content, where, schema)

    def file_in_words(self, schema: LabelSchema, style_length: int) -> dict[str, str]:
        kind = kind_of(schema)
        return {"file": kind.file, "holds": kind.holds}

    def endings(self, schema: LabelSchema) -> tuple[str, ...]:
        return kind_of(schema).endings

    def expand(self, value: Any, how: Expansion) -> Any:
        return how.label(value)

    def example(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.random(shape, np.float32)

    def of(self, read: Read) -> Any:
        return read.labels.get(self.side)

    def decode_members(self, members: samples.Members, schema: LabelSchema) -> Array:
        return samples.decode_label(members, self.side, schema, samples.decode_pair(members))


@dataclass(frozen=True)
class Photo(Input):
    """The photo of one side of a pair."""

    side: str = "exemplar"
    """The side whose photo it is."""

    @property
    def photo_side(self) -> str:
        return self.side

    def spec(self, model: Model) -> Spec:
        return photo_spec(model)

    def network_shape(self, schema: LabelSchema, style_length: int, feature_channels: int) -> tuple[int, ...]:
        return 3, schema.height, schema.width

    def decode(self, content: bytes, where: str, schema: LabelSchema, style_length: int) -> Array:
        return input_files.decode_photo(content, where, schema)

    def file_in_words(self, schema: LabelSchema, style_length: int) -> dict[str, str]:
        return {"file": "PNG or JPEG", "holds": "a photo of this width and height, RGB"}

    def endings(self, schema: LabelSchema) -> tuple[str, ...]:
        return "png", "jpg"

    def expand(self, value: Any, how: Expansion) -> Any:
        return how.photo(value)

    def example(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.random(shape, np.float32) * 2 - 1

    def height_axis(self, value: Array) -> int:
        return value.ndim - 3

    def of(self, read: Read) -> Any:
        return read.photos.get(self.side)

    def decode_members(self, members: samples.Members, schema: LabelSchema) -> Array:
        return samples.decode_photo(members, self.side, schema)


@dataclass(frozen=True)
class Instances(Input):
    """The target's instance map: a number for each object of the picture."""

    absent_in_videos: ClassVar[str | None] = "instance maps"

    @property
    def is_instances(self) -> bool:
        return True

    def spec(self, model: Model) -> Spec:
        return Spec("int32", _size(model), 0, MOST_INSTANCES - 1, multiple=model.size_multiple)

    def network_shape(self, schema: LabelSchema, style_length: int, feature_channels: int) -> tuple[int, ...]:
        return schema.height, schema.width

    def decode(self, content: bytes, where: str, schema: LabelSchema, style_length: int) -> Array:
        return input_files.decode_instances(content, where, schema)

    def file_in_words(self, schema: LabelSchema, style_length: int) -> dict[str, str]:
        return {
            "file": "PNG",
            "holds": "the number of the object at each pixel, of this width and height, grey, 8 or 16 bits",
        }

    def endings(self, schema: LabelSchema) -> tuple[str, ...]:
        return ("png",)

    def expand(self, value: Any, how: Expansion) -> Any:
        return how.numbers(value)

    def example(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.integers(0, 100, shape, np.int32)

    def of(self, read: Read) -> Any:
        return read.instances

    def decode_members(self, members: samples.Members, schema: LabelSchema) -> Array:
        return samples.decode_instances(members, schema)


@dataclass(frozen=True)
class Features(Input):
    """How each instance looks: a few numbers, the same all over it (pix2pixHD 2.4)."""

    optional: ClassVar[bool] = True
    absent_in_videos: ClassVar[str | None] = "features of instances"

    def spec(self, model: Model) -> Spec:
        return Spec("float32", (model.feature_channels, *_size(model)), -1.0, 1.0, multiple=model.size_multiple)

    def network_shape(self, schema: LabelSchema, style_length: int, feature_channels: int) -> tuple[int, ...]:
        return feature_channels, schema.height, schema.width

    def decode(self, content: bytes, where: str, schema: LabelSchema, style_length: int) -> Array:
        return input_files.decode_features(content, where, schema)

    def file_in_words(self, schema: LabelSchema, style_length: int) -> dict[str, str]:
        return {
            "file": "PNG",
            "holds": "(optional) the look of each instance, of this width and height, RGB, 0 to 255 for -1 to 1",
        }

    def endings(self, schema: LabelSchema) -> tuple[str, ...]:
        return ("png",)

    def expand(self, value: Any, how: Expansion) -> Any:
        return how.values(value)

    def example(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.random(shape, np.float32) * 2 - 1

    def draw(self, source: Drawing, loaded: Mapping[str, Array], seed: int, name: str, number: int = 1) -> Array:
        """For each region one of its class's centres, uniformly: float32 (C, H, W).

        loaded: the label map's ids (H, W), and the instance map where the regions are instances.
        Raises BadInput when the model has no centres, or `loaded` lacks a map.
        """
        if source.centres is None:
            raise BadInput(
                f"{source.where} reads {self.name} and has no centres to draw them from, as its label maps have no "
                f"classes; give {self.name}"
            )
        regions_of = INSTANCES if source.centres.regions == INSTANCES.name else LABEL
        if missing := [each.name for each in (LABEL, regions_of) if each.name not in loaded]:
            raise BadInput(
                f"{source.where} draws {self.name} for the {missing[0]} of a sample, which it does not have; give "
                f"{self.name}"
            )
        ids, regions = loaded[LABEL.name], loaded[regions_of.name]
        return paint(regions, ids, source.centres.arrays, _generator(f"{self.name} {seed} {name}"))


@dataclass(frozen=True)
class Style(Input):
    """A style code, as long as the model says, from a standard normal prior (MUNIT 2)."""

    optional: ClassVar[bool] = True
    numbered: ClassVar[bool] = True
    has_size: ClassVar[bool] = False

    def spec(self, model: Model) -> Spec:
        return Spec("float32", (model.style_length,), -input_files.STYLE_RANGE, input_files.STYLE_RANGE)

    def network_shape(self, schema: LabelSchema, style_length: int, feature_channels: int) -> tuple[int, ...]:
        return (style_length,)

    def decode(self, content: bytes, where: str, schema: LabelSchema, style_length: int) -> Array:
        return input_files.decode_style(content, where, style_length)

    def file_in_words(self, schema: LabelSchema, style_length: int) -> dict[str, str]:
        return {"file": "JSON", "holds": f"(optional) a style code of {style_length} numbers"}

    def endings(self, schema: LabelSchema) -> tuple[str, ...]:
        return ("json",)

    def expand(self, value: Any, how: Expansion) -> Any:
        return how.values(value)

    def example(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.random(shape, np.float32) * 2 - 1

    def in_cell(self, cell: str) -> bool:
        return cell.lstrip()[:1] in ("[", "{")

    def draw(self, source: Drawing, loaded: Mapping[str, Array], seed: int, name: str, number: int = 1) -> Array:
        """Standard normal, float32 (style_length,); each `number` stands for another style."""
        drawn = _generator(f"{self.name} {seed} {number} {name}").standard_normal(source.style_length, np.float32)
        return np.asarray(drawn)


LABEL = LabelMap("label", follows_label=True, side="target")
EXEMPLAR_LABEL = LabelMap("exemplar_label", follows_label=False, side="exemplar")
EXEMPLAR = Photo("exemplar", follows_label=False, side="exemplar")
INSTANCES = Instances("instances", follows_label=True)
FEATURES_MAP = Features("features", follows_label=True)
STYLE = Style("style", follows_label=False)

INPUTS: Mapping[str, Input] = {
    each.name: each for each in (LABEL, EXEMPLAR_LABEL, EXEMPLAR, INSTANCES, FEATURES_MAP, STYLE)
}
"""Every input by its name, in the order in which people are told of them."""


def inputs_of(names: Iterable[str]) -> tuple[Input, ...]:
    """The objects of a model's inputs, in its order."""
    return tuple(INPUTS[name] for name in names)


@dataclass(frozen=True)
class Needs:
    """What has to be read of a sample for a model's inputs."""

    photos: tuple[str, ...]
    """Sides whose photos are read."""
    labels: tuple[str, ...]
    """Sides whose label maps are read."""
    instances: bool
    """Whether the target's instance map is read."""


def needs_of(names: Iterable[str]) -> Needs:
    """What has to be read of a sample for the inputs of these names."""
    inputs = inputs_of(names)
    return Needs(
        photos=tuple(each.photo_side for each in inputs if each.photo_side is not None),
        labels=tuple(each.label_side for each in inputs if each.label_side is not None),
        instances=any(each.is_instances for each in inputs),
    )


def check_marks(files: Mapping[str, tuple[bytes, str]], schema: LabelSchema) -> None:
    """Raises BadInput where a photo's EXIF mark leaves open how the label map beside it lies on it.

    files: content and name, in messages, of what somebody gives for a model's inputs. A label map of another size than
    the photo's is refused when it is decoded, so that its size tells where the mark changes a photo's.
    """
    for name, (content, photo) in files.items():
        side = INPUTS[name].photo_side
        mark = 1 if side is None else orientation(content)
        told = mark >= QUARTER and schema.width != schema.height and kind_of(schema).points is None
        for other, (_, label) in files.items():
            if mark != 1 and not told and INPUTS[other].label_side == side:
                raise BadInput(
                    f"{photo} has an EXIF mark that has it {MARKS[mark]}, and {label} may lie on its pixels as stored "
                    "or as shown; write the photo anew, turned upright and without the mark"
                )


def optional_among(names: Iterable[str]) -> tuple[str, ...]:
    """Those of a model's inputs that are drawn where nobody gives them."""
    return tuple(each.name for each in inputs_of(names) if each.optional)


def needed_among(names: Iterable[str]) -> tuple[str, ...]:
    """Those of a model's inputs that have to be given."""
    return tuple(each.name for each in inputs_of(names) if not each.optional)


def photo_spec(model: Model) -> Spec:
    """What photos are that go into an exported graph, and pictures that come out of it."""
    if model.io == "uint8":
        return Spec("uint8", (*_size(model), 3), 0, 255, multiple=model.size_multiple)
    return Spec("float32", (3, *_size(model)), -1.0, 1.0, multiple=model.size_multiple)


def _size(model: Model) -> tuple[int | None, int | None]:
    return (None, None) if model.dynamic_size else (model.schema.height, model.schema.width)


def _generator(purpose: str) -> np.random.Generator:
    """Random numbers that depend on a text alone: the same on every machine, in any order, in any process."""
    digest = hashlib.blake2b(purpose.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest)))
