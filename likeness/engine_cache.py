"""Engines that TensorRT built ahead of time: one folder each, found by what they were made of and for.

Nothing here builds. `python -m export engine` does; whoever serves asks `find`, and gets an engine or an error.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from likeness.checksums import sha256_of
from likeness.command import BadInput
from likeness.gpu import Gpu, require_gpu, visible_gpu

Runtime = Literal["tensorrt", "tensorrt-rtx"]
Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""The smallest, the usual and the largest shape of each input, batch first. An engine takes nothing outside them."""

BOUNDS = ("min", "opt", "max")
RECORD = "record.json"
ANY = "any"
RTX_RUNS_ON = "8.0, 8.6, 8.9, 12.0 and later"
"""Compute capabilities that an engine of TensorRT-RTX runs on, by its documentation; 9.0 and 10.x are not there."""


@dataclass(frozen=True)
class Facts:
    """What an engine is made of and for; with any other value it is another engine.

    An engine holds kernels that were chosen by timing them on one GPU, with one version of the runtime and the driver,
    for a range of batches: where one of these differs, it may not load, or be slow.
    """

    model_sha256: str
    """Of the ONNX file."""
    external_data: Mapping[str, str]
    """The SHA-256 of each file beside it that holds weights, by the file's name."""
    runtime: Runtime
    """What runs the engine."""
    version: str
    """Of the runtime's libraries."""
    gpu: str
    """The GPU that it runs on, by name; "any" for a portable engine."""
    compute_capability: str
    """Of that GPU, or of those that a portable engine runs on."""
    driver: str
    """The driver's version; "any" for a portable engine."""
    batches: tuple[int, ...]
    """The smallest, the usual and the largest batch."""

    @property
    def key(self) -> str:
        """Names the engine's folder in a cache: a hash, as names of GPUs and versions are no names of folders."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Record:
    """What a cache says of an engine."""

    facts: Facts
    """What it was made of and for."""
    profile: Profile
    """The shapes that it takes."""
    model: str
    """The name of its model's file, for people."""
    engine: str
    """The name of the file to open."""
    files: Mapping[str, int]
    """The bytes of each file of its folder, `engine` among them."""
    build_seconds: float
    """How long building it took."""
    gate: Mapping[str, Any] | None
    """How near its pictures are to PyTorch's: the gate that it passed. None where nothing could be compared: random
    weights, or an engine that does not run where it was built."""

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_json` gives the same record back."""
        data = asdict(self)
        profile = {
            name: {bound: "x".join(map(str, shape)) for bound, shape in zip(BOUNDS, shapes, strict=True)}
            for name, shapes in self.profile.items()
        }
        return {**data.pop("facts"), **data, "profile": profile}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Record":
        """Raises AttributeError, KeyError, TypeError or ValueError when `to_json` did not write this."""
        facts = {field.name: data[field.name] for field in fields(Facts)}
        facts["batches"] = tuple(facts["batches"])
        others = {field.name: data[field.name] for field in fields(cls) if field.name not in ("facts", "profile")}
        profile = {
            name: (_shape(shapes["min"]), _shape(shapes["opt"]), _shape(shapes["max"]))
            for name, shapes in data["profile"].items()
        }
        return cls(facts=Facts(**facts), profile=profile, **others)


def _shape(text: str) -> Shape:
    return tuple(int(size) for size in text.split("x"))


def model_sha256(file: Path) -> str:
    """SHA-256 of a model's file, or of one of its weights. Raises BadInput when the file cannot be read."""
    try:
        return sha256_of(file)
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror}); give a model with all its files") from error


def place_of(runtime: Runtime) -> Gpu:
    """Where an engine that is built here runs.

    TensorRT tunes an engine on the GPU of this machine, for which it is. What TensorRT-RTX writes ahead of time is the
    same with any GPU and without one: the GPU's own kernels are compiled when it is loaded.

    Raises BadInput when TensorRT has no GPU here.
    """
    return Gpu(ANY, RTX_RUNS_ON, ANY) if runtime == "tensorrt-rtx" else require_gpu()


def build_command(cache: Path, model: Path, runtime: Runtime) -> str:
    """What a person runs to get the engine."""
    arguments = ["--model", str(model), "--cache", str(cache), "--runtime", runtime]
    return shlex.join(["python", "-m", "export", "engine", *arguments])


def write(folder: Path, record: Record) -> None:
    """Writes the record of an engine's folder, for people, too."""
    (folder / RECORD).write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Record:
    """The record of an engine's folder. Raises BadInput when the folder is damaged."""
    try:
        record = Record.from_json(json.loads((folder / RECORD).read_text(encoding="utf-8")))
        for name, expected in record.files.items():
            size = (folder / name).stat().st_size
            if size != expected:
                raise ValueError(f"{name} has {size} bytes instead of {expected}")
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the engine in {folder} is damaged ({error}); remove that folder and build it again") from error
    return record


def built(
    cache: Path, model: Path, digest: str, runtime: Runtime, version: str, batches: tuple[int, ...]
) -> tuple[Path, Record] | None:
    """The folder and the record of the engine that a build with these arguments would make again. digest: the model's.

    Raises BadInput when an engine of the cache is damaged, or when TensorRT has no GPU here.
    """
    fitting, _ = _search(cache, model, digest, runtime, version, place_of(runtime))
    return next(((folder, record) for folder, record in fitting if record.facts.batches == batches), None)


def find(cache: Path, model: Path, runtime: Runtime, version: str) -> Path:
    """The file to open of the engine that was built of `model` for this machine. Never builds.

    version: of the runtime's libraries here. When engines for several batches fit, the one that takes the largest.

    Raises BadInput, with the command that builds the engine, when there is none.
    """
    if runtime == "tensorrt-rtx" and (here := visible_gpu()) is not None and not _runs_rtx(here.compute_capability):
        raise BadInput(
            f"{here.name} has compute capability {here.compute_capability}, but TensorRT-RTX runs on {RTX_RUNS_ON}; "
            f"build for TensorRT: `{build_command(cache, model, 'tensorrt')}`"
        )
    fitting, others = _search(cache, model, model_sha256(model), runtime, version, place_of(runtime))
    if not fitting:
        problem = f"{cache} holds no {runtime} engine of {model}"
        if others:
            problem += f" for this machine: one has {min(others, key=len)}"
        raise BadInput(f"{problem}; build it: `{build_command(cache, model, runtime)}`")
    folder, record = max(fitting, key=lambda entry: entry[1].facts.batches[::-1])
    return folder / record.engine


def _search(
    cache: Path, model: Path, digest: str, runtime: Runtime, version: str, place: Gpu
) -> tuple[list[tuple[Path, Record]], list[str]]:
    """The engines of a model that fit, and what is different about those that do not."""
    fitting, others = [], []
    # A folder that begins with a dot is being built.
    for file in sorted(cache.glob(f"[!.]*/{RECORD}")):
        record = read(file.parent)
        if record.facts.runtime != runtime or record.facts.model_sha256 != digest:
            continue
        if differences := _differences(record.facts, model, version, place):
            others.append(differences)
        else:
            fitting.append((file.parent, record))
    return fitting, others


def _runs_rtx(compute_capability: str) -> bool:
    return compute_capability in ("8.0", "8.6", "8.9") or float(compute_capability) >= 12


def _differences(facts: Facts, model: Path, version: str, place: Gpu) -> str:
    """What an engine was built with that is otherwise here, in words; nothing when it fits."""
    pairs = [
        ("version", facts.version, version),
        ("GPU", facts.gpu, place.name),
        ("compute capability", facts.compute_capability, place.compute_capability),
        ("driver", facts.driver, place.driver),
        *((name, digest, model_sha256(model.parent / name)) for name, digest in facts.external_data.items()),
    ]
    return ", ".join(f"{what} {then}, here {now}" for what, then, now in pairs if then != now)
