"""What a method is to everybody else: players that take turns, and a way to make a picture."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from shards.inputs import STYLE_LENGTH
from shards.labels.instance_features import CHANNELS
from shards.records import SIZE_MULTIPLE, LabelSchema
from trainer.options import Options
from trainer.schedules import Schedule


@dataclass(frozen=True)
class Batch:
    """Samples on the device, as networks read them. What a method does not read is an empty tensor."""

    label: Tensor
    """The label map to paint: (N, C_L, H, W) in [0, 1]."""
    target: Tensor
    """The photo of that label map: (N, 3, H, W) RGB in [-1, 1]."""
    exemplar_label: Tensor
    """The exemplar's label map: (N, C_L, H, W) in [0, 1]."""
    exemplar: Tensor
    """The photo whose style is wanted: (N, 3, H, W) RGB in [-1, 1]."""
    consistent: Tensor
    """Another photo in the exemplar's style: (N, 3, H, W) RGB in [-1, 1]."""
    inconsistent: Tensor
    """A photo in another style: (N, 3, H, W) RGB in [-1, 1]."""
    same_style: Tensor
    """(N,), 1 where target and exemplar share a style."""
    instances: Tensor = field(default_factory=lambda: torch.empty(0))
    """(N, H, W) int32, the target's objects by number; a number means nothing in another picture."""
    noise: Tensor = field(default_factory=lambda: torch.empty(0))
    """(N, method.noise) standard normal, drawn by sample and epoch: the same on any number of ranks and parts."""

    def first(self, count: int) -> "Batch":
        """The first `count` samples."""
        return self._each(lambda tensor: tensor[:count])

    def parts(self, count: int) -> list["Batch"]:
        """The batch cut into `count` equal parts."""
        cut = {each.name: getattr(self, each.name).chunk(count) for each in fields(self)}
        empty = torch.empty(0, device=self.same_style.device)
        return [
            Batch(**{name: pieces[number] if len(pieces) == count else empty for name, pieces in cut.items()})
            for number in range(count)
        ]

    def to(self, memory_format: torch.memory_format) -> "Batch":
        """The same with pictures and label maps in another memory format."""
        return self._each(lambda tensor: tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(**{each.name: change(getattr(self, each.name)) for each in fields(self)})


Losses = dict[str, Tensor]
Regions = Literal["instances", "classes"]
"""What features are means over: each instance, or all pixels of a class."""


@dataclass(frozen=True)
class Stage:
    """What a method does at some time of its training."""

    players: Mapping[str, tuple[str, ...]]
    """Player to the networks that its optimizer steps, in the order in which they play unless `turns` says another."""
    synthesizers: tuple[str, ...]
    """The networks that `synthesize` runs."""


@dataclass(frozen=True)
class PublishedCount:
    """What a publication, or its specification, says of the size of one network."""

    network: str
    """What it is called on the page of counts."""
    channels: int
    """Channels of the pictures that it reads."""
    parameters: int
    """All of them."""
    macs: Mapping[tuple[int, int], int]
    """Multiply-accumulates for one picture, by its height and width in pixels."""
    build: Callable[[int], nn.Module]
    """Makes the network for so many channels."""


@dataclass(frozen=True)
class Ablation:
    """A variant of a method, for which the tables have a row."""

    title: str
    """What the row is called."""
    config: str
    """Its settings: the name of a file in trainer/configs/ablations, without `.yaml`."""
    everywhere: bool = False
    """Whether it is trained on every world; on faces alone otherwise, as the papers ablate."""
    one_seed: bool = False
    """Whether it is trained under one seed whatever the budget."""


class Method(ABC):
    """One published system: its networks, its losses in the order they are played, and how it makes a picture.

    A file in `trainer/methods/` assigns its subclass to `METHOD`. What depends on options is set in `__init__`.
    """

    options_type: ClassVar[type[Options]]
    """What the config's `options` section may hold."""
    players: Mapping[str, tuple[str, ...]]
    """Player to the networks that its optimizer steps, in the order in which they play unless `turns` says another."""
    synthesizers: tuple[str, ...]
    """The networks that `synthesize` runs; their moving averages are kept, evaluated and exported. One that no player
    ever steps is frozen: it stays as it was built, or as `start` gave it, and is in eval mode."""
    inputs: tuple[str, ...]
    """What `synthesize` takes, in order; the inputs of the exported model. See `shards.inputs` for what they are."""
    ways: tuple[tuple[str, ...], ...] = ()
    """Other sets of inputs that `synthesize` takes, each for an exported model of its own."""
    reads: tuple[str, ...]
    """The photos of a sample that training reads; the reader decodes no others. Instance maps are read where they are
    among `inputs`."""
    resize_below: int = 0
    """`perceptual.resize_below` where no config says it: a height in pixels; 0 where the paper never resizes."""
    noise: int = 0
    """Normal draws that training needs of each sample. A method draws no random numbers itself."""
    stage_starts: tuple[int, ...] = (0,)
    """Images seen at which `stage` changes, ascending from 0."""
    phases: Mapping[str, Sequence[tuple[int, float]]] = {}
    """Options that change a loss's weight as training goes on, by name: pairs of (first image, value), ascending. None
    that no loss reads. What is said before a run of phases that it never reaches is read from here."""
    size_multiple: int = SIZE_MULTIPLE
    """Pictures whose sides are multiples of this keep their size."""
    style_length: int = STYLE_LENGTH
    """Numbers of a style code, of a method that reads one; it travels with the exported model."""
    feature_channels: int = CHANNELS
    """Channels of features of instances, of a method that reads them; they travel with the exported model."""
    alone: str | None = None
    """Why it trains on a single process only; None where it does not matter."""
    needed_from_start: tuple[str, ...] = ()
    """Networks that paint from the first image and do not learn then: a fresh run's `start` has to give them. Those
    that `__init__` builds with their weights need no `start`, and are not named here."""
    settling: int = 0
    """Training samples, so many exactly, from which averaged networks get norm statistics of their own, see `settle`;
    0: they have those of the networks that learn."""

    networks: dict[str, nn.Module]
    perceptual: nn.Module | None = None
    """The frozen loss network; the loop sets it where `needs_perceptual`."""
    needs_perceptual: bool = False

    @abstractmethod
    def __init__(self, options: Any, schema: LabelSchema) -> None:
        """Builds `networks` for the schema's channels; weights are drawn from torch's global generator."""

    @abstractmethod
    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        """One iteration: yields the players in the order of `turns`, each with its weighted losses, and no more.

        Their sum is what is differentiated; it may be negative. Every parameter of a player gets a gradient in each of
        its turns. `images` counts the images seen before this batch: schedules do not depend on the batch size.
        """

    @abstractmethod
    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        """Makes pictures (N, 3, H, W) in (-1, 1) from the tensors named in `inputs`, or in one of `ways`.

        networks: those that the stage at hand synthesizes with.
        """

    def stage(self, images: int) -> Stage:
        """Who plays and who paints after so many images.

        Between two of `stage_starts` the players are the same. Right at a start those who paint may still be the ones
        before it: whoever begins to learn has not learned yet.
        """
        return Stage(self.players, self.synthesizers)

    def turns(self, images: int) -> tuple[str, ...]:
        """The players of the iteration after so many images, in order: those of its stage, once each.

        A method may repeat a player, or leave one out: it then keeps its weights and moments as they are. Logged
        losses and gradient norms of a player are means over its turns.
        """
        return tuple(self.stage(images).players)

    def rate(self, player: str, images: int, schedule: Schedule) -> float:
        """The factor of a player's learning rate for its steps after so many images."""
        return schedule.at(images)

    def learning(self) -> dict[str, frozenset[str]]:
        """Every player of any stage, and all networks that it ever steps."""
        networks: dict[str, frozenset[str]] = {}
        for start in self.stage_starts:
            for player, names in self.stage(start).players.items():
                networks[player] = networks.get(player, frozenset()) | frozenset(names)
        return networks

    def learning_networks(self) -> dict[str, nn.Module]:
        """The networks that some player ever steps; all others are frozen."""
        names = frozenset().union(*self.learning().values())
        return {name: network for name, network in self.networks.items() if name in names}

    def settle(self, networks: Mapping[str, nn.Module], batch: Batch) -> None:
        """Runs averaged networks on a training batch, in which their norms measure statistics of their own.

        Only where `settling` is more than 0; without gradients. networks: those that the stage at hand paints with,
        all but their norms in eval mode.
        """
        self.synthesize(networks, self.inputs_of(networks, batch))

    def taken_over(self, name: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What the network of that name takes of its namesake's tensors in the checkpoint that a run starts from."""
        return tensors

    def inputs_of(self, networks: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        """What `synthesize` takes to paint a batch, by name. networks: those of the stage, averaged or not."""
        return {name: getattr(batch, name) for name in self.inputs}

    # What commands and messages know of a method, they know from here: no other file names one.

    title: ClassVar[str] = ""
    """What tables and counts call it; empty for the name of its file."""
    note: ClassVar[str] = ""
    """What tables say in brackets behind its title."""
    one_seed: ClassVar[bool] = False
    """Whether the tables train it under one seed whatever the budget, because it takes long."""
    ablations: ClassVar[tuple[Ablation, ...]] = ()
    """Its variants that the tables have rows for."""
    published_counts: ClassVar[tuple[PublishedCount, ...]] = ()
    """The sizes of its networks that `python -m trainer.counts` checks."""
    encoders: tuple[str, ...] = ()
    """The networks, among `synthesizers`, that `encode` runs; none for a method that encodes no features."""
    regions: Regions = "instances"
    """What `encode` takes the means of features over."""

    def encode(self, networks: Mapping[str, nn.Module], batch: Batch) -> tuple[Tensor, Tensor]:
        """The features of a batch's targets, and the regions that they are means over; called where it has `encoders`.

        Features are (N, C, h, w) in (-1, 1), constant within a region; regions are (N, h, w): numbers of instances, or
        of label channels. h and w are H and W, or whole fractions of them.
        """
        raise NotImplementedError(f"{type(self).__name__} encodes no features")

    def reach(self) -> int | None:
        """How many pixels away, at most, a pixel of an input changes the picture; None where nobody has worked it out.

        But for norms: their means and deviations are those of whole pictures, so that a little changes everywhere.
        """
        return None

    def signs(self, metrics: Mapping[str, float]) -> dict[str, str]:
        """Signs that it is ill, beyond those that every GAN shows: what it is, and what it means.

        metrics: means over an interval, by name, such as "style/fake". A sign begins with the beginning of the names
        that it is read from, and a space: "style is uninformed". It is over once a line has such names without it.
        """
        return {}


class Synthesizer(nn.Module):
    """A method's `synthesize` as a module of its own, for evaluation and export.

    images: seen when the networks were as they are. inputs: what `forward` takes, in order; None for the method's own.
    """

    def __init__(
        self, method: Method, networks: Mapping[str, nn.Module], images: int, inputs: tuple[str, ...] | None = None
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({name: networks[name] for name in method.stage(images).synthesizers})
        self.inputs = method.inputs if inputs is None else inputs
        self._method = method

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._method.synthesize(dict(self.networks.items()), dict(zip(self.inputs, inputs, strict=True)))

    def paint(self, batch: Batch) -> Tensor:
        """The pictures of a batch, without gradients: (N, 3, H, W) in (-1, 1)."""
        with torch.inference_mode():
            inputs = self._method.inputs_of(dict(self.networks.items()), batch)
            image: Tensor = self(*(inputs[name] for name in self.inputs))
        return image
