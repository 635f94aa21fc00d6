"""Activation checkpointing: parts of a network that are computed twice, to hold less memory in between."""

from collections.abc import Iterable, Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from likeness.command import BadInput
from trainer.networks.generator import ResidualBlock
from trainer.networks.munit_networks import AdaptiveResidualBlock
from trainer.networks.norms import SampleNorm2d
from trainer.networks.vgg import VGG19

BLOCKS = (ResidualBlock, AdaptiveResidualBlock)
NORMS = (nn.InstanceNorm2d, SampleNorm2d)


def recompute_in(networks: Iterable[nn.Module]) -> None:
    """Has parts of the networks forget their inner activations and compute them again for the backward pass.

    Parts are residual blocks, convolutions with their norm and activation, and what lies between two of the features
    that the loss network gives. Gradients are the same to the last bit: the parts draw no random numbers and keep no
    statistics. Raises BadInput when the networks have no residual block.
    """
    parts = [part for network in networks for part in _parts(network)]
    if not any(isinstance(part, BLOCKS) for part in parts):
        raise BadInput("speed.recompute: no network of this method has residual blocks; leave it false")
    for part in parts:
        if isinstance(part, VGG19):
            part.between = partial(checkpoint, part.between, use_reentrant=False)  # type: ignore[method-assign]
        else:
            part.forward = partial(checkpoint, part.forward, use_reentrant=False)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The parts that are computed again, none within another one."""
    normalised = isinstance(module, nn.Sequential) and any(isinstance(part, NORMS) for part in module)
    if normalised or isinstance(module, (*BLOCKS, VGG19)):
        yield module
        return
    for part in module.children():
        yield from _parts(part)
