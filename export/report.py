"""What the gates found, beside the model: `face.report.json` for machines and `face.report.html` for people."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from export.figures import number, size, words
from export.gates.result import Candidate, GateResult
from export.graph import nodes_by_operator, parameters_of
from export.strips import strips_of
from export.weights import weights_of
from likeness import atomic
from likeness.array import Array
from likeness.machine import device, versions
from shards.media.pictures import data_url

LARGEST_AMPLIFICATION = 64
COMMANDS = "commands"
"""Facts of this name are shown as they are typed."""


@dataclass(frozen=True)
class Shown:
    """A picture of the report, painted twice."""

    title: str
    """What it shows, such as "worst picture (sample 17, PSNR 41.2 dB)"."""
    reference: Array
    """What PyTorch in fp32 painted, uint8 (H, W, 3) RGB."""
    exported: Array
    """What the exported graph painted, uint8 (H, W, 3) RGB."""


@dataclass(frozen=True)
class Panel:
    """A `Shown` on the page; pictures are data URLs."""

    title: str
    """That of the picture."""
    reference: str
    """What PyTorch painted."""
    exported: str
    """What the graph painted."""
    difference: str
    """Of the two, amplified."""
    amplification: int
    """By how much, a power of two."""
    words: str
    """How many pixels differ, and by how much."""


def paths(model: Path) -> tuple[Path, Path]:
    """Where the report of a model goes: `face.onnx` → `face.report.json`, `face.report.html`."""
    return model.with_suffix(".report.json"), model.with_suffix(".report.html")


def write(
    model: Path,
    results: Sequence[GateResult],
    facts: Mapping[str, Any],
    shown: Sequence[Shown],
    per_picture: Sequence[Mapping[str, float]],
) -> tuple[Path, Path]:
    """Writes the report of an export, whether or not its gates were passed. Returns the paths of JSON and page.

    model: the model's file, which need not exist: when a gate failed there is none. results: a figure called
    `least_<figure>` or `most_<figure>` is shown as the threshold of that figure. facts: what is known of the export,
    JSON-ready; a mapping within is a table of its own. shown: pictures, the worst first. per_picture: `psnr_db`,
    `ssim` and `max_abs` of each sample, in the samples' order.
    """
    as_json, as_page = paths(model)
    passed = bool(results) and all(result.passed for result in results)
    content = {
        "model": model.name,
        "passed": passed,
        "gates": [result.to_json() for result in results],
        "facts": facts,
        "per_picture": per_picture,
    }
    page = _template().render(
        model=model.name,
        passed=passed,
        gates=[(result, *result.figures_and_limits()) for result in results],
        failed=[result for result in results if not result.passed],
        facts={name: value for name, value in facts.items() if not isinstance(value, Mapping) and name != COMMANDS},
        tables={name: value for name, value in facts.items() if isinstance(value, Mapping) and name != COMMANDS},
        commands=_lines(facts.get(COMMANDS)),
        panels=[_panel(each) for each in shown],
        strips=strips_of(per_picture, results),
        pictures=len(per_picture),
        json_name=as_json.name,
    )
    atomic.write_text(as_json, json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")
    atomic.write_text(as_page, page)
    return as_json, as_page


def facts_of(candidate: Candidate, command: str) -> dict[str, Any]:
    """What is known of an export; `command` is what was typed. The candidate's file may be gone."""
    exported, synthesis = candidate.exported, candidate.synthesis
    recipe, model = exported.recipe, exported.model
    files = [candidate.file, *weights_of(model, candidate.file)]
    return {
        "method": synthesis.method,
        "checkpoint_sha256": synthesis.sha256,
        "images_seen": synthesis.images_seen,
        "mlflow_run_id": synthesis.run_id or "none",
        "label schema": f"{synthesis.schema.kind}, {synthesis.schema.channels} channels",
        "size": f"{synthesis.schema.width}×{synthesis.schema.height}" + (" or any" if recipe.dynamic_size else ""),
        "opset": recipe.opset,
        "io": recipe.io,
        "precision": recipe.precision,
        "parameters": parameters_of(model),
        "samples": f"{len(candidate.samples)} from {candidate.samples.where}",
        "provider": candidate.provider,
        "device": device(candidate.provider),
        "bytes": {file.name: file.stat().st_size for file in files if file.is_file()},
        "nodes": nodes_by_operator(model),
        "versions": {**versions(), **{name: metadata.version(name) for name in ("torch", "onnx", "onnxscript")}},
        COMMANDS: [command],
    }


def _plain(value: Any) -> Any:
    """The same with what JSON does not know as strings: a figure that is no number is just what one looks for."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [str(each) for each in value.values()]
    return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)] if value else []


def _panel(shown: Shown) -> Panel:
    difference = np.abs(shown.reference.astype(np.int16) - shown.exported)
    largest = int(difference.max())
    # As much as nothing is clipped; a power of two is easy to think back from.
    amplification = LARGEST_AMPLIFICATION
    while amplification > 1 and largest * amplification > 255:
        amplification //= 2
    if largest:
        share = 100 * float((difference > 0).any(axis=2).mean())
        sentence = f"{share:.3g} % of the pixels differ, by {largest} of 255 at most"
    else:
        sentence = "Not one pixel differs in 8 bits"
    amplified = (difference * amplification).clip(0, 255).astype(np.uint8)
    return Panel(
        title=shown.title,
        reference=data_url(shown.reference),
        exported=data_url(shown.exported),
        difference=data_url(amplified),
        amplification=amplification,
        words=sentence,
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "size": size, "words": words}
    return environment.get_template("report.html")
