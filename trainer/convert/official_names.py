"""How NVIDIA/pix2pixHD numbers and names the layers of its networks, and which sizes they show.

cxjyxxme/pix2pixSC shares the numbering. Facts alone: layers are numbered by their place in a sequence in which
paddings, norms and activations count, too.
"""

import re
from dataclasses import dataclass
from typing import Any

from likeness.command import BadInput
from trainer.convert.official_weights import Names, Weights

BLOCK_CONVOLUTIONS = (1, 5)
"""Places in a residual block of pix2pixHD: pad, convolution, norm, ReLU, pad, convolution, norm."""
GENERATOR = "model.1.weight"
"""The first tensor of a generator or a feature encoder."""
PATCHGAN = ("scale0_layer0.0.weight", "layer0.0.weight")
"""The first tensor of discriminators, stored stage by stage or whole."""
RGB = 3


@dataclass(frozen=True)
class GeneratorSizes:
    """What a generator's shapes tell."""

    channels: int
    """That it reads."""
    base: int
    """Channels after its first convolution."""
    downsamplings: int
    """Convolutions that halve the picture."""
    blocks: int
    """Residual blocks."""
    painted: int = RGB
    """Channels that it makes."""

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of our methods."""
        return {
            "generator_base": self.base,
            "generator_downsamplings": self.downsamplings,
            "generator_blocks": self.blocks,
        }

    def in_words(self) -> str:
        return f"base {self.base}, {self.downsamplings} downsamplings, {self.blocks} blocks"


@dataclass(frozen=True)
class DiscriminatorSizes:
    """What discriminators' shapes tell."""

    channels: int
    """That each reads."""
    base: int
    """Channels after the first convolution of each."""
    scales: int
    """How many there are."""
    layers: int
    """Convolutions of each that halve the picture."""
    staged: bool = True
    """Whether they are stored stage by stage, for feature matching."""

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of our methods."""
        return {"discriminator_base": self.base, "discriminator_layers": self.layers}

    def in_words(self) -> str:
        return f"base {self.base}, {self.layers} layers"


def generator_sizes(weights: Weights, picture: bool = True) -> GeneratorSizes:
    """Of `model.…`: a global generator or a feature encoder; without `picture`, the body inside a local enhancer.

    Raises BadInput when it is neither.
    """
    base, channels, *_ = weights.shape("model.1.weight", 4)
    inner = weights.numbers(r"model\.(\d+)\.conv_block\.")
    outer = weights.numbers(r"model\.(\d+)\.(?:weight|bias)$")
    # 4 places for the first convolution, 3 for each downsampling; behind them the blocks, then 3 for each upsampling.
    blocks = inner[-1] - inner[0] + 1 if inner else 0
    downsamplings, rest = divmod(inner[0] - 4, 3) if inner else divmod(outer[-1] - (5 if picture else 1), 6)
    if rest or downsamplings < 1:
        raise BadInput(
            f"{weights.file}: its layers, up to model.{max(inner + outer)}, are not numbered as those of a pix2pixHD "
            "generator are"
        )
    painted = weights.shape(f"model.{outer[-1]}.weight", 4)[0] if picture else RGB
    return GeneratorSizes(channels, base, downsamplings, blocks, painted)


def enhancers(weights: Weights) -> list[int]:
    """The numbers of the local enhancers around a global generator; none around one that stands alone."""
    return weights.numbers(r"model(\d+)_\d+\.")


def global_generator(sizes: GeneratorSizes, ours: str, picture: bool = True) -> Names:
    """Names of a global generator, or feature encoder. picture: it has an output layer."""
    layers = {"model.1": f"{ours}.first.1"}
    place = 4
    for level in range(sizes.downsamplings):
        layers[f"model.{place}"] = f"{ours}.down.{level}.0"
        place += 3
    for block in range(sizes.blocks):
        for inner in BLOCK_CONVOLUTIONS:
            layers[f"model.{place}.conv_block.{inner}"] = f"{ours}.trunk.{block}.body.{inner}"
        place += 1
    for level in range(sizes.downsamplings):
        layers[f"model.{place}"] = f"{ours}.up.{level}.0"
        place += 3
    norms = _behind(layers)
    if picture:
        layers[f"model.{place + 1}"] = f"{ours}.last.1"
    return Names(layers, norms=norms)


def local_enhancer(blocks: int, ours: str) -> Names:
    """Names of the one local enhancer: `model1_1` is its front end, `model1_2` the rest."""
    layers = {"model1_1.1": f"{ours}.first.1", "model1_1.4": f"{ours}.down.0"}
    for block in range(blocks):
        for inner in BLOCK_CONVOLUTIONS:
            layers[f"model1_2.{block}.conv_block.{inner}"] = f"{ours}.trunk.{block}.body.{inner}"
    layers[f"model1_2.{blocks}"] = f"{ours}.up.0"
    norms = _behind(layers)
    layers[f"model1_2.{blocks + 4}"] = f"{ours}.last.1"
    return Names(layers, norms=norms)


def enhancer_blocks(weights: Weights) -> int:
    return len(weights.numbers(r"model1_2\.(\d+)\.conv_block\."))


def patchgan_sizes(weights: Weights) -> DiscriminatorSizes:
    """Of `scale0_layer0.…`, or `layer0.…` where there was no feature matching. Raises BadInput when it is neither."""
    staged = not any(re.match(r"layer\d+\.", name) for name in weights.tensors)
    first, after = (r"scale(\d+)_layer", r"scale0_layer(\d+)\.0\.weight$")
    if not staged:
        first, after = (r"layer(\d+)\.", r"layer0\.(\d+)\.weight$")
    base, channels, *_ = weights.shape(PATCHGAN[not staged], 4)
    # The stages that halve, one that does not, and the scores: the last two.
    convolutions = sum(weights.tensors[name].ndim == 4 for name in weights.tensors if re.match(after, name))
    if convolutions < 3:
        raise BadInput(f"{weights.file} has {convolutions} convolutions at full size; a discriminator has at least 3")
    return DiscriminatorSizes(channels, base, weights.numbers(first)[-1] + 1, convolutions - 2, staged)


def patchgan(scale: int, sizes: DiscriminatorSizes, ours: str) -> Names:
    """Names of the discriminator of one scale; the highest number sees full size."""
    # In one sequence: convolution and ReLU, then convolution, norm and ReLU each, and a convolution.
    stages = [
        f"scale{scale}_layer{stage}.0" if sizes.staged else f"layer{scale}.{3 * stage - 1 if stage else 0}"
        for stage in range(sizes.layers + 2)
    ]
    *inner, last = stages
    layers = {theirs: f"{ours}.stages.{stage}.0" for stage, theirs in enumerate(inner)}
    layers[last] = f"{ours}.stages.{len(inner)}"
    # The first and the last stage have no norm.
    return Names(layers, norms=_behind(inner[1:]))


def _behind(layers: dict[str, str] | list[str]) -> dict[str, str]:
    """The norm right behind each layer, to that layer: `model.2` to `model.1`."""
    norms = {}
    for layer in layers:
        sequence, _, place = layer.rpartition(".")
        norms[f"{sequence}.{int(place) + 1}"] = layer
    return norms
