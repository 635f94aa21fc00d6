"""State dicts in the authors' files: found among what else they hold, and taken over tensor by tensor."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from likeness.command import BadInput
from trainer.convert.weight_files import read_content

WRAPPERS = ("module", "_orig_mod")
"""Parts of names that torch's wrappers of networks add: for several GPUs, and compiled ones."""
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
    notes: tuple[str, ...] = ()
    """What people have to know of how it was read: where in the file it was, and what was left out."""

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
            if not tensor.is_floating_point() or tensor.layout != torch.strided:
                raise BadInput(
                    f"{self.file}: {theirs} (our {mine}) holds {_type_of(tensor)}, not weights in floating point: give "
                    "the file of the network before it was quantised or compressed"
                )
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


def read_weights(file: Path, *anchors: str) -> Weights:
    """The tensors of a network, wherever in a file they stand: a state dict, alone or among other things.

    anchors: tensors of which every such network has one; what stands before it in a file's names is its place there.
    Raises BadInput when there is none, when several fit, when one has values that are no numbers, when reading it would
    run code that it brings, or when it holds anything else.
    """
    left: list[str] = []
    tensors = dict(_flat(read_content(file), file, left))
    places = {
        name[: -len(anchor)] for name in tensors for anchor in anchors if name == anchor or name.endswith(f".{anchor}")
    }
    notes = []
    if len(places) > 1 and "" not in places:
        raise BadInput(
            f"{file} holds several networks that fit: {', '.join(sorted(place[:-1] for place in places))}; save the "
            "state dict of one by itself, as torch.save(STATE, FILE), and give that file"
        )
    if len(places) == 1 and (place := places.pop()):
        depth = place.count(".")
        left += sorted({".".join(name.split(".")[:depth]) for name in tensors if not name.startswith(place)})
        tensors = {name.removeprefix(place): value for name, value in tensors.items() if name.startswith(place)}
        notes.append(f"{file.name}: read from {place[:-1]}")
    if left:
        notes.append(f"{file.name}: left out {', '.join(dict.fromkeys(left))}")
    weights = Weights(file, tensors, tuple(notes))
    _check_numbers(weights)
    return weights


def _check_numbers(weights: Weights) -> None:
    """Raises BadInput where training has left something that is no number, statistics that nothing reads aside."""
    for name, tensor in weights.tensors.items():
        if tensor.is_floating_point() and tensor.layout == torch.strided and name.rpartition(".")[2] not in STATISTICS:
            finite = tensor.float().isfinite()
            if not finite.all():
                raise BadInput(
                    f"{weights.file}: {name} has {int((~finite).sum()):,} of {tensor.numel():,} values that are not "
                    "finite (NaN, or infinite in float32): that training has failed; give a file from before"
                )


def _flat(content: Any, file: Path, left: list[str], prefix: str = "") -> list[tuple[str, Tensor]]:
    """The tensors of a state dict, or of dicts of state dicts, with dotted names, without what wrappers add to them.

    left: takes the names of what is neither. Raises BadInput when something stands among tensors that is none.
    """
    if not isinstance(content, Mapping):
        raise BadInput(f"{file} holds a {type(content).__name__}, not a state dict; give the file of a state dict")
    found: list[tuple[str, Tensor]] = []
    others = []
    for name, value in content.items():
        if isinstance(value, Tensor):
            found.append((".".join(part for part in f"{prefix}{name}".split(".") if part not in WRAPPERS), value))
        elif isinstance(value, Mapping) and not _is_optimizer(value) and _has_tensors(value):
            found += _flat(value, file, left, f"{prefix}{name}.")
        else:
            others.append((f"{prefix}{name}", value))
    # Beside whole state dicts files keep epochs and optimizers; among the tensors of one, nothing belongs but tensors.
    if others and (not found or any(isinstance(value, Tensor) for value in content.values())):
        name, value = others[0]
        raise BadInput(
            f"{file}: {name} is a {type(value).__name__}, not a tensor; give the file of a state dict, such as "
            "torch.save(network.state_dict(), FILE) writes it"
        )
    left += [name for name, _ in others]
    if len({name for name, _ in found}) < len(found):
        raise BadInput(f"{file} holds two networks under one name, with module. and without; save the one by itself")
    return found


def _is_optimizer(state: Mapping[Any, Any]) -> bool:
    return "param_groups" in state


def _has_tensors(state: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(value, Tensor) or (isinstance(value, Mapping) and _has_tensors(value)) for value in state.values()
    )


def _type_of(tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return kind if tensor.layout == torch.strided else f"{kind}, {str(tensor.layout).removeprefix('torch.')}"
