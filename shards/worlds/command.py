"""`python -m shards worlds`: a procedural world drawn as videos."""

import argparse
from pathlib import Path

from likeness.arguments import count, pixels, positive, whole
from likeness.process.interrupts import saying
from likeness.subcommands import Subcommands, subcommand
from shards.worlds import WORLDS

TEXT = """\
Draws H.264 videos of a procedural world. Within a video everything moves (expression, head, pose, traffic);
between videos the style differs (identity, clothes, light, weather). Beside each video a sidecar holds its style
and every frame's true label, so nothing needs to be detected. Streets have instance maps, too: PNG files of 16 bits in
Cityscapes' convention, below 1000 the class of stuff, else class · 1000 + n for the n-th thing.
"""


def add_worlds(commands: Subcommands) -> None:
    """Adds the command `worlds`."""
    add = subcommand(commands, "worlds", _worlds, "draw a procedural world as videos", TEXT).add_argument
    add("world", choices=tuple(WORLDS), help="which world")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the videos")
    add("--videos", type=count, default=20, metavar="N", help="how many videos, each with a style of its own")
    add("--seconds", type=positive, default=4.0, metavar="S", help="length of a video")
    add("--fps", type=positive, default=8.0, metavar="F", help="frames per second")
    add("--size", type=pixels, default=256, metavar="PIXELS", help="picture width, a multiple of 16")
    add("--seed", type=whole, default=0, metavar="K", help="equal seeds give equal videos")


def _worlds(options: argparse.Namespace) -> None:
    from shards.worlds.film import film

    with saying(lambda: f"nothing was written to {options.out}"):
        film(options.world, options.out, options.videos, options.seconds, options.size, options.seed, options.fps)
    print(options.out)
