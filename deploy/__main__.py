"""`python -m deploy`: batch, manipulate, serve, demo and triton."""

import argparse
import sys
from collections.abc import Callable, Sequence

from deploy.batch import command as batch
from deploy.demo import command as demo
from deploy.manipulation import command as manipulate
from deploy.service import command as serve
from deploy.triton import command as triton
from likeness.command import run_command

DESCRIPTION = """\
From an exported model to pictures, with ONNX Runtime. Needs nothing but the model's file, and the
file of its weights where they lie beside it.

  batch       paint the pictures of many pairs
  manipulate  give one instance of a picture another class or look
  demo        draw a label map, or manipulate instances, in the browser and see the picture meanwhile
  serve       paint pictures for whoever asks over HTTP
  triton      write a model repository for NVIDIA's Triton Inference Server
"""

EXAMPLES = """\
examples:
  python -m deploy batch --model model.onnx --pairs data/test --out pictures
  python -m deploy batch --model model.onnx --pairs pairs.csv --out pictures --provider cuda --batch 8
  python -m deploy batch --model model.onnx --pairs s3://bucket/test --out painted --format jpg --per-shard 1000
  python -m deploy batch --model models:/likeness-dance@champion --video dance.mp4 --exemplar person.png --out out.mp4
  python -m deploy manipulate --model model.onnx --pairs data/test --pair 00000003 --instance 13002 --class bus \\
      --out before-after.png
  python -m deploy demo --model model.onnx --examples data/test
  python -m deploy serve --model model.onnx
  python -m deploy triton --model model.onnx --out repository

Exit codes: 0 done, 2 bad input or what the system refuses (one line on stderr says what to do).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    return run_command(lambda: _command(arguments))


def _command(arguments: Sequence[str] | None) -> None:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for each in (batch, manipulate, demo, serve, triton):
        each.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
