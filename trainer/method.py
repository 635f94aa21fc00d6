"""What a method is to everybody else: players that take turns, and a way to make a picture."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from shards.records import LabelSchema
from trainer.options import Options


@dataclass(frozen=True)
class Batch:
    """Samples on the device, as networks read them.

    label, exemplar_label: (N, C_L, H, W) in [0, 1]. target, exemplar, consistent, inconsistent:
    (N, 3, H, W) RGB in [-1, 1]. same_style: (N,), 1 where target and exemplar share a style.
    What a method does not name in `reads` is an empty tensor.
    """

    label: Tensor
    target: Tensor
    exemplar_label: Tensor
    exemplar: Tensor
    consistent: Tensor
    inconsistent: Tensor
    same_style: Tensor

    def first(self, count: int) -> "Batch":
        """The first `count` samples."""
        return self._each(lambda tensor: tensor[:count])

    def parts(self, count: int) -> list["Batch"]:
        """The batch cut into `count` equal parts."""
        cut = {field.name: getattr(self, field.name).chunk(count) for field in fields(self)}
        empty = torch.empty(0, device=self.same_style.device)
        return [
            Batch(**{name: pieces[number] if len(pieces) == count else empty for name, pieces in cut.items()})
            for number in range(count)
        ]

    def to(self, memory_format: torch.memory_format) -> "Batch":
        """The same with pictures and label maps in another memory format."""
        return self._each(lambda tensor: tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


Losses = dict[str, Tensor]


class Method(ABC):
    """One published system: its networks, its losses in the order they are played, and how it makes a picture.

    A file in `trainer/methods/` assigns its subclass to `METHOD`.
    """

    options_type: ClassVar[type[Options]]
    """What the config's `options` section may hold."""
    players: ClassVar[Mapping[str, tuple[str, ...]]]
    """Player to the networks that its optimizer steps, in the order in which `play` yields them."""
    synthesizers: ClassVar[tuple[str, ...]]
    """The networks that `synthesize` runs; their moving averages are kept, evaluated and exported."""
    inputs: ClassVar[tuple[str, ...]]
    """The arguments of `synthesize` after the networks, in order; the inputs of the exported model."""
    reads: ClassVar[tuple[str, ...]]
    """The photos of a sample that training reads; the reader decodes no others."""

    networks: dict[str, nn.Module]
    perceptual: nn.Module | None = None
    """The frozen loss network; the loop sets it where `needs_perceptual`."""
    needs_perceptual: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, options: Any, schema: LabelSchema) -> None:
        """Builds `networks` for the schema's channels; weights are drawn from torch's global generator."""

    @abstractmethod
    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        """One iteration: yields each player with its weighted losses; their sum is what is differentiated.

        `images` counts the images seen before this batch: schedules do not depend on the batch size.
        """

    @abstractmethod
    def synthesize(self, networks: Mapping[str, nn.Module], *inputs: Tensor) -> Tensor:
        """Makes pictures (N, 3, H, W) in (-1, 1) from the tensors named in `inputs`."""


class Synthesizer(nn.Module):
    """A method's `synthesize` as a module of its own, for evaluation and export."""

    def __init__(self, method: Method, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({name: networks[name] for name in method.synthesizers})
        self._synthesize = method.synthesize

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._synthesize(dict(self.networks.items()), *inputs)


def synthesize_batch(synthesizer: nn.Module, method: Method, batch: Batch) -> Tensor:
    """Runs a synthesizer on a batch, without gradients. Returns (N, 3, H, W) in (-1, 1)."""
    with torch.inference_mode():
        image: Tensor = synthesizer(*(getattr(batch, name) for name in method.inputs))
    return image
