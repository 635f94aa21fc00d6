"""`python -m trainer.metrics.reader`: trains a reader by hand."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from likeness import atomic
from likeness.arguments import count, whole
from likeness.command import BadInput, run_command
from shards.worlds import WORLDS
from trainer.metrics.reader.files import save
from trainer.metrics.reader.recipe import default_recipe
from trainer.metrics.reader.training import train

DESCRIPTION = (
    "`python -m trainer.metrics.reader`: a small network that reads labels off pictures of a procedural world."
)


def _command(arguments: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="python -m trainer.metrics.reader", description=DESCRIPTION)
    parser.add_argument("--world", required=True, choices=tuple(WORLDS))
    parser.add_argument("--size", required=True, metavar="W[xH]", help="the pictures' size in pixels: 64, or 128x64")
    parser.add_argument("--out", required=True, type=Path, help="a new .safetensors file")
    parser.add_argument("--steps", type=count, help="of training; fewer are quicker and read worse")
    parser.add_argument("--seed", type=whole, default=0)
    options = parser.parse_args(arguments)
    width, height = _size(options.size, options.world)
    atomic.refuse_existing(options.out)
    recipe = replace(default_recipe(options.world, height, width), seed=options.seed)
    if options.steps is not None:
        if options.steps < 1:
            raise BadInput(f"--steps {options.steps} trains nothing; give at least 1")
        recipe = replace(recipe, steps=options.steps)
    reader = train(recipe)
    save(reader, options.out)
    for name, value in reader.held_out.items():
        print(f"held-out {name} {value:.4f}")
    print(options.out)


def _size(text: str, world: str) -> tuple[int, int]:
    """Width and height of `64`, whose height is the world's own, or of `128x64`."""
    sides = text.split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise BadInput(f"--size {text} is no size; give the width in pixels, or both sides as 128x64")
    width = int(sides[0])
    return width, int(sides[1]) if len(sides) == 2 else WORLDS[world].height_of(width)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
