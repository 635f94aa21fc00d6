"""`python -m trainer.counts`: parameters and arithmetic of every network, beside what its specification says.

Each method says its published counts itself. Networks are built on torch's meta device, where tensors have shapes and
no content. A multiply-accumulate is half a floating-point operation as `torch.utils.flop_counter` counts them: of
convolutions and dense layers, nothing else.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from likeness.command import run_command
from trainer import methods
from trainer.method import PublishedCount

DIFFERENT = 1
"""Exit code where a count is not the specification's."""


@dataclass(frozen=True)
class Row:
    """Ours beside the specification's."""

    system: str
    """The method's title."""
    network: str
    """What the specification calls it."""
    channels: int
    """Of the pictures that it reads."""
    size: str | None
    """Of the pictures that multiply-accumulates are counted for, such as "256×256"; None in a row of parameters."""
    ours: int
    """Parameters, or multiply-accumulates for one picture."""
    specification: int
    """The same as published."""

    @property
    def agrees(self) -> bool:
        return self.ours == self.specification


def published() -> dict[str, tuple[PublishedCount, ...]]:
    """What every method says of its networks, by the method's title."""
    # Backwards in the alphabet: the style-consistent method comes first, with which the others are compared.
    return {methods.title(name): methods.find(name).published_counts for name in reversed(methods.available())}


def rows(counts: Mapping[str, Sequence[PublishedCount]]) -> list[Row]:
    """Every network counted anew: a row of its parameters, and one for each size of pictures. counts: by title."""
    return [row for system, networks in counts.items() for each in networks for row in _counted(system, each)]


def _counted(system: str, each: PublishedCount) -> Iterator[Row]:
    with torch.device("meta"):
        network = each.build(each.channels)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    yield Row(system, each.network, each.channels, None, parameters, each.parameters)
    for (height, width), macs in each.macs.items():
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            network(torch.empty(1, each.channels, height, width))
        yield Row(system, each.network, each.channels, f"{width}×{height}", counter.get_total_flops() // 2, macs)


def table(counted: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [f"{'':<17}{'':<25}{'channels':>8}  {'':<12}{'ours':>19}{'specification':>19}"]
    for row in counted:
        what = "parameters" if row.size is None else row.size
        verdict = "" if row.agrees else "  DIFFERENT"
        named = f"{row.system:<17}{row.network:<25}{row.channels:>8}" if row.size is None else " " * 50
        lines.append(f"{named}  {what:<12}{row.ours:>19,}{row.specification:>19,}{verdict}")
    agreeing = sum(row.agrees for row in counted)
    lines.append(f"{agreeing} of {len(counted)} figures agree. By size of a picture: multiply-accumulates")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.counts",
        description="Counts parameters and multiply-accumulates of every network of the published systems, beside what "
        f"their specifications say. Exit code {DIFFERENT} where one differs. Nothing is computed: it takes seconds.",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args(arguments)
    counted = rows(published())
    print(json.dumps([asdict(row) for row in counted], indent=1) if options.json else table(counted))
    return 0 if all(row.agrees for row in counted) else DIFFERENT


if __name__ == "__main__":
    sys.exit(run_command(main))
