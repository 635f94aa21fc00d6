"""`python -m deploy`: batch."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.model_arguments import add_model_arguments, open_session
from shards.arguments import Help, count, slice_of, whole
from shards.command import run_command

DESCRIPTION = """\
From an exported model to pictures, with ONNX Runtime. Needs nothing but the model's file, and the
file of its weights where they lie beside it.

  batch   paint the pictures of many pairs
"""

EXAMPLES = """\
examples:
  python -m deploy batch --model model.onnx --pairs data/test --out pictures
  python -m deploy batch --model model.onnx --pairs pairs.csv --out pictures --provider cuda --batch 8
  python -m deploy batch --model model.onnx --pairs s3://bucket/test --out painted --format jpg --per-shard 1000

Exit codes: 0 done, 2 bad input or no room on the disk (one line on stderr says what to do).
"""

BATCH = """\
Paints a picture for every pair and ends with pictures/s and milliseconds per picture. Reading, the model and writing
overlap. Run the same command again after an interruption: finished pictures are skipped.

--pairs is one of
  a folder of shards (or its manifest.json) with the model's label schema, as a path or as a URL that fsspec opens
    (pip install 'likeness[remote]'); pictures are named after the pairs' keys
  a folder with the folders label/, exemplar_label/ and exemplar/, those that the model reads: files of the same path
    but for the suffix are a pair and give it its name; a file that is alone in its folder belongs to all pairs
  a CSV file with a header and the columns that the model reads, paths relative to the CSV:
    label, exemplar_label  what the label maps are drawn from:
                             sketch   JSON, 68 landmarks [x, y] in a 512×512 frame laid over the picture
                             pose     JSON, 18 keypoints [x, y, confidence], x and y as fractions of the sides
                             classes  grey or palette PNG of class ids
    exemplar               PNG or JPEG photo of the model's size
    output                 (optional) name of the picture below --out; otherwise the row's number

--out holds, beside the pictures or the tar shards of --per-shard (KEY.image.png and KEY.json for each, which WebDataset
reads; index.json has their counts and SHA-256), a summary.json and, where inputs were broken, their list bad.csv. With
--slice I/N, as in a job array, N processes on any machines share the pictures and write to one --out; these files are
then summary-I-of-N.json and so on.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    return run_command(lambda: command(options))


def _batch(options: argparse.Namespace) -> None:
    # Imported here, so that help need not wait for ONNX Runtime.
    from deploy import batch
    from deploy.outputs import Output
    from deploy.pairs import open_pairs
    from shards.onnx_runtime import no_spinning

    output = Output(options.format, options.quality, options.per_shard)
    with no_spinning():
        session = open_session(options)
    pairs = open_pairs(
        options.pairs,
        session.schema,
        session.inputs,
        options.roll_labels,
        options.slice,
        output,
        options.cache,
        options.max_bad,
    )
    summary = batch.run(session, pairs, options.out, options.batch, output, options.max_bad)
    if options.json:
        print(json.dumps(summary))
    else:
        print(batch.table(summary))
        print(options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_batch(commands)
    return parser


def _add_batch(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser("batch", help="paint the pictures of many pairs", description=BATCH, formatter_class=Help)
    sub.set_defaults(command=_batch)
    add_model_arguments(sub)
    add = sub.add_argument
    add("--pairs", required=True, metavar="CSV|DIR|URL", help="a CSV file, a folder of files, or shards")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the pictures: new, or of the same run before")
    add("--batch", type=count, default=1, metavar="N", help="pictures in one run of the model")
    add("--format", choices=("png", "jpg", "webp"), default="png", help="of the pictures; only png loses nothing")
    add("--quality", type=count, metavar="Q", help="of jpg and webp, 1 to 100; without it, 95")
    add("--per-shard", type=count, metavar="N", help="write tar shards of N pictures each instead of loose files")
    add("--max-bad", type=whole, default=0, metavar="N", help="skip and list up to N pairs whose inputs are broken")
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep shards from a URL here; without it, they are removed after use",
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


if __name__ == "__main__":
    sys.exit(main())
