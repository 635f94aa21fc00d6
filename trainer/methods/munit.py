"""MUNIT: Huang et al., ECCV 2018, between labels as pictures and photos (specification 1 to 3)."""

from collections.abc import Callable

from torch import Tensor

from trainer.method import Batch, Losses
from trainer.methods._two_domains import Codes, MunitOptions, TwoDomains


class Munit(TwoDomains):
    """Unpaired: a label never meets its own photo, and photos are painted in styles drawn from the prior alone."""

    options_type = MunitOptions
    reads = ("exemplar",)

    def _painted_styles(self, batch: Batch, turn: int, encoded: Callable[[], Tensor]) -> Tensor:
        return self._prior(batch, turn, 1)

    def _further_losses(self, batch: Batch, codes: Codes) -> Losses:
        return {}


METHOD = Munit
