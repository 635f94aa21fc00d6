"""`python -m shards`: worlds, pack, merge, judge, inspect, verify, trace, doctor."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from likeness.arguments import Help, count, slice_of, whole
from likeness.command import BAD_INPUT, DONE, BadInput, run_command
from shards.operators.arguments import add_operator_arguments
from shards.operators.photos import OPERATORS
from shards.packing.pairs import PRESETS, preset
from shards.packing.quarantine import MAX_BAD
from shards.records import Manifest
from shards.sources import SOURCES
from shards.worlds import WORLDS

DESCRIPTION = """\
From videos and pictures to shards of training pairs.

  worlds   draw a procedural world as videos, to try everything without data of your own
  pack     decode videos or pictures, label them, draw pairs and write shards
  merge    join the slices that a job array packed
  judge    let people say on a local web page which pairs are consistent; pack takes their word
  inspect  show what is in a folder of shards, and draw a contact sheet
  verify   prove that shards are whole and keep their contracts
  trace    print which samples a rank reads, batch by batch
  doctor   say what would go wrong in a training job, before it is queued
"""

EXAMPLES = """\
examples:
  python -m shards worlds faces --out data/faces --videos 60 --seconds 4 --size 64 --seed 1
  python -m shards pack --source data/faces --out data/train --test-out data/test --pairs 4000 --size 64 --seed 1
  python -m shards inspect data/train --rows 8
  python -m shards verify data/train
  python -m shards pack --dataset bdd100k --source bdd100k --out data/street/train --test-out data/street/test --dry-run
  python -m shards pack --dataset photos --source my-photos --labels edges --out data/edges/train --size 256
  python -m shards judge --pairs data/train --out judged.csv
  python -m shards trace --data data/train --world-size 8 --rank 3 --workers 4 --batch 4 --epoch 2 --start 100
  python -m shards doctor --config trainer/configs/face.yaml --world-size 8

Exit codes: 0 done, 2 bad input or no room on the disk (one line on stderr says what to do).
"""

WORLDS_TEXT = """\
Draws H.264 videos of a procedural world. Within a video everything moves (expression, head, pose, traffic);
between videos the style differs (identity, clothes, light, weather). Beside each video a sidecar holds its style
and every frame's true label, so nothing needs to be detected. Streets have instance maps, too: PNG files of 16 bits in
Cityscapes' convention, below 1000 the class of stuff, else class · 1000 + n for the n-th thing.
"""

PACK = """\
Decodes every file under --source once, labels its photos, draws pairs and writes pairs-000000.tar ... and
manifest.json. A sample holds a target photo, an exemplar, another photo with the exemplar's style (consistent), one
with another style (inconsistent), what the label maps are drawn from, and the target's instance map (which pixels are
one thing) where every file has one: streets, cityscapes, pictures with a folder instances/. The same input gives the
same bytes.

datasets:
{datasets}

Styles: a video, or what the dataset says (weather and time of day, city, styles.csv). Where it says nothing
(photos, coco-stuff, ade20k, pictures without styles.csv), exemplars are found by retrieval.

presets of the pair sampler:
  default   an exemplar of the target's style comes from the same video, at most 10 s apart
  paper     ... at most 10 decoded frames apart, as the paper says (near-duplicates)
  official  ... at most 300 kept frames apart, in effect the whole video, as the published code does; a target may be
            its own exemplar, and the other exemplars come from all frames

A list of pairs is a CSV with the columns target and exemplar, and if you like consistent, inconsistent and s (1: one
style); photos are named as in the dataset, frames of a video as NAME#NUMBER. What a row leaves empty is drawn.

Unreadable files are listed in quarantine.csv, up to --max-bad. What is finished is kept beside --out until all of it
is: after a kill, the same command goes on from there.
"""

MERGE = """\
Joins what `pack --slice 0/N` to `pack --slice N-1/N` wrote beside --out, and removes the slices. The outcome equals
that of a single run, byte for byte.
"""

JUDGE = """\
Shows pairs of photos from shards on a web page of this machine, and writes what people say of them: consistent,
inconsistent or unsure, by one key each. Several raters can take part; stop and go on as you like: every answer is on
disk before the next pair shows. `pack --judged CSV` then puts their word above the style keys.
"""

TRACE = """\
Runs the reader of the training loop over one epoch and prints the keys of the samples that a rank reads, one batch a
line. Give the numbers of the run: the order depends on its seed, batch, ranks and data.shuffle, not on its workers.
"""

DOCTOR = """\
Looks at shards, the arithmetic of ranks × workers × batch, disk, shared memory and decoders, and prints one line for
each: ok, note, or wrong. Exit code 2 when anything is wrong.
"""

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.command
    return run_command(lambda: command(options))


# The commands import what they run when they run: help and `inspect` need not wait for webdataset and torch.


def _worlds(options: argparse.Namespace) -> None:
    from shards.worlds.film import film

    film(options.world, options.out, options.videos, options.seconds, options.size, options.seed, options.fps)
    print(options.out)


def _pack(options: argparse.Namespace) -> None:
    from shards.packing.plan import Packing
    from shards.packing.write import pack

    packing = Packing(
        options.source,
        preset(
            options.preset,
            options.window_seconds,
            same_style_rate=options.same_style_rate,
            repeat=options.repeat,
            exemplars=options.exemplars,
            least_distance=options.least_distance,
            nearest=options.nearest,
        ),
        dataset=options.dataset,
        pairs=options.pairs,
        seed=options.seed,
        size=options.size,
        operator=options.labels,
        every=options.every,
        test_pairs=options.test_pairs,
        test_fraction=options.test_fraction,
        halves=options.halves,
        samples_per_shard=options.samples_per_shard,
        picture_format=options.format,
        max_bad=options.max_bad,
        timeout_s=options.file_timeout,
        judged=options.judged,
        pair_list=options.pair_list,
        predictor=options.predictor,
        openpose=options.openpose,
        densepose=options.densepose,
        parser=options.parser,
        edges=options.edges,
        features=options.features,
    )
    if options.dry_run:
        from shards.packing.estimate import estimate
        from shards.packing.plan import plan_of

        held_out = options.test_out is not None
        print(estimate(plan_of(packing, held_out), options.out, held_out).table())
        return
    workers = options.workers or len(os.sched_getaffinity(0))
    for folder, manifest in pack(packing, options.out, options.test_out, workers, options.slice):
        print(_summary(folder, manifest))


def _summary(folder: Path, manifest: Manifest) -> str:
    total = sum(shard.bytes for shard in manifest.shards)
    audit = manifest.audit
    copied = "" if audit["copy_score"] is None else f", copy score {audit['copy_score']:.2f}"
    lines = [
        f"{folder}: {manifest.samples:,} pairs from {len(manifest.sources[manifest.split]):,} sources in "
        f"{len(manifest.shards)} shards, {total / 1e6:,.1f} MB{copied}",
        *(f"  {note}" for note in manifest.notes),
    ]
    return "\n".join(lines)


def _merge(options: argparse.Namespace) -> None:
    from shards.packing.merge import merge

    print(_summary(options.out, merge(options.out, options.slices or None)))


def _inspect(options: argparse.Namespace) -> None:
    from shards.inspection.sheet import contact_sheet, overview

    folder: Path = options.folder if options.folder.is_dir() else options.folder.parent
    out = options.out or folder.parent / f"{folder.resolve().name}-sheet.png"
    print(overview(options.folder).table())
    contact_sheet(options.folder, out, options.rows)
    print(out)


def _trace(options: argparse.Namespace) -> None:
    from shards.inspection.trace import reading_for_trace, trace

    reading = reading_for_trace(
        options.batch,
        options.seed,
        options.rank,
        options.world_size,
        options.workers,
        options.epoch,
        options.start,
        shuffle=options.shuffle,
        remainder=options.remainder,
        resampled=options.resampled,
    )
    if options.rank >= options.world_size:
        raise BadInput(f"--rank {options.rank} is not below --world-size {options.world_size}; ranks count from 0")
    batches = trace(options.data, reading)
    if options.json:
        told = {name: getattr(options, name) for name in ("world_size", "rank", "workers", "epoch", "start", "batch")}
        read = list(batches)
        keys, padding = [batch.keys for batch in read], [batch.padding for batch in read]
        print(json.dumps({**told, "seed": options.seed, "batches": keys, "padding": padding}))
        return
    for number, batch in enumerate(batches, options.start):
        repeated = f"  (the last {batch.padding} repeat others)" if batch.padding else ""
        print(f"{number:>8}  {' '.join(batch.keys)}{repeated}")


def _doctor(options: argparse.Namespace) -> int:
    from shards.inspection.doctor import Job, examine, job_of_config

    if (options.config is None) == (options.data is None):
        raise BadInput("the doctor examines either the shards of --data or a training config given with --config")
    if options.config is not None:
        job = job_of_config(options.config, options.world_size)
    else:
        job = Job(options.data, options.test, options.world_size, options.workers, options.batch)
    wrong = 0
    for finding in examine(job):
        wrong += finding.state == "wrong"
        print(f"{finding.state:<6} {finding.text}")
    print(f"{wrong} would go wrong" if wrong else "nothing would go wrong")
    return BAD_INPUT if wrong else DONE


def _judge(options: argparse.Namespace) -> None:
    from shards.judging.judge import serve

    serve(options.pairs, options.out, options.host, options.port, options.count, options.seed)


def _verify(options: argparse.Namespace) -> None:
    from shards.inspection.verify import verify

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

    def command(name: str, body: Callable[[argparse.Namespace], int | None], text: str, summary: str) -> _Options:
        sub = commands.add_parser(name, help=summary, description=text, formatter_class=Help)
        sub.set_defaults(command=body)
        return sub.add_argument

    add = command("worlds", _worlds, WORLDS_TEXT, "draw a procedural world as videos")
    add("world", choices=tuple(WORLDS), help="which world")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the videos")
    add("--videos", type=count, default=20, metavar="N", help="how many videos, each with a style of its own")
    add("--seconds", type=float, default=4.0, metavar="S", help="length of a video")
    add("--fps", type=float, default=8.0, metavar="F", help="frames per second")
    add("--size", type=int, default=256, metavar="PIXELS", help="picture width, a multiple of 16")
    add("--seed", type=whole, default=0, metavar="K", help="equal seeds give equal videos")

    _pack_options(
        command("pack", _pack, PACK.format(datasets=_table(SOURCES)), "write shards of pairs from videos and pictures")
    )

    add = command("merge", _merge, MERGE, "join the slices of a job array")
    add("--out", type=Path, required=True, metavar="DIR", help="the folder that the slices were packed for")
    add("slices", type=Path, nargs="*", metavar="SLICE", help="their folders; without any, those beside --out")

    add = command("inspect", _inspect, INSPECT, "show what is in a folder of shards")
    add("folder", type=Path, metavar="DIR", help="folder of shards")
    add("--rows", type=count, default=8, metavar="N", help="samples on the contact sheet")
    add("--out", type=Path, metavar="PNG", help="the contact sheet; without it, DIR-sheet.png beside the folder")

    add = command("verify", _verify, VERIFY, "prove that shards are whole")
    add("folder", type=Path, metavar="DIR", help="folder of shards")

    add = command("judge", _judge, JUDGE, "a local web page to judge pairs on")
    add("--pairs", type=Path, required=True, metavar="DIR", help="folder of shards whose pairs are shown")
    add("--out", type=Path, required=True, metavar="CSV", help="the judgements; an existing file is gone on with")
    add("--count", type=count, default=200, metavar="N", help="how many pairs, equally many of both kinds")
    add("--seed", type=whole, default=0, metavar="K", help="which pairs, and in which order")
    add("--host", default="127.0.0.1", help="address to listen on; any other than this lets others in")
    add("--port", type=_port, default=8765, help="port to listen on")

    add = command("trace", _trace, TRACE, "print which samples a rank reads")
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

    add = command("doctor", _doctor, DOCTOR, "say what would go wrong in a training job")
    add(
        "--config",
        type=Path,
        nargs="+",
        action="extend",
        metavar="YAML",
        help="a training config: shards, batch and workers are taken from it; further files change its settings",
    )
    add("--data", metavar="DIR|URL", help="training shards, where there is no config")
    add("--test", metavar="DIR|URL", help="held-out shards")
    add("--world-size", type=count, default=1, metavar="W", help="ranks in all")
    add("--workers", type=whole, default=2, metavar="N", help="loader workers per rank")
    add("--batch", type=count, default=1, metavar="N", help="samples per batch and rank")
    return parser


def _pack_options(add: "_Options") -> None:
    add("--source", type=Path, required=True, metavar="DIR", help="the dataset's folder")
    add("--dataset", choices=tuple(SOURCES), default="videos", help="what lies there, see above")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the shards")
    add("--dry-run", action="store_true", help="print what it would come to, in pairs and bytes, and stop")
    add("--seed", type=whole, default=0, metavar="K", help="equal seeds give equal pairs")
    add("--size", type=int, default=256, metavar="PIXELS", help="picture width, a multiple of 16")
    add("--workers", type=count, metavar="N", help="processes that decode and label; without it, one per core")
    add("--samples-per-shard", type=count, default=1000, metavar="N", help="samples in one tar file")
    add("--format", choices=("jpg", "png"), default="jpg", help="of the photos: JPEG at quality 95, or lossless PNG")
    add("--slice", type=slice_of, metavar="I/N", help="write slice I (from 0) of N only, for job arrays; then merge")
    add("--max-bad", type=float, default=MAX_BAD, metavar="P", help="share of the files that may be unreadable")
    add("--file-timeout", type=float, default=1800.0, metavar="S", help="seconds that one video may take")
    # Labels
    add(
        "--labels",
        choices=("auto", *OPERATORS),
        default="auto",
        help="where labels come from: sidecars of a world, 68 face landmarks that are detected, body poses, a "
        "segmentation model, the dataset's label pictures of class ids (given) or colours (picture), or edges of the "
        "photo; auto takes what is there",
    )
    add("--every", type=count, metavar="N", help="keep every n-th frame; without it, 10 for footage, 1 for worlds")
    add_operator_arguments(add)
    # Pairs
    add("--pairs", type=count, metavar="N", help="how many pairs; without it, --repeat per frame")
    add("--repeat", type=count, metavar="N", help="pairs per frame, not the preset's 30 (official: 50)")
    add("--exemplars", type=count, metavar="N", help="exemplars that each target gets in a row, not 1")
    add("--preset", choices=tuple(PRESETS), default="default", help="how pairs are drawn, see above")
    add("--same-style-rate", type=float, metavar="P", help="share of exemplars from the target's window, not 0.3")
    add("--window-seconds", type=float, metavar="S", help="a window in seconds instead of the preset's")
    add(
        "--least-distance",
        type=int,
        metavar="BITS",
        help="bits of 64 in which the perceptual hashes of exemplar and target must differ, not 3; 0 is no bound",
    )
    add("--nearest", type=count, metavar="K", help="pictures without styles: draw from the K nearest, not 10")
    add("--features", type=Path, metavar="ONNX", help="the model that says what is near, instead of colours and edges")
    add("--judged", type=Path, metavar="CSV", help="what people said of pairs (python -m shards judge)")
    add("--pair-list", type=Path, metavar="CSV", help="take targets and exemplars from a list, see above")
    # Held-out pairs
    add(
        "--test-out",
        type=Path,
        metavar="DIR",
        help="a new folder for held-out pairs: sources of their own, and exemplars of another style than the target",
    )
    add("--test-pairs", type=count, default=200, metavar="N", help="how many held-out pairs")
    add("--test-fraction", type=float, default=0.1, metavar="P", help="share of the videos that are held out")
    add("--halves", action="store_true", help="hold out the second half of every video instead (the dance split)")


_Options = Callable[..., argparse.Action]


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(f"  {name:<16}{text}" for name, text in rows.items())


def _port(text: str) -> int:
    value = count(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return value


if __name__ == "__main__":
    sys.exit(main())
