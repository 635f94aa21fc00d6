"""What looks at shards and changes nothing: `python -m shards inspect`, `verify`, `trace` and `doctor`."""

import argparse
import json
from pathlib import Path

from likeness.arguments import count, whole
from likeness.command import BAD_INPUT, DONE, BadInput
from likeness.subcommands import Subcommands, subcommand

INSPECT = """\
Prints split, size, labels, styles, sources and sampling of a folder of shards, and writes a PNG that shows some
samples: label map | target | both | exemplar label | exemplar | consistent | inconsistent, marked S (target and
exemplar have one style) or N, and the target's instance map where there is one. The last line printed is the path of
the PNG.
"""

VERIFY = """\
Recomputes the size and SHA-256 of every shard and checks every sample: its members, picture sizes, label ids, instance
maps, landmarks, styles, and that train and test share no video. Stops at the first violation with exit code 2.
"""

TRACE = """\
Runs the reader of the training loop over one epoch and prints the keys of the samples that a rank reads, one batch a
line. Give the numbers of the run: the order depends on its seed, batch, ranks and data.shuffle, not on its workers.
"""

DOCTOR = """\
Looks at shards, the arithmetic of ranks × workers × batch, disk, shared memory and decoders, and prints one line for
each: ok, note, or wrong. Exit code 2 when anything is wrong. For a training job with its config, networks, memory and
tracker, too: python -m trainer.doctor --config YAML.
"""


def add_inspect(commands: Subcommands) -> None:
    """Adds the command `inspect`."""
    add = subcommand(commands, "inspect", _inspect, "show what is in a folder of shards", INSPECT).add_argument
    add("folder", type=Path, metavar="DIR", help="folder of shards")
    add("--rows", type=count, default=8, metavar="N", help="samples on the contact sheet")
    add("--out", type=Path, metavar="PNG", help="the contact sheet; without it, DIR-sheet.png beside the folder")


def add_verify(commands: Subcommands) -> None:
    """Adds the command `verify`."""
    add = subcommand(commands, "verify", _verify, "prove that shards are whole", VERIFY).add_argument
    add("folder", type=Path, metavar="DIR", help="folder of shards")


def add_trace(commands: Subcommands) -> None:
    """Adds the command `trace`."""
    add = subcommand(commands, "trace", _trace, "print which samples a rank reads", TRACE).add_argument
    add("--data", required=True, metavar="DIR|URL", help="folder, manifest or URL of shards")
    add("--world-size", type=count, default=1, metavar="W", help="ranks in all")
    add("--rank", type=whole, default=0, metavar="R", help="the rank to follow, from 0")
    add("--workers", type=whole, default=0, metavar="N", help="loader workers of the rank; 0 reads in this process")
    add("--batch", type=count, default=1, metavar="N", help="samples per batch and rank")
    add("--epoch", type=whole, default=0, metavar="E", help="the epoch, from 0")
    add("--start", type=whole, default=0, metavar="K", help="batches of this rank to pass over")
    add("--seed", type=whole, default=0, metavar="K", help="the run's seed")
    add("--shuffle", type=count, default=1000, metavar="N", help="the run's data.shuffle")
    add("--remainder", choices=("pad", "drop"), default="pad", help="the run's data.remainder")
    add("--resampled", action="store_true", help="the run's data.resampled")
    add("--json", action="store_true", help="print one JSON object: batches (lists of keys) and padding")


def add_doctor(commands: Subcommands) -> None:
    """Adds the command `doctor`."""
    add = subcommand(commands, "doctor", _doctor, "say what would go wrong in a training job", DOCTOR).add_argument
    add("--data", metavar="DIR|URL", help="training shards")
    add("--test", metavar="DIR|URL", help="held-out shards")
    add("--world-size", type=count, default=1, metavar="W", help="ranks in all")
    add("--workers", type=whole, default=2, metavar="N", help="loader workers per rank")
    add("--batch", type=count, default=1, metavar="N", help="samples per batch and rank")
    add("--remainder", choices=("pad", "drop"), default="pad", help="an epoch's last samples: fill up, or leave out")
    add("--run", type=Path, metavar="DIR", help="the folder that checkpoints will go to")
    add("--cache", type=Path, metavar="DIR", help="the folder that will keep shards of a URL")
    # Known, so that who gives one is told where to go instead of that there is no such option.
    add("--config", nargs="*", help=argparse.SUPPRESS)


def _inspect(options: argparse.Namespace) -> None:
    from shards.inspection.sheet import contact_sheet, overview

    folder: Path = options.folder if options.folder.is_dir() else options.folder.parent
    out = options.out or folder.parent / f"{folder.resolve().name}-sheet.png"
    print(overview(options.folder).table())
    contact_sheet(options.folder, out, options.rows)
    print(out)


def _verify(options: argparse.Namespace) -> None:
    from shards.inspection.verify import verify

    report = verify(options.folder)
    print(
        f"{options.folder}: {report.samples:,} samples in {report.shards} shards ({report.bytes / 1e6:,.1f} MB) are "
        f"whole; {report.same_style_rate:.1%} of the pairs have one style, {report.styles:,} styles in all"
    )


def _trace(options: argparse.Namespace) -> None:
    from shards.inspection.trace import keys_of_epoch, trace
    from shards.reading.order import Order

    if options.rank >= options.world_size:
        raise BadInput(f"--rank {options.rank} is not below --world-size {options.world_size}; ranks count from 0")
    order = Order(
        options.batch,
        options.rank,
        options.world_size,
        options.seed,
        options.shuffle,
        options.remainder,
        options.resampled,
    )
    batches = trace(options.data, keys_of_epoch(order, options.workers, options.epoch, options.start))
    if options.json:
        names = ("world_size", "rank", "workers", "epoch", "start", "batch", "seed")
        record = {name: getattr(options, name) for name in names}
        read = list(batches)
        keys, padding = [batch.keys for batch in read], [batch.padding for batch in read]
        print(json.dumps({**record, "batches": keys, "padding": padding}))
        return
    for number, batch in enumerate(batches, options.start):
        repeated = f"  (the last {batch.padding} repeat others)" if batch.padding else ""
        print(f"{number:>8}  {' '.join(batch.keys)}{repeated}")


def _doctor(options: argparse.Namespace) -> int:
    from shards.inspection.doctor import Job, examine

    if options.config is not None:
        raise BadInput(
            "the doctor of shards reads no config; give --data DIR|URL, or for a whole training job run "
            f"`python -m trainer.doctor --config {' '.join(options.config) or 'YAML'}`"
        )
    if options.data is None:
        raise BadInput("the doctor examines shards; name them with --data DIR|URL")
    job = Job(
        train=options.data,
        test=options.test,
        world_size=options.world_size,
        workers=options.workers,
        batch=options.batch,
        remainder=options.remainder,
        run=options.run,
        cache=options.cache,
    )
    wrong = 0
    for finding in examine(job):
        wrong += finding.state == "wrong"
        print(f"{finding.state:<6} {finding.text}")
    print(f"{wrong} would go wrong" if wrong else "nothing would go wrong")
    return BAD_INPUT if wrong else DONE
