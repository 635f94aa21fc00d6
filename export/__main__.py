"""`python -m export`: a model to an ONNX file that has passed its gates; `engine` and `latency` go on from there."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from likeness.arguments import whole
from likeness.command import BadInput, run_command
from likeness.process.interrupts import saying

DESCRIPTION = """\
Exports the averaged generator of a checkpoint to a self-describing ONNX file: named inputs, dynamic batch, and in its
metadata the label schema, value ranges, checkpoint hash, MLflow run and the gates' results. Weights of more than 64 MiB
lie beside it, in MODEL.<hash>.data. The file is written only if every gate passes:

  checker        ONNX's full checker with strict shape inference
  opset          the operator set is the one asked for
  nodes          no Cast, Shape, Slice or Reshape that the network did not ask for; norms in one piece
  tensorrt       every node against the table of what TensorRT's parser takes
  tensorrt_rtx   really parsed and built, without a GPU (only with the extra likeness[tensorrt])
  placement      no node falls from the provider to the CPU
  dynamic_batch  one picture and three at once, with equal results
  dynamic_size   a larger picture, against PyTorch (only with --dynamic-size)
  range          8 samples' values at every node at most half of float16's range (only with --precision fp16)
  parity         64 real samples against PyTorch in float32, the worst picture and the average; fp16 and bf16 as well
                 with every operation rounded, which no CPU runtime does by itself

  precision  least PSNR of the worst picture and on average, least mean SSIM    largest difference in [-1, 1]
  fp32       60 dB, 60 dB, 0.999                                                0.001
  fp16       45 dB, 50 dB, 0.99                                                 0.5
  bf16       30 dB, 34 dB, 0.95                                                 1
  int8       30 dB, 34 dB, 0.95                                                 1

MODEL.report.html shows the gates, the worst picture and every picture's figures, MODEL.report.json holds them for
machines. A checkpoint's model is logged to its MLflow run with both, and registered.

Further commands, each with its own --help:

  python -m export engine    build a TensorRT engine ahead of time
  python -m export latency   measure a model, honestly
"""

EXAMPLES = """\
examples:
  python -m export --checkpoint runs/face --out face.onnx
  python -m export --checkpoint runs/face/checkpoint-0000500000 --out face.onnx --samples data/face/test
  python -m export --checkpoint runs/face --out face-uint8.onnx --io uint8 --precision fp16
  python -m export --config trainer/configs/face.yaml --untrained --out wide.onnx --data.width 512

Exit codes: 0 done, 1 a gate failed (no model is written), 2 bad input (one line on stderr says what to do).
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_source(parser)
    _add_graph(parser)
    _add_names_and_gates(parser)
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    """Which model."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="a run's folder (its latest checkpoint), or one checkpoint")
    source.add_argument(
        "--config",
        type=Path,
        nargs="+",
        action="extend",
        metavar="YAML",
        help="a training config; further files change some of its settings; with --untrained, settings can be "
        "overridden",
    )
    parser.add_argument("--untrained", action="store_true", help="random weights, to measure an architecture")


def _add_graph(parser: argparse.ArgumentParser) -> None:
    """What is written, and how."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="MODEL.onnx", help="the file to write")
    add("--force", action="store_true", help="replace --out if it exists")
    add(
        "--samples",
        type=str,
        metavar="SHARDS",
        help="shards to compare on: 64 samples of them (fp32 is content with 3), and 16 more to calibrate int8 "
        "(default: the checkpoint's data.test; a world's drawings for --untrained)",
    )
    add(
        "--io",
        choices=("float", "uint8"),
        default="float",
        help="what the graph takes and gives: photos float32 (N, 3, H, W) in [-1, 1], or uint8 (N, H, W, 3) as files "
        "hold them, scaled inside; class labels are uint8 ids (N, H, W) either way (default: %(default)s)",
    )
    add(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8"),
        default="fp32",
        help="of the arithmetic; fp16 and bf16 keep float32 statistics in norms, bf16 needs --provider openvino "
        "and runs on TensorRT, int8 quantises the residual blocks and is fast on TensorRT and OpenVINO "
        "(default: %(default)s)",
    )
    add("--dynamic-size", action="store_true", help="pictures of any height and width that are multiples of 16")


def _add_names_and_gates(parser: argparse.ArgumentParser) -> None:
    """What it is called in MLflow, and where its gates run it."""
    add = parser.add_argument
    add("--name", help="of the registered model in the checkpoint's MLflow (default: likeness-<method>)")
    add(
        "--alias",
        default="candidate",
        help="what the new version is called there: models:/<name>@<alias> (default: %(default)s)",
    )
    add(
        "--inputs",
        nargs="+",
        metavar="NAME",
        help="what pictures are made from, for methods that know several ways: --inputs label style for MUNIT's random "
        "styles (default: the method's first way)",
    )
    add(
        "--opset",
        type=whole,
        help="ONNX operator set, 18 to 24, up to 21 for --provider cuda (default: 20; 22 for bf16)",
    )
    add(
        "--provider",
        choices=("cpu", "cuda", "cuda-tf32", "openvino", "openvino-bf16"),
        default="cpu",
        help="where the gates run the graph, and must find every node; cuda computes fp32 in float32, cuda-tf32 lets "
        "tensor cores round it to 10 bits, which is judged by fp16's thresholds; engines of TensorRT have their own "
        "gate (default: %(default)s)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["engine"]:
        from export.tensorrt import engine

        return engine.main(words[1:])
    if words[:1] == ["latency"]:
        from export.latency import command as latency

        return latency.main(words[1:])
    options, overrides = _parser().parse_known_args(words)
    _check(options, overrides)
    # Imported here, so that help and bad arguments need not wait for torch.
    from export.run import export

    with saying(lambda: f"nothing was written to {options.out}"):
        return export(options, overrides, shlex.join(("python", "-m", "export", *words)))


def _check(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    if options.config and not options.untrained:
        raise BadInput("--config needs --untrained; a trained model is exported with --checkpoint")
    if options.checkpoint and (options.untrained or overrides):
        extra = overrides[0] if overrides else "--untrained"
        if overrides and "." not in extra:
            raise BadInput(f"unknown option {extra}; see python -m export --help")
        raise BadInput(f"{extra} does not go with --checkpoint, which holds its own config")
    if options.out.suffix != ".onnx" or options.out.is_dir():
        raise BadInput(
            f"--out {options.out} must be a file that ends in .onnx; its report and weights are named after it"
        )
    if options.precision == "bf16" and options.provider == "cpu":
        raise BadInput("--precision bf16: ONNX Runtime's CPU has no bfloat16; add --provider openvino")
    if options.out.exists() and not options.force:
        raise BadInput(f"{options.out} exists already; replace it with --force or choose another --out")


if __name__ == "__main__":
    sys.exit(run_command(main))
