"""`python -m tests.trainer.methods.record_losses METHOD …`: the first losses of a method, for `first_losses.json`.

The record keeps a change of what runs train on from passing unseen. A new method is put on it once; a method that is
there already only where its losses change on purpose. Numbers are those of small networks on one random batch, drawn
on a CPU, of which `DIGITS` are kept.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from shards.labels import standard_schema
from tests.conftest import _tiny_options
from trainer import methods
from trainer.method import Batch, Method
from trainer.perceptual import load_vgg19

SCHEMA = standard_schema("sketch", 32, 32)
GOLDEN = Path(__file__).parents[2] / "golden" / "first_losses.json"
DIGITS = 7
LATE = 10**9
"""Images seen at which losses are recorded: all of them count by then."""


def make(name: str) -> Method:
    """A small method of that name, from seed 0."""
    torch.manual_seed(0)
    kind = methods.find(name)
    method = kind(kind.options_type.model_validate(_tiny_options(name)), SCHEMA)
    if kind.needs_perceptual:
        method.perceptual = load_vgg19("random:0", divisor=16, resize_below=0)
    return method


def batch(method: Method, count: int = 2) -> Batch:
    """Random samples of everything that a method may read, from seed 1."""
    torch.manual_seed(1)
    photos = [torch.rand(count, 3, 32, 32) * 2 - 1 for _ in range(4)]
    labels = [torch.rand(count, SCHEMA.channels, 32, 32) for _ in range(2)]
    return Batch(
        label=labels[0],
        target=photos[0],
        exemplar_label=labels[1],
        exemplar=photos[1],
        consistent=photos[2],
        inconsistent=photos[3],
        same_style=torch.arange(count) % 2 == 0,
        instances=torch.randint(0, 3, (count, 8, 8), dtype=torch.int32).repeat_interleave(4, 1).repeat_interleave(4, 2),
        noise=torch.randn(count, method.noise),
    )


def first_losses(method: Method) -> dict[str, float]:
    """The losses of one iteration by player and name; those of a player's further turns have the turn's number."""
    losses: dict[str, float] = {}
    turns: list[str] = []
    for player, terms in method.play(batch(method), LATE):
        turns.append(player)
        turn = turns.count(player)
        for term, value in terms.items():
            losses[f"{player}/{term}" if turn == 1 else f"{player}/{turn}/{term}"] = value.item()
    return losses


def record(names: Sequence[str], file: Path) -> None:
    """Puts the first losses of these methods into the file; the others there stay as they are."""
    recorded = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        recorded[name] = {key: float(f"{value:.{DIGITS}g}") for key, value in first_losses(make(name)).items()}
    file.write_text(json.dumps(recorded, indent=1, sort_keys=False) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="+", metavar="METHOD", choices=methods.available())
    record(parser.parse_args().methods, GOLDEN)
