"""The pool of past pictures that pix2pixHD may show its discriminator (specification 3)."""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """The last `size` or so pairs of condition and fake. It holds no parameters; its buffers travel in checkpoints.

    While it is not full, a new pair is stored and given back. Once it is full, with probability 1/2 a random stored
    pair is given back and replaced by the new one; else the new one is given back. A picture that is not finite is
    given back and never stored.
    """

    conditions: Tensor
    fakes: Tensor
    stored: Tensor

    def __init__(self, size: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("conditions", torch.zeros(size, channels, height, width))
        self.register_buffer("fakes", torch.zeros(size, 3, height, width))
        self.register_buffer("stored", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def forward(self, conditions: Tensor, fakes: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs to show instead of the given ones: (N, channels, H, W) and (N, 3, H, W).

        draws: (N, 2) standard normal numbers, which decide; samples take their turns in order.
        """
        shown = [
            self._exchange(*pair)
            for pair in zip(conditions.to(self.conditions.dtype), fakes.to(self.fakes.dtype), draws, strict=True)
        ]
        return torch.stack([condition for condition, _ in shown]), torch.stack([fake for _, fake in shown])

    def _exchange(self, condition: Tensor, fake: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        # A discriminator that sees only the newest fakes forgets the older ones (Shrivastava et al. 2017, section 2.3).
        full = self.stored >= self.size
        finite = torch.isfinite(fake).all()
        swapped = full & (draws[0] > 0) & finite
        # A standard normal number becomes a uniform one by its own distribution function; it may round to 1.
        drawn = (torch.special.ndtr(draws[1:]) * self.size).long().clamp(max=self.size - 1)
        place = torch.where(full, drawn, self.stored)
        # No branch on a tensor's value: on a GPU it would make the host wait.
        enters = swapped | (~full & finite)
        results = []
        for pairs, new in ((self.conditions, condition), (self.fakes, fake)):
            old = pairs.index_select(0, place).squeeze(0)
            pairs.index_copy_(0, place, torch.where(enters, new, old).unsqueeze(0))
            results.append(torch.where(swapped, old, new))
        self.stored += ~full & finite
        return results[0], results[1]
