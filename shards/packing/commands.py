"""`python -m shards pack` and `merge`: shards written from videos and pictures, in one run or in slices."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from likeness import machine
from likeness.arguments import count, pixels, positive, share, slice_of, whole
from likeness.process.interrupts import saying
from likeness.shipped import shipped
from likeness.subcommands import Subcommands, subcommand
from shards.media.orientation import DrawnOn
from shards.operators.arguments import add_operator_arguments
from shards.operators.face_crops import LEAST_SIDE, PAPER_SIDE, PAPER_SYMMETRY
from shards.operators.photos import OPERATORS
from shards.packing.pairs import PRESETS, preset
from shards.packing.quarantine import MAX_BAD
from shards.preparation import CROPS, FITS
from shards.records import Manifest
from shards.sources import SOURCES

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

Add = Callable[..., argparse.Action]
"""A parser's `add_argument`."""


def add_pack(commands: Subcommands) -> None:
    """Adds the command `pack`."""
    datasets = "\n".join(f"  {name:<16}{text}" for name, text in SOURCES.items())
    summary = "write shards of pairs from videos and pictures"
    add = subcommand(commands, "pack", _pack, summary, PACK.format(datasets=datasets)).add_argument
    _add_files(add)
    _add_labels(add)
    _add_preparation(add)
    _add_pairs(add)
    _add_held_out(add)


def add_merge(commands: Subcommands) -> None:
    """Adds the command `merge`."""
    add = subcommand(commands, "merge", _merge, "join the slices of a job array", MERGE).add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="the folder that the slices were packed for")
    add("slices", type=Path, nargs="*", metavar="SLICE", help="their folders; without any, those beside --out")


def _add_files(add: Add) -> None:
    add("--source", type=Path, required=True, metavar="DIR", help="the dataset's folder")
    add("--dataset", choices=tuple(SOURCES), default="videos", help="what lies there, see above")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the shards")
    add("--dry-run", action="store_true", help="print what it would come to, in pairs and bytes, and stop")
    add("--seed", type=whole, default=0, metavar="K", help="equal seeds give equal pairs")
    add(
        "--size",
        type=size_of,
        default=256,
        metavar="PIXELS",
        help="picture width, or WIDTHxHEIGHT, multiples of 16; without a height faces and bodies are square, and other "
        "pictures have the dataset's proportions",
    )
    add("--workers", type=count, metavar="N", help="processes that decode and label; without it, one per core")
    add("--samples-per-shard", type=count, default=1000, metavar="N", help="samples in one tar file")
    add("--format", choices=("jpg", "png"), default="jpg", help="of the photos: JPEG at quality 95, or lossless PNG")
    add("--slice", type=slice_of, metavar="I/N", help="write slice I (from 0) of N only, for job arrays; then merge")
    add("--max-bad", type=share, default=MAX_BAD, metavar="P", help="share of the files that may be unreadable")
    add("--file-timeout", type=positive, default=1800.0, metavar="S", help="seconds that one video may take")


def _add_labels(add: Add) -> None:
    add(
        "--labels",
        choices=("auto", *OPERATORS),
        default="auto",
        help="where labels come from: sidecars of a world, 68 face landmarks that are detected, body poses, a "
        "segmentation model, the dataset's label pictures of class ids (given) or colours (picture), or edges of the "
        "photo; auto takes what is there",
    )
    add("--every", type=count, metavar="N", help="keep every n-th frame; without it, 10 for footage, 1 for worlds")
    add(
        "--classes",
        type=shipped,
        metavar="JSON",
        help="channels, names and colours for the dataset's ids, as in a classes.json, instead of its own: "
        "shards/sources/pix2pixsc-street-classes.json for the published street weights",
    )
    add(
        "--labels-drawn-on",
        choices=get_args(DrawnOn),
        help="whether label files beside photos with an EXIF mark (turned, mirrored) lie on their pixels as stored or "
        "as shown; without it, sizes tell, and photos whose sizes do not are refused",
    )
    add_operator_arguments(add)


def _add_preparation(add: Add) -> None:
    crops = "; ".join(f"{name}: {text}" for name, text in CROPS.items())
    add("--crop", choices=tuple(CROPS), help=f"how faces are cut out, not aligned. {crops}")
    add(
        "--margin",
        type=positive,
        default=1.0,
        metavar="M",
        help="how much more than the face an aligned crop shows: at 1 the hair just fits in, at 2 the shoulders do",
    )
    add(
        "--fit",
        choices=tuple(FITS),
        default="crop",
        help="how photos get the picture's proportions. "
        + "; ".join(f"{name}: {text}" for name, text in FITS.items())
        + ". Where bodies are cropped, the crop follows the body: one for all of a video where it stays in its place",
    )
    add(
        "--least-symmetry",
        type=share,
        metavar="R",
        help="leave out faces that are turned further: 1 is frontal, 0 a profile; without it 0, and with --crop paper "
        f"{PAPER_SYMMETRY:g}",
    )
    add(
        "--least-face",
        type=count,
        metavar="PIXELS",
        help=f"leave out faces whose crop has a shorter side; without it {LEAST_SIDE}, with --crop paper {PAPER_SIDE}",
    )
    add(
        "--no-smoothing",
        action="store_true",
        help="take landmarks and keypoints of a video frame by frame, as --crop paper does, instead of smoothing them "
        "with a One-Euro filter",
    )


def size_of(text: str) -> int | tuple[int, int]:
    """A width such as 256, or width and height such as 192x256, in pixels."""
    width, times, height = text.lower().replace("×", "x").partition("x")
    return (pixels(width), pixels(height)) if times else pixels(width)


def _add_pairs(add: Add) -> None:
    add("--pairs", type=count, metavar="N", help="how many pairs; without it, --repeat per frame")
    add("--repeat", type=count, metavar="N", help="pairs per frame, not the preset's 30 (official: 50)")
    add("--exemplars", type=count, metavar="N", help="exemplars that each target gets in a row, not 1")
    add("--preset", choices=tuple(PRESETS), default="default", help="how pairs are drawn, see above")
    add("--same-style-rate", type=share, metavar="P", help="share of exemplars from the target's window, not 0.3")
    add("--window-seconds", type=positive, metavar="S", help="a window in seconds instead of the preset's")
    add(
        "--least-distance",
        type=whole,
        metavar="BITS",
        help="bits of 64 in which the perceptual hashes of exemplar and target must differ, not 3; 0 is no bound",
    )
    add(
        "--styles-by-folder",
        action="store_true",
        help="photos in one folder have one style, such as those of a person; held-out ones are then of other folders",
    )
    add(
        "--no-cuts",
        action="store_true",
        help="a video is one style from beginning to end; without it, each place that it shows between cuts is a style",
    )
    add("--nearest", type=count, metavar="K", help="pictures without styles: draw from the K nearest, not 10")
    add("--features", type=Path, metavar="ONNX", help="the model that says what is near, instead of colours and edges")
    add("--judged", type=Path, metavar="CSV", help="what people said of pairs (python -m shards judge)")
    add("--pair-list", type=Path, metavar="CSV", help="take targets and exemplars from a list, see above")


def _add_held_out(add: Add) -> None:
    add(
        "--test-out",
        type=Path,
        metavar="DIR",
        help="a new folder for held-out pairs: sources of their own, and exemplars of another style than the target",
    )
    add("--test-pairs", type=count, default=200, metavar="N", help="how many held-out pairs")
    add("--test-fraction", type=share, default=0.1, metavar="P", help="share of the videos that are held out")
    add("--halves", action="store_true", help="hold out the second half of every video instead (the dance split)")


# Both import what they run when they run: help need not wait for webdataset, which imports torch.


def _pack(options: argparse.Namespace) -> None:
    from shards.packing.plan import Packing, plan_of
    from shards.packing.write import pack

    # The fields of Packing whose options have the same name.
    files = ("source", "dataset", "seed", "size", "samples_per_shard", "max_bad")
    pictures = ("crop", "margin", "fit", "least_symmetry", "least_face")
    labels = ("every", "predictor", "openpose", "densepose", "parser", "edges", "classes", "labels_drawn_on")
    pairs = ("pairs", "judged", "pair_list", "features", "test_pairs", "test_fraction", "halves", "styles_by_folder")
    changes = ("same_style_rate", "repeat", "exemplars", "least_distance", "nearest")
    packing = Packing(
        sampling=preset(options.preset, options.window_seconds, **{name: getattr(options, name) for name in changes}),
        operator=options.labels,
        picture_format=options.format,
        timeout_s=options.file_timeout,
        **{name: getattr(options, name) for name in (*files, *pictures, *labels, *pairs)},
        smooth=False if options.no_smoothing else None,
        shots=not options.no_cuts,
    )
    if options.dry_run:
        from shards.packing.estimate import estimate

        held_out = options.test_out is not None
        print(estimate(plan_of(packing, held_out), options.out, held_out).table())
        return
    workers = options.workers or machine.cores()
    for folder, manifest in pack(packing, options.out, options.test_out, workers, options.slice):
        print(_summary(folder, manifest))


def _merge(options: argparse.Namespace) -> None:
    from shards.packing.merge import merge

    with saying(lambda: f"the slices in {options.out} are kept; the same command joins them"):
        merged = merge(options.out, options.slices or None)
    print(_summary(options.out, merged))


def _summary(folder: Path, manifest: Manifest) -> str:
    from shards.packing.audit import explained

    total = sum(shard.bytes for shard in manifest.shards)
    audit = manifest.audit
    lines = [
        f"{folder}: {manifest.samples:,} pairs from {len(manifest.sources[manifest.split]):,} sources in "
        f"{len(manifest.shards)} shards, {total / 1e6:,.1f} MB",
        *(f"  {line}" for line in (*explained(audit), *manifest.notes)),
    ]
    return "\n".join(lines)
