"""`python -m shards`: worlds, pack, inspect, verify."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from shards.command import run_command
from shards.pairs import PRESETS, preset
from shards.worlds import WORLDS

DESCRIPTION = """\
From videos to shards of training pairs.

  worlds   draw a procedural world as videos, to try everything without data of your own
  pack     decode videos, label their frames, draw pairs and write shards
  inspect  show what is in a folder of shards, and draw a contact sheet
  verify   prove that shards are whole and keep their contracts
"""

EXAMPLES = """\
examples:
  python -m shards worlds faces --out data/faces --videos 60 --seconds 4 --size 64 --seed 1
  python -m shards pack --source data/faces --out data/train --test-out data/test --pairs 4000 --size 64 --seed 1
  python -m shards inspect data/train --rows 8
  python -m shards verify data/train

Exit codes: 0 done, 2 bad input or no room on the disk (one line on stderr says what to do).
"""

WORLDS_TEXT = """\
Draws H.264 videos of a procedural world. Within a video everything moves (expression, head, pose, traffic);
between videos the style differs (identity, clothes, light, weather). Beside each video a sidecar holds its style
and every frame's true label, so nothing needs to be detected.
"""

PACK = """\
Decodes every video under --source once, labels its frames, draws pairs and writes pairs-000000.tar ... and
manifest.json. A sample holds a target photo, an exemplar, another photo with the exemplar's style (consistent), one
with another style (inconsistent), and what the label maps are drawn from. The same input gives the same bytes.

presets of the pair sampler:
  default   an exemplar of the target's style comes from the same video, at most 10 s apart
  paper     ... at most 10 decoded frames apart, as the paper says (near-duplicates)
  official  ... at most 300 kept frames apart, in effect the whole video, as the published code does; a target may be
            its own exemplar, and the other exemplars come from all frames
"""

INSPECT = """\
Prints split, size, labels, styles, sources and sampling of a folder of shards, and writes a PNG that shows some
samples: label map | target | exemplar's label map | exemplar | consistent | inconsistent, marked S (target and
exemplar have one style) or N. The last line printed is the path of the PNG.
"""

VERIFY = """\
Recomputes the size and SHA-256 of every shard and checks every sample: its members, picture sizes, label ids,
landmarks, styles, and that train and test share no video. Stops at the first violation with exit code 2.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    return run_command(lambda: command(options))


# The commands import what they run when they run: help and `inspect` need not wait for webdataset and torch.


def _worlds(options: argparse.Namespace) -> None:
    from shards.worlds.film import film

    film(options.world, options.out, options.videos, options.seconds, options.size, options.seed, options.fps)
    print(options.out)


def _pack(options: argparse.Namespace) -> None:
    from shards.write import pack

    written = pack(
        options.source,
        options.out,
        preset(options.preset, options.same_style_rate, options.window_seconds),
        pairs=options.pairs,
        seed=options.seed,
        size=options.size,
        operator=options.labels,
        every=options.every,
        test_out=options.test_out,
        test_pairs=options.test_pairs,
        test_fraction=options.test_fraction,
        samples_per_shard=options.samples_per_shard,
        picture_format=options.format,
    )
    for folder, manifest in written:
        total = sum(shard.bytes for shard in manifest.shards)
        print(
            f"{folder}: {manifest.samples:,} pairs from {len(manifest.sources[manifest.split]):,} videos in "
            f"{len(manifest.shards)} shards, {total / 1e6:,.1f} MB"
        )


def _inspect(options: argparse.Namespace) -> None:
    from shards.sheet import contact_sheet, overview

    folder: Path = options.folder if options.folder.is_dir() else options.folder.parent
    out = options.out or folder.parent / f"{folder.resolve().name}-sheet.png"
    print(overview(options.folder).table())
    contact_sheet(options.folder, out, options.rows)
    print(out)


def _verify(options: argparse.Namespace) -> None:
    from shards.verify import verify

    report = verify(options.folder)
    print(
        f"{options.folder}: {report.samples:,} samples in {report.shards} shards ({report.bytes / 1e6:,.1f} MB) are "
        f"whole; {report.same_style_rate:.1%} of the pairs have one style, {report.styles:,} styles in all"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shards",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, body: Callable[[argparse.Namespace], None], text: str, summary: str) -> _Options:
        sub = commands.add_parser(name, help=summary, description=text, formatter_class=_Help)
        sub.set_defaults(command=body)
        return sub.add_argument

    add = command("worlds", _worlds, WORLDS_TEXT, "draw a procedural world as videos")
    add("world", choices=tuple(WORLDS), help="which world")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the videos")
    add("--videos", type=_count, default=20, metavar="N", help="how many videos, each with a style of its own")
    add("--seconds", type=float, default=4.0, metavar="S", help="length of a video")
    add("--fps", type=float, default=8.0, metavar="F", help="frames per second")
    add("--size", type=int, default=256, metavar="PIXELS", help="picture width, a multiple of 16")
    add("--seed", type=_seed, default=0, metavar="K", help="equal seeds give equal videos")

    add = command("pack", _pack, PACK, "write shards of pairs from videos")
    add("--source", type=Path, required=True, metavar="DIR", help="folder of videos, searched with its subfolders")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the shards")
    add("--pairs", type=_count, metavar="N", help="how many pairs; without it, 30 per frame (preset official: 50)")
    add("--seed", type=_seed, default=0, metavar="K", help="equal seeds give equal pairs")
    add("--size", type=int, default=256, metavar="PIXELS", help="picture width, a multiple of 16")
    add(
        "--labels",
        choices=("auto", "worlds", "face-landmarks"),
        default="auto",
        help="where labels come from: sidecars of a world, or 68 face landmarks that are detected; auto takes "
        "sidecars where there are any",
    )
    add("--every", type=_count, metavar="N", help="keep every n-th frame; without it, 10 for footage, 1 for worlds")
    add("--preset", choices=tuple(PRESETS), default="default", help="how pairs are drawn, see above")
    add("--same-style-rate", type=float, metavar="P", help="share of exemplars from the target's window, not 0.3")
    add("--window-seconds", type=float, metavar="S", help="a window in seconds instead of the preset's")
    add(
        "--test-out",
        type=Path,
        metavar="DIR",
        help="a new folder for held-out pairs: videos of their own, and exemplars of another style than the target",
    )
    add("--test-pairs", type=_count, default=200, metavar="N", help="how many held-out pairs")
    add("--test-fraction", type=float, default=0.1, metavar="P", help="share of the videos that are held out")
    add("--samples-per-shard", type=_count, default=1000, metavar="N", help="samples in one tar file")
    add("--format", choices=("jpg", "png"), default="jpg", help="of the photos: JPEG at quality 95, or lossless PNG")

    add = command("inspect", _inspect, INSPECT, "show what is in a folder of shards")
    add("folder", type=Path, metavar="DIR", help="folder of shards")
    add("--rows", type=_count, default=8, metavar="N", help="samples on the contact sheet")
    add("--out", type=Path, metavar="PNG", help="the contact sheet; without it, DIR-sheet.png beside the folder")

    add = command("verify", _verify, VERIFY, "prove that shards are whole")
    add("folder", type=Path, metavar="DIR", help="folder of shards")
    return parser


_Options = Callable[..., argparse.Action]


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of descriptions, and shows defaults that are not None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def _count(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value


if __name__ == "__main__":
    sys.exit(main())
