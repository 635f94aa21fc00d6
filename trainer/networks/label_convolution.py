"""Convolutions of label maps: of any channels, or of one-hot ones by looking their weights up (SPADE 8)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.networks.spectral import glorot


class LabelConvolution(nn.Conv2d):
    """A convolution with stride 1 and zero padding that keeps the size; reads a label map in one of two forms.

    Channels, float (N, C, H, W), are convolved. Rows, int64 (N, H, W, kernel²) as `rows_of` makes them of one-hot
    channels, are looked up: of a one-hot channel only one weight per tap counts, so that a pixel of the result is the
    sum of kernel² rows of the weight. Both give (N, out, H, W), equal but for rounding.
    boundary: whether the last channel is a map of 0 and 1 beside one-hot ones.
    """

    def __init__(self, channels: int, outputs: int, kernel: int = 3, boundary: bool = False) -> None:
        super().__init__(channels, outputs, kernel, padding=kernel // 2)
        self.boundary = boundary
        glorot(self)

    def forward(self, label: Tensor) -> Tensor:
        return super().forward(label) if label.is_floating_point() else self._looked_up(label)

    def _looked_up(self, rows: Tensor) -> Tensor:
        assert self.bias is not None
        # Summed at least in float32 and rounded once, as a convolution does it.
        table = self._table()
        table = table.to(torch.promote_types(table.dtype, torch.float32))
        summed = F.embedding_bag(rows.flatten(0, 2), table, mode="sum") + self.bias
        out = summed.view(*rows.shape[:3], -1)
        return out.permute(0, 3, 1, 2).contiguous().to(self.weight.dtype)

    def _table(self) -> Tensor:
        """What each row holds: (kernel² · (rows of a tap + 1), out). The last of a tap is the padding's, 0."""
        taps = self.weight.permute(2, 3, 1, 0).flatten(0, 1)
        if self.boundary:
            labels, edge = taps[:, :-1], taps[:, -1:]
            taps = torch.stack([labels, labels + edge], dim=2).flatten(1, 2)
        return F.pad(taps, (0, 0, 0, 1)).flatten(0, 1)


def numbers_of(label: Tensor, boundary: bool) -> Tensor:
    """What each pixel of a one-hot map is, as a number: (N, C, H, W) to float32 (N, 1, H, W).

    boundary: whether the last channel is a map of 0 and 1 beside them; numbers are then 2 · channel + boundary.
    """
    if not boundary:
        return label.argmax(1, keepdim=True).float()
    # bfloat16 has whole numbers up to 256 only.
    return 2 * label[:, :-1].argmax(1, keepdim=True).float() + label[:, -1:].float()


def rows_of(numbers: Tensor, count: int, kernel: int) -> Tensor:
    """The rows that `LabelConvolution` looks up: int64 (N, H, W, kernel²).

    numbers: whole numbers (N, 1, H, W) in [0, count), of any type. count: 2 · (C - 1) with a boundary, else C.
    """
    height, width = numbers.shape[-2:]
    margin = kernel // 2
    padded = F.pad(numbers[:, 0], (margin,) * 4, value=count).long()
    taps = [
        padded[:, down : down + height, right : right + width] + (down * kernel + right) * (count + 1)
        for down in range(kernel)
        for right in range(kernel)
    ]
    return torch.stack(taps, dim=-1)
