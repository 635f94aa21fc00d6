"""The typed config: YAML files, each over the ones before it, then overrides from the command line, then checks."""

import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args, get_origin

import torch
import yaml
from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, model_validator

from likeness.command import BadInput
from likeness.shipped import shipped
from shards.labels import standard_schema
from shards.reading.cache import Cache
from shards.reading.order import TRAINING_MAX_BAD
from shards.reading.urls import is_url, redacted
from shards.records import LabelKind, LabelSchema, check_size
from trainer import methods
from trainer.options import Options
from trainer.schedules import Schedule

COMMAND_LINE = "the command line"
_TAKEN_FOR = {bool: "truth value", float: "number", int: "number", date: "date", datetime: "time"}


class _BadSetting(BadInput):
    """A setting that cannot be; `key` is its dotted name, empty where several do not go together."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Data(Options):
    """What is read, and how."""

    train: str = Field(description="folder or URL of the training shards")
    test: str | None = Field(None, description="folder or URL of the held-out shards: sample grids and export gates")
    label: LabelKind = Field(description="kind of label map: sketch, pose, classes, picture or edges")
    height: int = Field(256, description="picture height in pixels, a multiple of 16")
    width: int = Field(256, description="picture width in pixels, a multiple of 16")
    workers: int = Field(2, ge=0, description="loader processes per rank")
    flip: bool = Field(True, description="mirror half of the samples, all pictures of a sample alike")
    shuffle: int = Field(1000, ge=1, description="samples that are shuffled together, after the shards are")
    remainder: Literal["pad", "drop"] = Field("pad", description="an epoch's last samples: fill up, or leave out")
    resampled: bool = Field(False, description="draw shards with replacement instead of every sample once an epoch")
    max_bad: float = Field(TRAINING_MAX_BAD, ge=0, lt=1, description="share of the samples that may be unreadable")
    cache: Path | None = Field(None, description="folder that keeps shards of a URL; null: a temporary one")
    cache_gb: float | None = Field(None, gt=0, description="most that the cache may hold; null: all shards")

    @property
    def label_schema(self) -> LabelSchema:
        """The label schema of these settings, with the standard classes: shards of other datasets have their own."""
        return standard_schema(self.label, self.height, self.width)

    @property
    def shard_cache(self) -> Cache | None:
        """Where shards of a URL are kept."""
        limit = None if self.cache_gb is None else int(self.cache_gb * 1e9)
        return Cache(self.cache, limit) if self.cache else None

    def check_schema(self, schema: LabelSchema, where: str) -> None:
        """Raises BadInput when shards have not the kind and size of label map that these settings name."""
        check_size(self.height, self.width)
        for name, ours, theirs in (
            ("label", self.label, schema.kind),
            ("height", self.height, schema.height),
            ("width", self.width, schema.width),
        ):
            if ours != theirs:
                raise BadInput(
                    f"{where} has another label schema than this run: data.{name} is {ours!r} in the config and "
                    f"{theirs!r} in the shards; set --data.{name} {theirs}, or pack the shards again"
                )


class Perceptual(Options):
    """The frozen loss network."""

    weights: str = Field(
        "download", description="torchvision's VGG-19: a path or download; hed-vgg16, hed-vgg16:PATH; or random:SEED"
    )
    divisor: int = Field(1, ge=1, description="divides all widths; for random:SEED only")
    imagenet_norm: bool = Field(False, description="normalise pictures as VGG-19's ImageNet training did")
    resize_below: int = Field(
        224,
        ge=0,
        description="resize pictures less high to a square of it, 0: never; unset: as the method's paper",
    )


class Player(Options):
    """What one player's Adam has otherwise than the others'."""

    learning_rate: float | None = Field(None, gt=0, description="learning rate of this player; null: everybody's")
    betas: tuple[float, float] | None = Field(None, description="Adam's moment decays for this player; null: as all")


class Optimizer(Options):
    """Adam, one instance per player."""

    learning_rate: float = Field(2e-4, gt=0, description="learning rate of every player until `constant_images`")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's moment decays")
    constant_images: int = Field(500_000, ge=0, description="images until the linear decay to 0 begins")
    decay_images: int = Field(500_000, gt=0, description="images that the linear decay to 0 takes")
    halve_every: int | None = Field(None, gt=0, description="images after each of which the rate halves; null: never")
    weight_decay: float = Field(0.0, ge=0, description="Adam's weight decay, an L2 term in every gradient")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the generator's moving average, per step")
    players: dict[str, Player] = Field({}, description="settings of single players, by the method's name for them")

    @property
    def schedule(self) -> Schedule:
        """How the learning rate falls."""
        return Schedule(self.constant_images, self.decay_images, self.halve_every)

    def of(self, player: str) -> "Optimizer":
        """The settings of one player: its own where it has any, else everybody's."""
        own = self.players.get(player, Player())
        return self.model_copy(update={name: value for name, value in own if value is not None})


class Tracking(Options):
    """Where figures and pictures of the run go."""

    uri: str = Field(
        "sqlite:///mlflow.db", description="MLflow tracking URI; where no config says one, MLFLOW_TRACKING_URI does"
    )
    experiment: str = Field("likeness", description="MLflow experiment; likewise MLFLOW_EXPERIMENT_NAME")
    log_every: int = Field(1_000, gt=0, description="images between log lines")


class Evaluation(Options):
    """What is looked at while training: held-out pairs, painted by the averaged generator."""

    every: int = Field(20_000, gt=0, description="images between evaluations")
    pairs: int = Field(200, gt=0, description="held-out pairs that are measured")
    grid_rows: int = Field(6, gt=0, description="held-out pairs in the sample grid")


class Checkpoints(Options):
    """When to save, and how much to keep."""

    every: int = Field(50_000, gt=0, description="images between checkpoints")
    keep: int = Field(3, gt=0, description="newest checkpoints that are kept")
    best: str | None = Field(
        "held_out/semantic", description="the held-out figure whose least value is kept as well; null: none"
    )
    timeout_s: float = Field(300, gt=0, description="seconds after which a filesystem counts as dead")


class Faults(Options):
    """What a run puts up with."""

    max_skipped: int = Field(10, ge=0, description="iterations of the last 1,000 that may be skipped as not finite")
    timeout_s: float = Field(600, gt=0, description="seconds after which a rank that does not answer counts as lost")


class Speed(Options):
    """How it is computed; what is computed stays the same."""

    compile: bool = Field(False, description="torch.compile every network")
    channels_last: bool = Field(False, description="keep pictures and weights in the channels-last memory format")
    recompute: bool = Field(False, description="activation checkpointing: less memory, a second forward pass")


class Config(Options):
    """Everything a run depends on."""

    method: str = Field(description="a file of trainer/methods/")
    run: Path = Field(description="folder of the run: checkpoints, journal, grids")
    start: Path | None = Field(None, description="run or checkpoint whose networks a fresh run begins with")
    seed: int = Field(0, ge=0, description="seed of weights, data order and augmentation")
    images: int = Field(1_000_000, gt=0, description="images seen at the end of training")
    batch: int = Field(1, gt=0, description="samples per step and rank")
    accumulate: int = Field(1, gt=0, description="equal parts that a rank computes its batch in, one after another")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32", description="of convolutions; tf32 lets tensor cores round float32 to 10 bits, bf16 is bfloat16"
    )
    data: Data
    options: SerializeAsAny[Options] = Field(description="the method's own options")
    perceptual: Perceptual = Perceptual()
    optimizer: Optimizer = Optimizer()
    tracking: Tracking = Tracking()
    evaluation: Evaluation = Evaluation()
    checkpoint: Checkpoints = Checkpoints()
    faults: Faults = Faults()
    speed: Speed = Speed()

    @model_validator(mode="before")
    @classmethod
    def _method_options(cls, data: Any) -> Any:
        """Gives `options` the type that the method declares, before anything else is looked at."""
        if isinstance(data, dict) and isinstance(data.get("options", {}), dict) and "method" in data:
            try:
                kind = methods.find(data["method"]).options_type
            except BadInput as error:
                raise _BadSetting("method", str(error)) from error
            try:
                options = kind.model_validate(data.get("options", {}))
            except ValidationError as error:
                raise _explain(error, kind, "options.") from error
            own = methods.find(data["method"]).resize_below
            perceptual = data.get("perceptual", {})
            if isinstance(perceptual, dict):
                data = {**data, "perceptual": {"resize_below": own, **perceptual}}
            return {**data, "options": options}
        return data

    @model_validator(mode="after")
    def _whole_parts(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} cannot be cut into accumulate {self.accumulate} equal parts")
        return self

    @model_validator(mode="after")
    def _known_players(self) -> Self:
        if not self.optimizer.players:
            return self
        # Who plays depends on options; networks are built without content, which takes no time.
        with torch.device("meta"):
            known = list(methods.find(self.method)(self.options, self.data.label_schema).learning())
        for name in self.optimizer.players:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"{self.method} has {', '.join(known)}"
                raise _BadSetting(f"optimizer.players.{name}", f"unknown player 'optimizer.players.{name}'; {hint}")
        return self

    @model_validator(mode="after")
    def _patient_enough(self) -> Self:
        if self.checkpoint.timeout_s >= self.faults.timeout_s:
            raise ValueError(
                f"checkpoint.timeout_s {self.checkpoint.timeout_s:g} must be less than faults.timeout_s "
                f"{self.faults.timeout_s:g}: ranks that wait for the disk would count as lost"
            )
        return self


def load(files: Path | Sequence[Path], overrides: Sequence[str] = ()) -> Config:
    """Reads YAML files, each over the ones before it, and applies overrides such as `--data.workers 4`.

    Sections are merged key by key; a list is replaced as a whole. Overrides may also be written `--data.workers=4`.
    Below all files lies what MLflow's own variables say of the tracker.
    Raises BadInput for a missing file, an unknown key (with the nearest known one) or a bad value, and names the file
    that holds it.
    """
    layers = [*_environment(), *((str(file), _read(file)) for file in ([files] if isinstance(files, Path) else files))]
    data: dict[str, Any] = {}
    for _, layer in layers:
        _merge(data, layer)
    for key, value in _pairs(overrides):
        _set(data, key, value)
        layers.append((COMMAND_LINE, _nested(key, value)))
    return _validated(data, lambda key: _origin(layers, key))


def _environment() -> Iterator[tuple[str, dict[str, Any]]]:
    """A layer for each of MLflow's variables that says what a setting of ours says, too."""
    for variable, name in (("MLFLOW_TRACKING_URI", "uri"), ("MLFLOW_EXPERIMENT_NAME", "experiment")):
        if value := os.environ.get(variable):
            yield variable, {"tracking": {name: value}}


def _read(file: Path) -> dict[str, Any]:
    file = shipped(file)
    if not file.is_file():
        raise BadInput(f"no config at {file}; presets: {', '.join(_presets())}")
    data = _yaml(file.read_bytes(), str(file))
    if not isinstance(data, dict):
        raise BadInput(f"{file} holds no settings")
    return data


def _yaml(text: str | bytes, where: str) -> Any:
    """What YAML holds: text, or bytes in UTF-8 or, with a byte order mark, UTF-16. Raises BadInput, naming `where`."""
    try:
        # A short file may refer to itself until it fills the memory.
        if alias := next((each for each in yaml.parse(text) if isinstance(each, yaml.AliasEvent)), None):
            raise BadInput(f"{where} refers to another place as *{alias.anchor}; write the value out")
        return yaml.safe_load(text)
    except yaml.reader.ReaderError as error:
        raise BadInput(f"{where} is no text in UTF-8 ({' '.join(str(error).split())}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deeply") from error
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{where}: YAML takes something for a number or a date ({error}); put text in quotes") from error


def _merge(data: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Puts a layer's settings over those of `data`, in place; the layer stays as it is."""
    for key, value in layer.items():
        if isinstance(value, dict):
            section = data.get(key)
            data[key] = section if isinstance(section, dict) else {}
            _merge(data[key], value)
        else:
            data[key] = value


def _origin(layers: Sequence[tuple[str, Mapping[str, Any]]], key: str) -> str:
    """The last layer that sets a key; all files where none does."""
    for name, layer in layers[::-1]:
        if key and _sets(layer, key.split(".")):
            return name
    return " + ".join(name for name, _ in layers if name != COMMAND_LINE and not name.startswith("MLFLOW_"))


def _sets(layer: Any, path: Sequence[str]) -> bool:
    """Whether a layer sets what a path leads to, or a value (such as a list) on the way there."""
    for part in path:
        if not isinstance(layer, dict):
            return True
        if part not in layer:
            return False
        layer = layer[part]
    return True


def validate(data: dict[str, Any], where: str) -> Config:
    """Raises BadInput with one line that names `where`, the key, the value and the nearest known key."""
    return _validated(data, lambda _: where)


def _validated(data: dict[str, Any], origin: Callable[[str], str]) -> Config:
    """origin: says where the setting of a key stands."""
    try:
        _refuse_secrets(data)
        try:
            return Config.model_validate(data)
        except ValidationError as error:
            raise _explain(error, Config) from error
    except _BadSetting as bad:
        raise BadInput(f"{origin(bad.key)}: {bad}") from bad


def _refuse_secrets(data: dict[str, Any]) -> None:
    """The config is logged and kept in checkpoints: no place for passwords and signatures."""
    for key, environment in (
        ("data.train", "AWS_ACCESS_KEY_ID"),
        ("data.test", "AWS_ACCESS_KEY_ID"),
        ("tracking.uri", "MLFLOW_TRACKING_USERNAME"),
    ):
        section, _, name = key.partition(".")
        location = data[section].get(name) if isinstance(data.get(section), dict) else None
        if isinstance(location, str) and is_url(location) and redacted(location) != location:
            raise _BadSetting(
                key,
                f"{key} {redacted(location)} is given with a password or a query, which logs and checkpoints would "
                f"show; put credentials into the environment ({environment} and so on) or a netrc file",
            )


def describe(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of a config section: (dotted name, default, description), for `--help`."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Options:
            yield from describe(inner, f"{prefix}{name}.")
        elif values := _values(inner):
            yield from describe(values, f"{prefix}{name}.NAME.")
        else:
            default = "required" if field.is_required() else str(field.default)
            yield f"{prefix}{name}", default, field.description or ""


def _values(annotation: Any) -> type[BaseModel] | None:
    """The kind of section that a dictionary of sections holds under each name; None for anything else."""
    if get_origin(annotation) is not dict:
        return None
    _, kind = get_args(annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _presets() -> list[str]:
    """Those that stand for themselves, by the names that they have in the documents."""
    return sorted(f"trainer/configs/{path.name}" for path in (Path(__file__).parent / "configs").glob("*.yaml"))


def _pairs(overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    words = iter(overrides)
    for word in words:
        if not word.startswith("--"):
            raise BadInput(f"unexpected argument {word!r}; override a setting as --data.workers 4")
        key, equals, value = word[2:].partition("=")
        if not equals:
            found = next(words, None)
            if found is None:
                raise BadInput(f"--{key} needs a value, as in --{key} VALUE")
            value = found
        yield key, _plain(_yaml(value, f"--{key} {value}"))


def _plain(value: Any) -> Any:
    """YAML 1.1 reads 2e-4 as text; people mean a number."""
    number = isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value)
    return float(value) if number and math.isfinite(float(value)) else value


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        inner = data.setdefault(section, {})
        if not isinstance(inner, dict):
            raise BadInput(f"--{key}: {section} is a value, not a section")
        data = inner
    data[name] = value


def _nested(key: str, value: Any) -> dict[str, Any]:
    """A dotted name and its value as sections."""
    for name in reversed(key.split(".")):
        value = {name: value}
    nested: dict[str, Any] = value
    return nested


def _explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> _BadSetting:
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, _BadSetting):
        return inner
    location = [str(part) for part in first["loc"] if part != "options" or not prefix]
    key = prefix + ".".join(location)
    if first["type"] == "extra_forbidden":
        section = _section(model, location[:-1])
        near = difflib.get_close_matches(location[-1], section, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(section)}"
        return _BadSetting(key, f"unknown key {key!r}; {hint}")
    if first["type"] == "missing":
        return _BadSetting(
            key, f"{key!r} is missing; a file of a few settings goes behind a whole config, as in --config WHOLE FEW"
        )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("string_type", "path_type") and isinstance(first["input"], bool | float | int | date):
        name = location[-1]
        message += (
            f', and YAML takes this for a {_TAKEN_FOR[type(first["input"])]}; put it in quotes: {name}: "…" '
            f"(on the command line --{key} '\"…\"')"
        )
    return _BadSetting(key, f"{key} = {first['input']!r}: {message}" if key else message)


def _section(model: type[BaseModel], path: list[str]) -> list[str]:
    names = iter(path)
    for name in names:
        annotation = model.model_fields[name].annotation
        if values := _values(annotation):
            model = values
            next(names)  # A name of the user's own, such as a player's.
        else:
            model = cast(type[BaseModel], annotation)
    return list(model.model_fields)
