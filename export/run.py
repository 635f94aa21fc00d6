"""One export, from the checkpoint to a model that has passed its gates, with its report and its place in MLflow."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from deploy.metadata import Metadata
from deploy.runtime import Session
from export import graph, quantise, registry, report, served
from export.gates import checks, compare, samples
from export.gates.result import Candidate, Verdict
from export.gates.samples import Samples
from export.served import BF16_OPSET, DEFAULT_OPSET, Recipe
from likeness import atomic
from likeness.command import DONE, BadInput
from trainer.checkpoints.synthesis import Synthesis, load_for_synthesis, untrained
from trainer.metrics.structural_similarity import load_structural_similarity

GATE_FAILED = 1


def export(options: argparse.Namespace, overrides: Sequence[str], command: str) -> int:
    """Exports what the options of `python -m export` ask for, and prints what came of it. Returns the exit code.

    overrides: of the training config's settings. command: what was typed, for the report.
    Raises BadInput for what a person can mend, before minutes are spent where it can be known.
    """
    # Before minutes are spent on what has no place to go.
    with atomic.scratch(options.out):
        pass
    registry.check_names(options.name, options.alias)
    recipe = _recipe(options)
    checks.check_kernels(options.provider, recipe)
    checks.check_provider(options.provider)
    load_structural_similarity()
    synthesis = _load(options, overrides)
    real = _real_samples(options, synthesis, recipe)
    judged = real[: samples.COUNT]
    _say(f"exporting {synthesis.method} to opset {recipe.opset}")
    exported = graph.to_onnx(synthesis, recipe)
    metadata = served.metadata_of(synthesis, recipe)
    # A graph that fails its gates goes with the folder.
    with atomic.scratch(options.out) as folder:
        file = folder / options.out.name
        graph.save(exported.model, metadata.to_props(), file)
        if recipe.precision == "int8":
            _say("calibrating int8")
            exported = quantise.to_int8(exported, file, real[samples.COUNT :])
            graph.save(exported.model, metadata.to_props(), file)
        _say(f"gates, on {len(judged)} samples from {real.where}")
        candidate = Candidate(exported, file, synthesis, judged, options.provider)
        verdict = checks.run_gates(candidate, recipe.opset, lambda result: print(result.line(), flush=True))
        if not verdict.passed:
            return _refuse(options.out, candidate, verdict, command)
        written = _release(options.out, candidate, verdict, metadata)
        pages = _report(options.out, replace(candidate, file=options.out), verdict, command)
    _log(options, synthesis, judged, verdict, pages)
    _print_files(exported, written, pages)
    return DONE


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr)


def _recipe(options: argparse.Namespace) -> Recipe:
    default = BF16_OPSET if options.precision == "bf16" else DEFAULT_OPSET
    opset = default if options.opset is None else options.opset
    return Recipe(opset, options.io, options.precision, options.dynamic_size)


def _load(options: argparse.Namespace, overrides: Sequence[str]) -> Synthesis:
    inputs = tuple(options.inputs) if options.inputs else None
    _say("loading the generator")
    if options.checkpoint:
        return load_for_synthesis(options.checkpoint, inputs)
    return untrained(options.config, overrides, inputs)


def _real_samples(options: argparse.Namespace, synthesis: Synthesis, recipe: Recipe) -> Samples:
    """The samples that gates judge by, and after them those that int8 is calibrated on."""
    calibrating = samples.CALIBRATION if recipe.precision == "int8" else 0
    real = samples.real_samples(synthesis, options.samples, samples.COUNT + calibrating)
    least = samples.LEAST if recipe.precision == "fp32" else samples.COUNT + calibrating
    if len(real) < least:
        raise BadInput(
            f"--precision {recipe.precision} is judged by {least} samples, but {real.where} has {len(real)}; "
            "name larger shards with --samples"
        )
    return real


def _refuse(out: Path, candidate: Candidate, verdict: Verdict, command: str) -> int:
    """Says which gate failed. The report stays, the model does not."""
    failed = verdict.results[-1]
    pages = _report(out, candidate, verdict, command)
    print(f"error: gate {failed.name} failed; {failed.remedy}. No model was written.", file=sys.stderr)
    print(f"report: {pages[1]}", file=sys.stderr)
    return GATE_FAILED


def _release(out: Path, candidate: Candidate, verdict: Verdict, metadata: Metadata) -> list[Path]:
    """Moves the model, with its gates' results in it, to where it is wanted. Returns its files, the graph first."""
    gates = tuple(result.to_json() for result in verdict.results)
    model = candidate.exported.model
    graph.save(model, replace(metadata, gates=gates).to_props(), candidate.file)
    return graph.move(model, candidate.file, out)


def _report(out: Path, candidate: Candidate, verdict: Verdict, command: str) -> tuple[Path, Path]:
    """Beside the model; of one that failed where another model stands, under a name of its own."""
    if not verdict.passed and out.exists():
        out = out.with_name(f"{out.stem}.failed{out.suffix}")
    shown = []
    if verdict.worst is not None:
        number = verdict.worst.number
        title = f"worst picture (sample {number}, PSNR {verdict.distances[number].psnr_db:.1f} dB)"
        shown.append(report.Shown(title, verdict.worst.reference, verdict.worst.exported))
    facts = report.facts_of(candidate, command)
    return report.write(out, verdict.results, facts, shown, [asdict(each) for each in verdict.distances])


def _log(
    options: argparse.Namespace, synthesis: Synthesis, judged: Samples, verdict: Verdict, pages: tuple[Path, Path]
) -> None:
    """Logs the model to the run of its checkpoint, where there is one. What fails there is a warning."""
    if not (synthesis.run_id and synthesis.tracking_uri):
        return
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
        return
    print(registry.in_words(synthesis.method, synthesis.tracking_uri, options.name, options.alias))


def _print_files(exported: graph.Exported, written: list[Path], pages: tuple[Path, Path]) -> None:
    model = exported.model
    counts = ", ".join(f"{name} {count}" for name, count in graph.nodes_by_operator(model).items())
    megabytes = sum(each.stat().st_size for each in written) / 1e6
    print(f"{graph.parameters_of(model):,} parameters, {megabytes:.1f} MB, {len(model.graph.node)} nodes: {counts}")
    for path in (*pages, *reversed(written)):
        print(path)
