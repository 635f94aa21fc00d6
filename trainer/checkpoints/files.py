"""Checkpoints: folders of safetensors and JSON that appear whole, and continue bit for bit."""

import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from safetensors.torch import save as serialise
from torch import Tensor, nn

from likeness import atomic
from likeness.command import BadInput

STATE = "state.json"
LATEST, BEST = "latest", "best"


@dataclass(frozen=True)
class State:
    """What a checkpoint holds beside tensors.

    images: images seen by all ranks. epoch, position: the place in the stream of samples, the same on any number of
    ranks. ranks: how many processes wrote it. figures: what was measured of these weights, by name.
    converted: of weights that others trained, the SHA-256 of each of their files by its path; empty for a run's own.
    digest: SHA-256 over the checksums of the tensor files; it names the checkpoint's content.
    """

    images: int
    steps: int
    epoch: int
    position: int
    ranks: int
    config: dict[str, Any]
    schema: dict[str, Any]
    manifest: str
    run_id: str | None
    files: dict[str, str]
    figures: dict[str, float] = field(default_factory=dict)
    converted: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hashlib.sha256("".join(sorted(self.files.values())).encode()).hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """Everything that a checkpoint holds, in host memory, apart from what training goes on changing.

    tensors: file stem to named tensors; plain: file stem to JSON content.
    """

    state: State
    tensors: dict[str, dict[str, Tensor]]
    plain: dict[str, Any]


def on_host(tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Copies of tensors in host memory."""
    return {
        stem: {
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in named.items()
        }
        for stem, named in tensors.items()
    }


def folder_of(run: Path, images: int) -> Path:
    return run / f"checkpoint-{images:010d}"


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of torch's, NumPy's and Python's global generators, as tensors and as JSON."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    tensors["numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    version, internal, gauss_next = random.getstate()
    plain = {
        "numpy": [name, int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }
    return tensors, plain


def restore_random(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    name, position, has_gauss, gauss = plain["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = plain["python"]
    random.setstate((version, tuple(internal), gauss_next))


def save(run: Path, snapshot: Snapshot) -> Path:
    """Writes `checkpoint-<images>/` under `run` and moves `latest` to it, last.

    A checkpoint of the same images (the end of a resumed run) is left as it is.
    """
    folder = folder_of(run, snapshot.state.images)
    if not folder.exists():
        write(folder, snapshot)
    atomic.write_text(run / LATEST, folder.name + "\n")
    return folder


def write(folder: Path, snapshot: Snapshot) -> None:
    """Writes a checkpoint as a folder of any name. Raises BadInput when the folder exists."""
    with atomic.new_folder(folder) as partial:
        files = {}
        for stem, named in snapshot.tensors.items():
            file = partial / f"{stem}.safetensors"
            # Python writes the bytes: safetensors' own writer reports a full disk as an error of its own kind.
            content = serialise(named)
            files[file.name] = hashlib.sha256(content).hexdigest()
            file.write_bytes(content)
        for stem, plain in snapshot.plain.items():
            content = (json.dumps(plain) + "\n").encode()
            files[f"{stem}.json"] = hashlib.sha256(content).hexdigest()
            (partial / f"{stem}.json").write_bytes(content)
        described = {**snapshot.state.__dict__, "files": files}
        (partial / STATE).write_text(json.dumps(described, indent=1) + "\n")


def best_value(run: Path, figure: str) -> float:
    """The figure of the checkpoint that `best` names; infinite where there is none."""
    file = run / BEST
    if not file.is_file():
        return math.inf
    state = run / file.read_text().strip() / STATE
    return float(json.loads(state.read_text())["figures"].get(figure, math.inf)) if state.is_file() else math.inf


def prune(run: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints of a run and the best one."""
    best = run / BEST
    spared = best.read_text().strip() if best.is_file() else None
    for folder in sorted(run.glob("checkpoint-*"))[:-keep]:
        if folder.name == spared:
            continue
        # Renamed first, so that a half-deleted folder never bears a checkpoint's name.
        doomed = folder.with_name(f".{folder.name}-deleted")
        os.replace(folder, doomed)
        shutil.rmtree(doomed)


def find(path: Path) -> Path | None:
    """The checkpoint that a path means: itself, or the `latest` one of a run's folder; None in an empty one.

    Raises BadInput when the path does not exist or `latest` names a checkpoint that is gone.
    """
    if (path / STATE).is_file():
        return path
    if path.name.startswith("checkpoint-") and path.is_dir():
        raise BadInput(f"{path}/{STATE} is missing: this is not a whole checkpoint; use another one")
    latest = path / LATEST
    if not latest.is_file():
        return None
    folder = path / latest.read_text().strip()
    if not (folder / STATE).is_file():
        raise BadInput(f"{latest} names {folder.name}, which is not there; write another checkpoint's name into it")
    return folder


class Checkpoint:
    """A checkpoint on the disk; each file is checked against its SHA-256 when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.state = State(**json.loads((folder / STATE).read_text()))
        except (ValueError, TypeError) as error:
            raise BadInput(f"{folder / STATE} is damaged ({error}); use an earlier checkpoint") from error

    def _read(self, name: str) -> bytes:
        file = self.folder / name
        if name not in self.state.files:
            ending = ".safetensors"
            networks = ", ".join(
                sorted(each.removesuffix(ending) for each in self.state.files if each.endswith(ending))
            )
            remedy = "convert it again with the file that has it" if self.state.converted else "use another checkpoint"
            raise BadInput(f"{self.folder} was written without {name}; it has {networks}; {remedy}")
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() != self.state.files.get(name):
            raise BadInput(f"{file} is damaged: its SHA-256 is not the recorded one; use an earlier checkpoint")
        return content

    def tensors(self, stem: str) -> dict[str, Tensor]:
        return load(self._read(f"{stem}.safetensors"))

    def plain(self, stem: str) -> Any:
        return json.loads(self._read(f"{stem}.json"))


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Gives a network its weights. Raises BadInput naming `where` and the first tensor that does not fit."""
    ours = network.state_dict()
    for name, value in ours.items():
        if name not in tensors:
            raise BadInput(f"{where} has no tensor {name}, of shape {tuple(value.shape)}: it is of another network")
        if tensors[name].shape != value.shape:
            raise BadInput(
                f"{where}: {name} has shape {tuple(tensors[name].shape)}, but this network's has {tuple(value.shape)}; "
                "give the network the sizes that those weights are for, in options"
            )
    if extra := tensors.keys() - ours.keys():
        raise BadInput(f"{where} has a tensor {min(extra)}, which this network has not: it is of another network")
    network.load_state_dict(dict(tensors))
