"""State dicts in the authors' files: read without running anything, and taken over tensor by tensor."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from likeness.command import BadInput

PARALLEL = "module."
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Names:
    """Official names to ours, each of ours behind its network's name: `model.1` to `generator.first.1`."""

    layers: dict[str, str] = field(default_factory=dict)
    """What has a weight and a bias."""
    tensors: dict[str, str] = field(default_factory=dict)
    """Single tensors; ours have further axes of length 1."""
    norms: dict[str, str] = field(default_factory=dict)
    """Norms without parameters to the layers that they follow; what old torch stored of them is not used."""

    def __or__(self, other: Self) -> "Names":
        return Names(self.layers | other.layers, self.tensors | other.tensors, self.norms | other.norms)

    def inside(self, prefix: str) -> "Names":
        """The same for a part of a file whose names all begin with `prefix`."""
        return Names(
            {f"{prefix}{theirs}": ours for theirs, ours in self.layers.items()},
            {f"{prefix}{theirs}": ours for theirs, ours in self.tensors.items()},
            {f"{prefix}{norm}": f"{prefix}{layer}" for norm, layer in self.norms.items()},
        )

    @property
    def each(self) -> dict[str, str]:
        """Every tensor's official name to ours."""
        both = {f"{a}.{part}": f"{b}.{part}" for a, b in self.layers.items() for part in ("weight", "bias")}
        return both | self.tensors


@dataclass(frozen=True)
class Weights:
    """The content of one file."""

    file: Path
    """Where it was read."""
    tensors: Mapping[str, Tensor]
    """By official name; those of a file with several state dicts as `a.model.1.weight`."""

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Raises BadInput when there is no such tensor, or one with another number of axes."""
        if name not in self.tensors:
            raise BadInput(f"{self.file} has no tensor {name}; it holds {self._content()}: is it the right file?")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != axes:
            raise BadInput(f"{self.file}: {name} has shape {shape}, not one of {axes} axes: it is of another network")
        return shape

    def numbers(self, pattern: str) -> list[int]:
        """The numbers, ascending, that the first group of `pattern` finds at the start of names."""
        return sorted({int(match[1]) for name in self.tensors if (match := re.match(pattern, name))})

    def take(self, names: Names, ours: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Our names to the file's tensors, in float32, and the names of the statistics that were left out.

        ours: tensors of the shapes that are wanted. Raises BadInput naming the first tensor that is missing, has
        another shape, or is not of these networks.
        """
        taken = {}
        for theirs, mine in names.each.items():
            wanted = ours[mine].shape
            if theirs not in self.tensors:
                raise BadInput(f"{self.file} has no tensor {theirs} (our {mine}), of shape {tuple(wanted)}")
            tensor = self.tensors[theirs]
            shape = wanted[: tensor.ndim] if theirs in names.tensors else wanted
            if tensor.shape != shape:
                raise BadInput(
                    f"{self.file}: {theirs} (our {mine}) has shape {tuple(tensor.shape)} instead of {tuple(shape)}: "
                    "it is of another network than its neighbours"
                )
            taken[mine] = tensor.float().reshape(wanted).contiguous()
        left = [name for name in self.tensors if name not in names.each]
        for name in left:
            self._check_statistic(name, names)
        return taken, left

    def _check_statistic(self, name: str, names: Names) -> None:
        """Raises BadInput unless it is what torch stores of a norm that normalises each picture by itself."""
        norm, _, kind = name.rpartition(".")
        shape = tuple(self.tensors[name].shape)
        layer = names.norms.get(norm)
        if layer is None or kind not in STATISTICS:
            hint = "; norms with parameters (--norm batch) are of another network" if layer else ""
            raise BadInput(f"{self.file} has a tensor {name}, of shape {shape}, which our networks have not{hint}")
        wanted = () if kind == STATISTICS[-1] else tuple(self.tensors[f"{layer}.bias"].shape)
        if shape != wanted:
            raise BadInput(f"{self.file}: {name} has shape {shape} instead of {wanted}: it is of another network")

    def _content(self) -> str:
        names = list(self.tensors)
        return f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 4 else ", ".join(names) or "nothing"


def read_weights(file: Path) -> Weights:
    """Reads a state dict, or a dict of several, from a file of `torch.save` or a .safetensors file.

    Raises BadInput when there is none, when reading it would run code that it brings, or when it holds anything else.
    """
    if not file.is_file():
        raise BadInput(f"{file} does not exist; give the file that the authors' training wrote, as latest_net_G.pth")
    if file.suffix == ".safetensors":
        try:
            content: Any = load_file(file)
        except SafetensorError as error:
            raise BadInput(f"{file} is not a whole .safetensors file ({error}); fetch it again") from error
    else:
        content = _load(file)
    tensors = dict(_flat(content, file))
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): value for name, value in tensors.items()}
    return Weights(file, tensors)


def _load(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{file} holds more than tensors, and is not read, as that could run any program. Where you trust it, load "
            "it with its own code and save torch.save(network.state_dict(), FILE); then give that file"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise BadInput(f"{file} is not a whole file of torch.save ({_line(error)}); fetch it again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _flat(content: Any, file: Path, prefix: str = "") -> list[tuple[str, Tensor]]:
    """The tensors of a state dict, or of a dict of state dicts, with dotted names."""
    if not isinstance(content, Mapping):
        raise BadInput(f"{file} holds a {type(content).__name__}, not a state dict; give the file of a state dict")
    found = []
    for name, value in content.items():
        if isinstance(value, Tensor):
            found.append((f"{prefix}{name}", value))
        elif isinstance(value, Mapping) and not prefix:
            inner = _flat(value, file, f"{name}.")
            parallel = f"{name}.{PARALLEL}"
            whole = all(key.startswith(parallel) for key, _ in inner)
            found += [(f"{name}.{key.removeprefix(parallel)}", value) for key, value in inner] if whole else inner
        else:
            raise BadInput(
                f"{file}: {prefix}{name} is a {type(value).__name__}, not a tensor; give the file of a state dict, "
                "such as torch.save(network.state_dict(), FILE) writes it"
            )
    return found
