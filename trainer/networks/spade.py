"""SPADE's generator: Park et al., CVPR 2019 (specification 2.1 to 2.3)."""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.networks.label_convolution import LabelConvolution, numbers_of, rows_of
from trainer.networks.norms import BatchNorm2d
from trainer.networks.spectral import glorot, spectral_convolution

Depth = Literal["normal", "more", "most"]
Conditioning = Literal["modulation", "concatenation"]
DOUBLINGS: dict[Depth, int] = {"normal": 5, "more": 6, "most": 7}
"""How often the start's size is doubled."""
SLOPE = 0.2
"""Of leaky ReLU."""


class SpadeNorm(nn.Module):
    """Batch norm without parameters, then a scale and a shift for every pixel, read from the label map.

    features: (N, C, h, w). label: of the same size, in a form that `LabelConvolution` takes. Gives (N, C, h, w).
    Parameters at the defaults: 1,152·label channels + 128 + 2,306·C.
    """

    def __init__(self, channels: int, labels: int, hidden: int = 128, kernel: int = 3, boundary: bool = False) -> None:
        super().__init__()
        self.norm = BatchNorm2d(channels, affine=False)
        self.shared = LabelConvolution(labels, hidden, kernel, boundary)
        self.scale = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)
        self.shift = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)
        for layer in (self.scale, self.shift):
            glorot(layer)

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        # No spectral norm and no norm on the way from the label map: a norm would wash out what a uniform map says.
        read = F.relu(self.shared(label))
        out: Tensor = self.norm(features) * (1 + self.scale(read)) + self.shift(read)
        return out


class ConcatenatedNorm(nn.Module):
    """What the paper compares with: batch norm with a scale and a shift per channel, and the label map as further
    channels behind it: (N, C, h, w) and (N, label channels, h, w) to (N, C + label channels, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(channels)

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        return torch.cat([self.norm(features), label.to(features.dtype)], dim=1)


class SpadeBlock(nn.Module):
    """A residual block, each of whose convolutions has a norm that reads the label map before it.

    (N, narrow, h, w) to (N, wide, h, w). The shortcut is the identity where they are equal; else a norm and a 1×1
    convolution, without activation.
    """

    def __init__(
        self, narrow: int, wide: int, labels: int, hidden: int, kernel: int, boundary: bool, conditioning: Conditioning
    ) -> None:
        super().__init__()
        middle = min(narrow, wide)
        beside = labels if conditioning == "concatenation" else 0

        def norm(channels: int) -> nn.Module:
            if conditioning == "concatenation":
                return ConcatenatedNorm(channels)
            return SpadeNorm(channels, labels, hidden, kernel, boundary)

        self.first_norm, self.second_norm = norm(narrow), norm(middle)
        self.first = spectral_convolution(narrow + beside, middle, 3, padding=1)
        self.second = spectral_convolution(middle + beside, wide, 3, padding=1)
        self.shortcut_norm = norm(narrow) if narrow != wide else None
        self.shortcut = spectral_convolution(narrow + beside, wide, 1, bias=False) if narrow != wide else None

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        kept = features
        if self.shortcut_norm is not None and self.shortcut is not None:
            kept = self.shortcut(self.shortcut_norm(features, label))
        changed = self.first(F.leaky_relu(self.first_norm(features, label), SLOPE))
        changed = self.second(F.leaky_relu(self.second_norm(changed, label), SLOPE))
        out: Tensor = kept + changed
        return out


class SpadeGenerator(nn.Module):
    """A label map (N, labels, H, W), boundaries among it, to a picture (N, 3, H, W) in (-1, 1).

    Sides are multiples of 2^k, k = 5, 6 or 7 by depth. The first features, of H/2^k × W/2^k, are a convolution of the
    label map; with `start` a dense layer makes them of a style code (N, style_numbers), and H and W are fixed.
    Parameters at the defaults: 91,969,731 + 29,952·labels; of a style code 108,811,459 + 20,736·labels at a start of
    8×8.

    base: channels of the last block at depth normal. hidden, kernel: of the convolutions that read the label map.
    start: height and width of the first features; None: no style code. boundary: whether the last channel of the label
    map is one of 0 and 1 beside the labels. lookup: reads label maps by looking weights up; the labels must be one-hot.
    """

    def __init__(
        self,
        labels: int,
        base: int = 64,
        depth: Depth = "normal",
        *,
        hidden: int = 128,
        kernel: int = 3,
        start: tuple[int, int] | None = None,
        style_numbers: int = 256,
        boundary: bool = False,
        conditioning: Conditioning = "modulation",
        lookup: bool = False,
    ) -> None:
        super().__init__()
        wide = 16 * base
        widths = [wide, wide, wide, wide, 8 * base, 4 * base, 2 * base, base]
        # The block number by which features have been doubled: "normal" keeps its third block at the second's size.
        doubled = [False, True, depth != "normal", True, True, True, True]
        if depth == "most":
            widths.append(base // 2)
            doubled.append(True)
        self.doubled, self.wide = tuple(doubled), wide
        self.depth, self.kernel, self.boundary, self.size = depth, kernel, boundary, start
        self.rows = 2 * (labels - 1) if boundary else labels
        self.lookup = lookup and conditioning == "modulation"
        self.start: nn.Conv2d | nn.Linear
        if start is None:
            self.start = nn.Conv2d(labels, wide, 3, padding=1)
        else:
            self.start = nn.Linear(style_numbers, wide * start[0] * start[1])
        self.blocks = nn.ModuleList(
            SpadeBlock(narrow, broad, labels, hidden, kernel, boundary, conditioning)
            for narrow, broad in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)
        for layer in (self.start, self.last):
            glorot(layer)

    def forward(self, label: Tensor, style: Tensor | None = None) -> Tensor:
        features = self._first_features(label, style)
        # ONNX has no sum of rows: nine look-ups and their indices would be hundreds of nodes more.
        lookup = self.lookup and not torch.compiler.is_exporting()
        condition = numbers_of(label, self.boundary) if lookup else label
        step = 2 ** DOUBLINGS[self.depth]
        read = self._every(condition, step, lookup)
        for number, block in enumerate(self.blocks):
            if self.doubled[number]:
                features = F.interpolate(features, scale_factor=2, mode="nearest")
                step //= 2
                read = self._every(condition, step, lookup)
            features = block(features, read)
        return torch.tanh(self.last(F.leaky_relu(features, SLOPE)))

    def _first_features(self, label: Tensor, style: Tensor | None) -> Tensor:
        share = 2 ** DOUBLINGS[self.depth]
        if self.size is None:
            out: Tensor = self.start(label[..., ::share, ::share])
            return out
        assert style is not None, "a generator of style codes"
        if tuple(label.shape[-2:]) != (self.size[0] * share, self.size[1] * share):
            raise ValueError(f"label maps of {tuple(label.shape[-2:])}; the start is made for {self.size} · {share}")
        first: Tensor = self.start(style)
        return first.view(-1, self.wide, *self.size)

    def _every(self, condition: Tensor, step: int, lookup: bool) -> Tensor:
        """The label map at the features' size: of each cell of step² pixels the upper left one (specification 2.1)."""
        small = condition[..., ::step, ::step]
        return rows_of(small, self.rows, self.kernel) if lookup else small
