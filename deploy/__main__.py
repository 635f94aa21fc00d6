"""`python -m deploy`: batch, demo."""

import argparse
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
  demo    draw a label map in the browser and see the picture meanwhile
"""

EXAMPLES = """\
examples:
  python -m deploy batch --model model.onnx --pairs data/test --out pictures
  python -m deploy batch --model model.onnx --pairs pairs.csv --out pictures --provider cuda --batch 8
  python -m deploy demo --model model.onnx --examples data/test

Exit codes: 0 done, 2 bad input or no room on the disk (one line on stderr says what to do).
"""

BATCH = """\
Paints a PNG for every pair and ends with pictures/s and milliseconds per picture. Reading, the model and writing
overlap. Run the same command again after an interruption: finished pictures are skipped.

With --slice I/N, as in a job array, N processes on any machines share the pictures and write to one --out; each
leaves a summary-I-of-N.json there.

--pairs is one of
  a folder of shards (or its manifest.json) with the model's label schema; pictures are named after the pairs' keys
  a CSV file with a header and the columns that the model reads, paths relative to the CSV:
    label, exemplar_label  what the label maps are drawn from:
                             sketch   JSON, 68 landmarks [x, y] in a 512×512 frame laid over the picture
                             pose     JSON, 18 keypoints [x, y, confidence], x and y as fractions of the sides
                             classes  grey or palette PNG of class ids
    exemplar               PNG or JPEG photo of the model's size
    output                 (optional) name of the picture below --out; otherwise the row's number
"""

DEMO = """\
A page on which a label map is drawn (classes with a brush; landmarks and keypoints are dragged) or uploaded, an
exemplar is picked or uploaded, and the picture follows every move. Label maps and pictures can be saved: PNG and JSON,
nothing lossy. Ctrl-C ends it.

Photos that are uploaded as exemplars are cut to the model's aspect around their middle and resized. A model that reads
the exemplar's label map, too, takes it from the shards of --examples, from a file, or makes it: of faces and bodies
with MediaPipe (`pip install --no-deps -r requirements-faces.txt`), of classes with --parser.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    return run_command(lambda: command(options))


def _batch(options: argparse.Namespace) -> None:
    # Imported here, so that help need not wait for ONNX Runtime.
    from deploy import batch
    from deploy.pairs import open_pairs

    session = open_session(options)
    pairs = open_pairs(options.pairs, session.schema, session.inputs, options.roll_labels, options.slice)
    print(batch.table(batch.run(session, pairs, options.out, options.batch)))
    print(options.out)


def _demo(options: argparse.Namespace) -> None:
    from deploy import demo

    demo.serve(open_session(options), options.examples, options.parser, options.host, options.port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_batch(commands)
    _add_demo(commands)
    return parser


def _add_batch(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser("batch", help="paint the pictures of many pairs", description=BATCH, formatter_class=Help)
    sub.set_defaults(command=_batch)
    add_model_arguments(sub)
    add = sub.add_argument
    add("--pairs", type=Path, required=True, metavar="CSV|DIR", help="a CSV file, or a folder of shards")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the pictures: new, or of the same run before")
    add("--batch", type=count, default=1, metavar="N", help="pictures in one run of the model")
    add("--slice", type=slice_of, default="0/1", metavar="I/N", help="make slice I (from 0) of N only, for job arrays")
    add(
        "--roll-labels",
        type=whole,
        default=0,
        metavar="N",
        help="take each pair's target label from the pair N further on (shards only), to see that the label matters",
    )


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser("demo", help="draw in the browser", description=DEMO, formatter_class=Help)
    sub.set_defaults(command=_demo)
    add_model_arguments(sub)
    add = sub.add_argument
    add("--examples", type=Path, metavar="DIR", help="a folder of shards: exemplars to pick, label maps to begin with")
    add("--parser", type=Path, metavar="FILE", help="a segmentation model (ONNX) that labels uploaded exemplars")
    add("--host", default="127.0.0.1", help="the address to listen on")
    add("--port", type=whole, default=7860, metavar="N", help="the port to listen on, 0 for any that is free")


if __name__ == "__main__":
    sys.exit(main())
