"""`python -m deploy batch`: its options, and the run that they ask for."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.model_arguments import add_model_arguments, open_session
from likeness.arguments import Help, count, slice_of, whole
from likeness.command import BadInput
from likeness.process.interrupts import saying
from shards.operators.arguments import add_operator_arguments

PAIRS = """\
Paints a picture for every pair and ends with pictures/s and milliseconds per picture. Reading, the model and writing
overlap. Run the same command again after an interruption: finished pictures are skipped.

--pairs is one of
  a folder of shards (or its manifest.json) with the model's label schema, as a path or as a URL that fsspec opens
    (pip install 'likeness[remote]'); pictures are named after the pairs' keys
  a folder with the folders label/, exemplar_label/ and so on, those that the model reads: files of the same path but
    for the suffix are a pair and give it its name; a file that is alone in its folder belongs to all pairs
  a CSV file with a header and the columns that the model reads, paths relative to the CSV (width, height and schema
    are the model's, as is the length of a style code where it is not the usual one):
"""
REST = """\
What may be left out is drawn, as a function of --seed and the pair's name: features from the centres that the model
holds for each class, style codes from a normal distribution. Shards hold neither. --styles K paints each pair in K
styles, NAME-1 to NAME-K.

--out holds, beside the pictures or the tar shards of --per-shard (KEY.image.png and KEY.json for each, which WebDataset
reads; index.json has their counts and SHA-256), a summary.json and, where inputs were broken, their list bad.csv. With
--slice I/N, as in a job array, N processes on any machines share the pictures and write to one --out; these files are
then summary-I-of-N.json and so on.

--video paints every frame of a video in the likeness of one --exemplar and keeps the sound; --out is then a video.
Models that read a style code paint it in the one that --seed draws. Those that read instance maps or features cannot:
no label operator finds them.
Labels come from the sidecar of a world's video, or are detected: face landmarks for sketch (the face is cut out), body
poses for pose, what the segmentation model --parser finds for classes, what Canny's detector or --edges finds
for edges. Where nothing is found in a frame, the label before stays. An exemplar is labelled in the same way unless
--exemplar-label says what its label is drawn from; of a video, the first usable frame is the exemplar.

Photos may have any size: they are prepared as those that the model has learnt from. A photo may stand for a label map
that can be found in it, and exemplar_label be left out, of --pairs, too.
"""

VIDEO_ONLY = ("exemplar", "exemplar_label", "no_smoothing")
PAIRS_ONLY = ("format", "quality", "per_shard", "max_bad", "cache", "slice", "roll_labels", "styles")


def description() -> str:
    """The command's help: what it does, every input's column with the files that it names, and what may be left out."""
    # Imported here, so that nobody else waits for OpenCV.
    from shards.inputs import INPUTS, STYLE_LENGTH
    from shards.labels.kinds import KINDS
    from shards.records import SIZE_MULTIPLE

    maps = [each.name for each in INPUTS.values() if each.label_side is not None]
    rows = [(", ".join(maps), "what the label maps are drawn from:")]
    rows += [("", f"  {name:<8} {kind.file}: {kind.holds}") for name, kind in KINDS.items()]
    schema = next(iter(KINDS.values())).standard(2 * SIZE_MULTIPLE, 2 * SIZE_MULTIPLE)
    for each in INPUTS.values():
        if each.label_side is None:
            words = each.file_in_words(schema, STYLE_LENGTH)
            cell = ", in a file or in the cell itself" if each.in_cell("[]") else ""
            rows.append((each.name, f"{words['file']}: {words['holds']}{cell}"))
    rows.append(("output", "(optional) name of the picture below --out; otherwise the row's number"))
    return PAIRS + "".join(f"    {column:<22} {words}\n" for column, words in rows) + "\n" + REST


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("batch", help="paint the pictures of many pairs", formatter_class=Help)
    parser.set_defaults(command=batch)

    def format_help() -> str:
        parser.description = description()
        return argparse.ArgumentParser.format_help(parser)

    # What the inputs are is asked only when somebody wants to know: every start of `python -m deploy` comes by here.
    parser.format_help = format_help  # type: ignore[method-assign]
    _add_arguments(parser)


def batch(options: argparse.Namespace) -> None:
    """Runs the command. Raises BadInput for what a person can mend."""
    if options.video:
        _check_unset(options, PAIRS_ONLY, "goes with --pairs, not with --video")
        _paint_video(options)
    else:
        _check_unset(options, VIDEO_ONLY, "goes with --video, not with --pairs")
        _paint_pairs(options)


def _check_unset(options: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Raises BadInput where an option is not its default."""
    parser = argparse.ArgumentParser()
    _add_arguments(parser)
    defaults = parser.parse_args(["--model", "", "--pairs", "", "--out", ""])
    for name in names:
        if getattr(options, name) != getattr(defaults, name):
            raise BadInput(f"--{name.replace('_', '-')} {reason}")


def _paint_pairs(options: argparse.Namespace) -> None:
    # Imported here, so that help need not wait for ONNX Runtime.
    import json

    from deploy.batch.open_pairs import open_pairs
    from deploy.batch.outputs import Output
    from deploy.batch.pairs import PairOptions
    from deploy.batch.run import run
    from deploy.batch.summary import table
    from deploy.chain import Chain
    from deploy.labelling import auto_labelling

    output = Output(options.format, options.quality, options.per_shard)
    chain = Chain.of(open_session(options))
    pairs = open_pairs(
        options.pairs,
        chain.session.schema,
        chain.sample_inputs(),
        PairOptions(
            style_length=chain.style_length,
            part=options.slice,
            output=output,
            styles=options.styles,
            roll_labels=options.roll_labels,
            cache=options.cache,
            max_bad=options.max_bad,
            labelling=auto_labelling(chain.session.schema, options),
        ),
    )
    for note in pairs.notes:
        print(f"note: {options.pairs}: {note}", file=sys.stderr)
    with saying(lambda: f"the pictures that are done are in {options.out}; the same command makes the others"):
        summary = run(chain, pairs, options.out, options.batch, output, options.max_bad, options.seed)
    if options.json:
        print(json.dumps(summary))
    else:
        print(table(summary))
        print(options.out)


def _paint_video(options: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict, replace

    from deploy import video
    from deploy.chain import Chain
    from deploy.labelling import auto_labelling

    session = open_session(options)
    labelling = replace(auto_labelling(session.schema, options), smooth=not options.no_smoothing)
    with saying(lambda: f"nothing was written to {options.out}"):
        film = video.synthesize_video(
            Chain.of(session),
            options.video,
            options.exemplar,
            options.out,
            labelling,
            exemplar_label=options.exemplar_label,
            batch=options.batch,
            seed=options.seed,
        )
    if options.json:
        print(json.dumps(asdict(film)))
    else:
        print(video.table(film, session))
        print(options.out)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", metavar="CSV|DIR|URL", help="a CSV file, a folder of files, or shards")
    source.add_argument("--video", type=Path, metavar="FILE", help="a video, see above")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the pictures: new, or of the same run before; with --video, an .mp4, .mov or .mkv file",
    )
    add("--exemplar", type=Path, metavar="FILE", help="with --video: a photo, or a video")
    add("--exemplar-label", type=Path, metavar="FILE", help="with --video: what the exemplar's label is drawn from")
    add(
        "--no-smoothing",
        action="store_true",
        help="with --video: take landmarks and keypoints frame by frame; without it a One-Euro filter smooths them",
    )
    add("--batch", type=count, default=1, metavar="N", help="pictures in one run of the model")
    add("--format", choices=("png", "jpg", "webp"), default="png", help="of the pictures; only png loses nothing")
    add("--quality", type=count, metavar="Q", help="of jpg and webp, 1 to 100; without it, 95")
    add("--per-shard", type=count, metavar="N", help="write tar shards of N pictures each instead of loose files")
    add(
        "--max-bad",
        type=whole,
        default=0,
        metavar="N",
        help="skip and list up to N pairs whose inputs are broken, in each slice",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep shards from a URL here; without it, they are removed after use",
    )
    add("--seed", type=whole, default=0, metavar="N", help="of style codes and features that are drawn")
    add(
        "--styles", type=count, default=1, metavar="K", help="pictures of each pair, in different styles that are drawn"
    )
    add("--json", action="store_true", help="print the summary as JSON instead of a table")
    add("--slice", type=slice_of, default="0/1", metavar="I/N", help="make slice I (from 0) of N only, for job arrays")
    add(
        "--roll-labels",
        type=whole,
        default=0,
        metavar="N",
        help="take each pair's target label from the pair N further on (shards only), to see that the label matters",
    )
    add_operator_arguments(parser.add_argument_group("labels that are found in photos").add_argument)
