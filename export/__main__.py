"""`python -m export`: a model to an ONNX file that has passed its gates; `engine` and `latency` go on from there."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.command import BadInput, run_command

if TYPE_CHECKING:
    from export.gates.checks import Candidate, Verdict

GATE_FAILED = 1

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
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL.onnx", help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace --out if it exists")
    parser.add_argument(
        "--samples",
        type=str,
        metavar="SHARDS",
        help="shards to compare on: 64 samples of them (fp32 is content with 3), and 16 more to calibrate int8 "
        "(default: the checkpoint's data.test; a world's drawings for --untrained)",
    )
    parser.add_argument(
        "--io",
        choices=("float", "uint8"),
        default="float",
        help="what the graph takes and gives: photos float32 (N, 3, H, W) in [-1, 1], or uint8 (N, H, W, 3) as files "
        "hold them, scaled inside; class labels are uint8 ids (N, H, W) either way (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8"),
        default="fp32",
        help="of the arithmetic; fp16 and bf16 keep float32 statistics in norms, bf16 needs --provider cuda or "
        "openvino, int8 quantises the residual blocks and is fast on TensorRT and OpenVINO (default: %(default)s)",
    )
    parser.add_argument(
        "--dynamic-size", action="store_true", help="pictures of any height and width that are multiples of 16"
    )
    parser.add_argument(
        "--name", help="of the registered model in the checkpoint's MLflow (default: likeness-<method>)"
    )
    parser.add_argument(
        "--alias",
        default="candidate",
        help="what the new version is called there: models:/<name>@<alias> (default: %(default)s)",
    )
    parser.add_argument(
        "--inputs",
        nargs="+",
        metavar="NAME",
        help="what pictures are made from, for methods that know several ways: --inputs label style for MUNIT's random "
        "styles (default: the method's first way)",
    )
    parser.add_argument("--opset", type=int, help="ONNX operator set, 18 to 24 (default: 20; 22 for bf16)")
    parser.add_argument(
        "--provider",
        choices=("cpu", "cuda", "openvino", "openvino-bf16"),
        default="cpu",
        help="where the gates run the graph, and must find every node (default: %(default)s)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["engine"]:
        from export.tensorrt import engine

        return engine.main(given[1:])
    if given[:1] == ["latency"]:
        from export.latency import command as latency

        return latency.main(given[1:])
    options, overrides = _parser().parse_known_args(given)
    _check(options, overrides)
    return _export(options, overrides, shlex.join(("python", "-m", "export", *given)))


def _export(options: argparse.Namespace, overrides: Sequence[str], command: str) -> int:
    # Imported here, so that help and bad arguments need not wait for torch.
    from deploy.runtime import Session
    from export import graph, quantise, registry, served
    from export.gates import checks as gates
    from export.gates import compare, samples
    from export.served import BF16_OPSET, DEFAULT_OPSET, Recipe
    from trainer.checkpoints.synthesis import load_for_synthesis, untrained
    from trainer.metrics.structural_similarity import load_structural_similarity

    registry.check_names(options.name, options.alias)
    default = BF16_OPSET if options.precision == "bf16" else DEFAULT_OPSET
    opset = default if options.opset is None else options.opset
    recipe = Recipe(opset, options.io, options.precision, options.dynamic_size)
    gates.check_provider(options.provider)
    load_structural_similarity()
    inputs = tuple(options.inputs) if options.inputs else None
    _say("loading the generator")
    synthesis = (
        load_for_synthesis(options.checkpoint, inputs)
        if options.checkpoint
        else untrained(options.config, overrides, inputs)
    )
    calibrating = samples.CALIBRATION if recipe.precision == "int8" else 0
    real = samples.real_samples(synthesis, options.samples, samples.COUNT + calibrating)
    least = samples.LEAST if recipe.precision == "fp32" else samples.COUNT + calibrating
    if len(real) < least:
        raise BadInput(
            f"--precision {recipe.precision} is judged by {least} samples, but {real.where} has {len(real)}; "
            "name larger shards with --samples"
        )
    _say(f"exporting {synthesis.method} to opset {recipe.opset}")
    exported = graph.to_onnx(synthesis, recipe)
    metadata = served.metadata_of(synthesis, recipe)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=f".{options.out.stem}-") as folder:
        file = Path(folder) / options.out.name
        graph.save(exported.model, metadata.to_props(), file)
        if recipe.precision == "int8":
            _say("calibrating int8")
            exported = quantise.to_int8(exported, file, real[samples.COUNT :])
            graph.save(exported.model, metadata.to_props(), file)
        judged = real[: samples.COUNT]
        _say(f"gates, on {len(judged)} samples from {real.where}")
        candidate = gates.Candidate(exported, file, synthesis, judged, options.provider)
        verdict = gates.run_gates(candidate, recipe.opset, lambda result: print(result.line(), flush=True))
        if not verdict.passed:
            failed = verdict.results[-1]
            pages = _report(options.out, candidate, verdict, command)
            print(f"error: gate {failed.name} failed; {failed.remedy}. No model was written.", file=sys.stderr)
            print(f"report: {pages[1]}", file=sys.stderr)
            return GATE_FAILED
        props = replace(metadata, gates=tuple(result.to_json() for result in verdict.results)).to_props()
        graph.save(exported.model, props, file)
        written = graph.move(exported.model, file, options.out)
        pages = _report(options.out, replace(candidate, file=options.out), verdict, command)
    if synthesis.run_id and synthesis.tracking_uri:
        problem = registry.log_model(
            options.out,
            verdict.results,
            synthesis.run_id,
            synthesis.tracking_uri,
            name=options.name,
            alias=options.alias,
            example=compare.feeds(Session(options.out, options.provider), judged[:1]),
            tags={"likeness.provider": options.provider},
            reports=pages,
        )
        if problem:
            print(f"warning: the model is written, but not logged to MLflow: {problem}", file=sys.stderr)
    model = exported.model
    counts = ", ".join(f"{name} {count}" for name, count in graph.nodes_by_operator(model).items())
    megabytes = sum(each.stat().st_size for each in written) / 1e6
    print(f"{graph.parameters_of(model):,} parameters, {megabytes:.1f} MB, {len(model.graph.node)} nodes: {counts}")
    for path in (*pages, *reversed(written)):
        print(path)
    return 0


def _report(out: Path, candidate: "Candidate", verdict: "Verdict", command: str) -> tuple[Path, Path]:
    """Beside the model; of one that failed where another model stands, under a name of its own."""
    from export import report

    if not verdict.passed and out.exists():
        out = out.with_name(f"{out.stem}.failed{out.suffix}")
    shown = []
    if verdict.worst is not None:
        number = verdict.worst.number
        title = f"worst picture (sample {number}, PSNR {verdict.distances[number].psnr_db:.1f} dB)"
        shown.append(report.Shown(title, verdict.worst.reference, verdict.worst.exported))
    facts = report.facts_of(candidate, command)
    return report.write(out, verdict.results, facts, shown, [asdict(each) for each in verdict.distances])


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
        raise BadInput(
            "--precision bf16: ONNX Runtime's CPU has no bfloat16; add --provider openvino, or cuda on a GPU"
        )
    if options.out.exists() and not options.force:
        raise BadInput(f"{options.out} exists already; replace it with --force or choose another --out")


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_command(main))
