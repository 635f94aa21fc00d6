"""Activation checkpointing: parts of a network that are computed twice, to hold less memory in between.

Networks say themselves which parts: a block by a class attribute `recomputed`, the name of its method that is computed
again; a norm by `recomputes_sequence`, for the sequence that it stands in.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from likeness.command import BadInput

WHOLE = "forward"
"""The method of a block that is computed again as one: a residual block, or a sequence with a norm."""


def recompute_in(networks: Iterable[nn.Module]) -> None:
    """Has parts of the networks forget their inner activations and compute them again for the backward pass.

    Parts are residual blocks, convolutions with their norm and activation, and what lies between two of the features
    that the loss network gives. Gradients are the same to the last bit: the parts draw no random numbers and keep no
    statistics. Raises BadInput when the networks have no residual block.
    """
    parts = [part for network in networks for part in _parts(network)]
    # Sequences alone save too little to pay for what they cost.
    if not any(_recomputed(part) == WHOLE for part, _ in parts):
        raise BadInput("speed.recompute: no network of this method has residual blocks; leave it false")
    for part, method in parts:
        setattr(part, method, partial(checkpoint, getattr(part, method), use_reentrant=False))


def _parts(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The parts that are computed again, none within another one, each with the method that is."""
    method = _recomputed(module)
    if method is None and isinstance(module, nn.Sequential):
        normalised = any(getattr(layer, "recomputes_sequence", False) for layer in module)
        method = WHOLE if normalised else None
    if method is not None:
        yield module, method
        return
    for part in module.children():
        yield from _parts(part)


def _recomputed(module: nn.Module) -> str | None:
    """What the block says of itself; None for one that says nothing."""
    method: str | None = getattr(module, "recomputed", None)
    return method
