"""`python -m trainer.evaluate`: how near a checkpoint's pictures are to the true ones, on held-out pairs."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from shards import atomic
from shards.command import BadInput, run_command
from shards.read import Loaded, Reading, Stream, open_shards
from shards.records import LabelSchema, Manifest
from shards.store import Store
from trainer import checkpoint as checkpoints
from trainer import config as configs
from trainer import methods
from trainer.batches import to_device
from trainer.losses import feature_distances, semantic_factors
from trainer.method import Batch, Method
from trainer.rendezvous import leave
from trainer.vgg import load_vgg19

BATCH = 8
"""Pairs that a rank paints at a time."""
CELL = 8
STUCK = 0.98
"""Values beyond ±this are black, white or full colour."""
FIGURES = ("semantic", "l1", "exemplar_copy", "saturated")
"""What `HeldOut.measure` gives, each under `held_out/`. Less is better.

semantic: the loss network's distance to the target with the paper's adaptive weights (specification 3.2, reading A,
weight 1). l1: mean |ours - target|, in [0, 2]. exemplar_copy: d(ours, target) / (d(ours, target) + d(ours, exemplar)),
with the mean |difference| as d: 0 is the target, 1 the exemplar itself. saturated: share of 8×8 cells that are stuck
at ±1 in some channel, less that of the targets. l1 and exemplar_copy are means over pairs that share a style: only
there the target is the true answer.
"""


@dataclass(frozen=True)
class HeldOut:
    """The first `pairs` held-out pairs, in a fixed order, shared out over ranks.

    max_bad: the share of all samples that may be unreadable; others of their batch stand in for them.
    """

    manifest: Manifest
    store: Store
    pairs: int
    method: type[Method]
    rank: int = 0
    ranks: int = 1
    max_bad: float = 0.0

    def batches(self) -> Iterator[tuple[Loaded, int]]:
        """This rank's batches, equally many on each, with the number of pairs at the front that count."""
        photos = ("target", "exemplar") if "exemplar" in self.method.inputs else ("target",)
        labels = ("target", "exemplar") if "exemplar_label" in self.method.inputs else ("target",)
        reading = Reading(photos, labels, BATCH, rank=self.rank, ranks=self.ranks, epochs=1, max_bad=self.max_bad)
        count = min(self.pairs, self.manifest.samples)
        rounds = -(-count // (BATCH * self.ranks))
        stream = islice(Stream(self.manifest, self.store, reading), rounds)
        shown = tqdm(stream, "held-out pairs", rounds, leave=False, disable=self.rank != 0, unit="batch")
        for number, loaded in enumerate(shown):
            first = (number * self.ranks + self.rank) * BATCH
            yield loaded, min(BATCH, max(0, count - first))

    def measure(
        self,
        synthesizer: nn.Module,
        perceptual: nn.Module | None,
        reduce: Callable[[Tensor], Tensor],
        device: torch.device,
        going_on: Callable[[], bool] = lambda: True,
    ) -> dict[str, float] | None:
        """The figures that can be measured, by name; None when `going_on` said no between two batches.

        synthesizer: takes the method's inputs. reduce: sums a tensor over ranks.
        """
        sums = torch.zeros(len(FIGURES), dtype=torch.float64, device=device)
        counts = torch.zeros_like(sums)
        for loaded, count in self.batches():
            if not going_on():
                return None
            batch = to_device(loaded, self.manifest.schema, device).first(count)
            if count:
                values, counted = _values(synthesizer, self.method, perceptual, batch)
                sums += values
                counts += counted
        sums, counts = reduce(sums), reduce(counts)
        return {
            f"held_out/{name}": total / number
            for name, total, number in zip(FIGURES, sums.tolist(), counts.tolist(), strict=True)
            if number
        }


def _values(
    synthesizer: nn.Module, method: type[Method], perceptual: nn.Module | None, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Sums over a batch of what FIGURES names, and of how many pairs: two (4,) tensors."""
    with torch.inference_mode():
        ours = synthesizer(*(getattr(batch, name) for name in method.inputs)).float()
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


HELP = """\
Paints held-out pairs with a checkpoint's averaged generator and measures how near the pictures are to the true ones.
Prints JSON; the figures are means, less is better:

  held_out/semantic       the loss network's distance to the target, with the paper's adaptive weights
  held_out/l1             mean |ours - target| in [0, 2]
  held_out/exemplar_copy  0: the target, 0.5: as near to the exemplar, 1: the exemplar itself
  held_out/saturated      share of 8×8 cells stuck at black, white or full colour, less that of the targets

l1 and exemplar_copy count pairs whose target shares the exemplar's style: only there the target is the true answer.
"""


def _command(arguments: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.evaluate",
        description=HELP,
        epilog="example: python -m trainer.evaluate --checkpoint runs/face --data data/face/test --out face.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="DIR", help="a run's folder (its latest), or a checkpoint")
    add("--data", metavar="DIR|URL", help="held-out shards; the run's own by default")
    add("--pairs", type=int, default=2500, help="how many pairs, from the front of a fixed order (default: 2500)")
    add("--out", type=Path, metavar="FILE", help="writes the JSON here as well")
    options = parser.parse_args(arguments)
    result = evaluate(options.checkpoint, options.data, options.pairs)
    if result is None:
        return
    text = json.dumps(result, indent=1)
    if options.out is not None:
        atomic.write_text(options.out, text + "\n")
    print(text)


def evaluate(checkpoint: Path, data: str | None, pairs: int) -> dict[str, Any] | None:
    """Measures a checkpoint, with as many processes as the launcher started; None but on rank 0.

    Raises BadInput when there is no checkpoint, no held-out data or another label schema.
    """
    synthesis = checkpoints.load_for_synthesis(checkpoint)
    location = data or synthesis.test_shards
    if location is None:
        raise BadInput(f"{checkpoint} was trained without held-out shards; name some with --data")
    accelerator = Accelerator()
    method = methods.find(synthesis.method)
    perceptual: nn.Module | None = None
    if method.needs_perceptual:
        loss = configs.validate(synthesis.config, str(checkpoint)).perceptual
        perceptual = load_vgg19(loss.weights, loss.divisor, loss.imagenet_norm, loss.resize_below)
        perceptual.to(accelerator.device)
    schema: LabelSchema = synthesis.schema
    with open_shards(location, schema) as (manifest, store):
        held_out = HeldOut(manifest, store, pairs, method, accelerator.process_index, accelerator.num_processes)
        figures = held_out.measure(
            synthesis.module.to(accelerator.device), perceptual, accelerator.reduce, accelerator.device
        )
    leave(accelerator)
    if not accelerator.is_main_process:
        return None
    return {
        "checkpoint": synthesis.sha256,
        "images": synthesis.images_seen,
        "data": manifest.digest,
        "pairs": min(pairs, manifest.samples),
        "perceptual": synthesis.perceptual,
        **(figures or {}),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
