"""What training measures on held-out pairs while it runs: how near the pictures are to the true ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from shards.inputs import needs_of
from shards.reading.store import Store
from shards.reading.stream import Loaded, Reading, Stream
from shards.records import Manifest
from trainer.batches import reading_for, to_device
from trainer.losses import feature_distances, semantic_factors
from trainer.method import Batch

BATCH = 8
"""Pairs that a rank paints at a time."""
CELL = 8
STUCK = 0.98
"""Values beyond ±this are black, white or full colour."""
METRICS = ("semantic", "l1", "exemplar_copy", "saturated")
"""What `HeldOut.measure` gives, each under `held_out/`. Less is better.

semantic: the loss network's distance to the target with the paper's adaptive weights (specification 3.2, reading A,
weight 1). l1: mean |ours - target|, in [0, 2]. exemplar_copy: d(ours, target) / (d(ours, target) + d(ours, exemplar)),
with the mean |difference| as d: 0 is the target, 1 the exemplar itself. saturated: share of 8×8 cells that are stuck
at ±1 in some channel, less that of the targets. l1 and exemplar_copy are means over pairs that share a style: only
there the target is the true answer.
"""


@dataclass(frozen=True)
class HeldOut:
    """The first `pairs` held-out pairs, in a fixed order, shared out over ranks."""

    manifest: Manifest
    """Of the held-out shards."""
    store: Store
    """Where the shards lie."""
    pairs: int
    """How many are measured, if there are so many."""
    inputs: tuple[str, ...]
    """What pictures are painted from."""
    rank: int = 0
    """This process's number."""
    ranks: int = 1
    """How many processes share the pairs."""
    max_bad: float = 0.0
    """The share of all samples that may be unreadable; others of their batch stand in for them."""

    @property
    def reading(self) -> Reading:
        """What is read of a pair to paint it and to look at it, whatever training reads."""
        photos = tuple(dict.fromkeys(("target", *needs_of(self.inputs).photos)))
        return reading_for(self.inputs, photos, BATCH)

    def batches(self) -> Iterator[tuple[Loaded, int]]:
        """This rank's batches, equally many on each, with the number of pairs at the front that count."""
        reading = replace(self.reading, rank=self.rank, ranks=self.ranks, epochs=1, max_bad=self.max_bad)
        count = min(self.pairs, self.manifest.samples)
        # As many rounds on every rank, though the last ones may count nothing: between two batches all ranks ask each
        # other whether to go on, and a rank that is done sooner would be missing there.
        rounds = -(-count // (BATCH * self.ranks))
        stream = islice(Stream(self.manifest, self.store, reading), rounds)
        shown = tqdm(stream, "held-out pairs", rounds, leave=False, disable=self.rank != 0, unit="batch")
        for number, loaded in enumerate(shown):
            first = (number * self.ranks + self.rank) * BATCH
            yield loaded, min(BATCH, max(0, count - first))

    def measure(
        self,
        paint: Callable[[Batch], Tensor],
        perceptual: nn.Module | None,
        reduce: Callable[[Tensor], Tensor],
        device: torch.device,
        go_on: Callable[[], bool] = lambda: True,
    ) -> dict[str, float] | None:
        """The metrics that can be measured, by name; None when `go_on` returned False between two batches.

        paint: gives the pictures of a batch. reduce: sums a tensor over ranks.
        """
        sums = torch.zeros(len(METRICS), dtype=torch.float64, device=device)
        counts = torch.zeros_like(sums)
        for loaded, count in self.batches():
            if not go_on():
                return None
            batch = to_device(loaded, self.manifest.schema, device).first(count)
            if count:
                values, counted = _values(paint, perceptual, batch)
                sums += values
                counts += counted
        sums, counts = reduce(sums), reduce(counts)
        return {
            f"held_out/{name}": total / number
            for name, total, number in zip(METRICS, sums.tolist(), counts.tolist(), strict=True)
            if number
        }


def _values(paint: Callable[[Batch], Tensor], perceptual: nn.Module | None, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sums over a batch of what METRICS names, and of how many pairs: two (4,) tensors."""
    with torch.inference_mode():
        ours = paint(batch).float()
        same = batch.same_style.double()
        nothing = torch.zeros_like(same)
        target = _distance(ours, batch.target)
        exemplar = _distance(ours, batch.exemplar) if len(batch.exemplar) else None
        semantic = nothing
        if perceptual is not None:
            distances = feature_distances(perceptual(ours), perceptual(batch.target))
            semantic = (semantic_factors(batch.same_style, "adaptive", 1.0) * distances).sum(1)
        copied = nothing if exemplar is None else target / (target + exemplar).clamp(min=1e-12)
        values = [semantic, target * same, copied * same, _stuck(ours) - _stuck(batch.target)]
        every = torch.ones_like(same)
        counts = [every * (perceptual is not None), same, same * (exemplar is not None), every]
        return (
            torch.stack([value.double().sum() for value in values]),
            torch.stack([count.double().sum() for count in counts]),
        )


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours - theirs).abs().flatten(1).mean(1)


def _stuck(pictures: Tensor) -> Tensor:
    """The share of cells in which some channel is beyond ±STUCK everywhere: (N,)."""
    cells = -F.max_pool2d(-pictures.abs(), CELL)
    return (cells > STUCK).any(1).flatten(1).float().mean(1)
