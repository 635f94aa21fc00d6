"""How SPADE's layers begin, and convolutions with spectral norm (specification 4)."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

GAIN = 0.02


def glorot(layer: nn.Conv2d | nn.Linear) -> None:
    """Draws the weight by Glorot's normal rule with gain 0.02; the bias, if any, becomes 0."""
    nn.init.xavier_normal_(layer.weight, gain=GAIN)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def spectral_convolution(
    narrow: int, wide: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
) -> nn.Conv2d:
    """A convolution whose weight, as a matrix (out, in · kernel²), is divided by its largest singular value.

    One step of power iteration in each forward pass in training; none in eval mode, where the estimate at hand counts.
    """
    convolution = nn.Conv2d(narrow, wide, kernel, stride, padding, bias=bias)
    glorot(convolution)
    # Registered on the convolution itself, which it returns.
    spectral_norm(convolution)
    return convolution


def fold(module: nn.Module) -> None:
    """Has every layer hold the weight that it computes with, for good: to be exported, in eval mode."""
    for layer in module.modules():
        if is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight")
