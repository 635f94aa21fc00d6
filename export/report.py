"""What the gates found, beside the model: `face.report.json` for machines and `face.report.html` for people."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from export.gates.result import LIMITS, Candidate, GateResult
from export.graph import nodes_by_operator, parameters_of
from export.weights import weights_of
from likeness import atomic
from likeness.array import Array
from likeness.machine import device, versions

FIGURES = {"psnr_db": ("PSNR", "dB"), "ssim": ("SSIM", ""), "max_abs": ("largest difference", "")}
HIGHER_IS_BETTER = ("psnr_db", "ssim")
LARGEST_AMPLIFICATION = 64
COMMANDS = "commands"  # facts of this name are shown as they are typed
CEILING_DB = 200.0  # the PSNR that equal pictures are given
PLOTS = ((960, 200), (420, 150))  # width and height of the first plot, and of the smaller ones after it


@dataclass(frozen=True)
class Shown:
    """A picture of the report.

    title: what it shows, such as "worst picture (sample 17, PSNR 41.2 dB)". reference, exported: uint8 (H, W, 3) RGB,
    what PyTorch in fp32 and what the exported graph painted.
    """

    title: str
    reference: Array
    exported: Array


@dataclass(frozen=True)
class Panel:
    """A `Shown` on the page: pictures as data URLs, how much the difference is amplified, and what it is in words."""

    title: str
    reference: str
    exported: str
    difference: str
    amplification: int
    words: str


@dataclass(frozen=True)
class Strip:
    """A figure of all pictures, sorted from the worst to the best, as coordinates of a plot.

    dots: x, y, and what it is in words. ticks: y and label. limit: the same for a gate's threshold.
    """

    name: str
    unit: str
    width: int
    height: int
    dots: Sequence[tuple[float, float, str]]
    ticks: Sequence[tuple[float, str]]
    limit: tuple[float, str] | None
    worst: str
    median: str


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
        strips=_strips(per_picture, results),
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


def number(value: Any) -> str:
    """For people: four digits of a fraction, thousands apart in a whole number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.2e}" if abs(value) < 1e-3 else f"{value:,.{min(digits, 4)}f}"


def size(count: Any) -> str:
    """Bytes, for people."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if isinstance(count, int | float) and count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count} B"


def words(name: str) -> str:
    """A name of the JSON, as one reads it: `psnr_db` is PSNR, dB."""
    known = {"psnr_db": "PSNR, dB", "ssim": "SSIM", "max_abs": "largest difference", "io": "input and output"}
    return known.get(name, name.replace("_", " "))


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
        said = f"{share:.3g} % of the pixels differ, by {largest} of 255 at most"
    else:
        said = "Not one pixel differs in 8 bits"
    amplified = (difference * amplification).clip(0, 255).astype(np.uint8)
    return Panel(
        title=shown.title,
        reference=_data_url(shown.reference),
        exported=_data_url(shown.exported),
        difference=_data_url(amplified),
        amplification=amplification,
        words=said,
    )


def _data_url(picture: Array) -> str:
    _, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(content.tobytes()).decode()


def _strips(per_picture: Sequence[Mapping[str, float]], results: Sequence[GateResult]) -> list[Strip]:
    strips: list[Strip] = []
    for name in FIGURES:
        # Where a figure is no number the picture is broken: that is the worst.
        having = [(float(each[name]), index) for index, each in enumerate(per_picture) if name in each]
        broken = [pair for pair in having if math.isnan(pair[0])]
        whole = sorted((pair for pair in having if not math.isnan(pair[0])), reverse=name not in HIGHER_IS_BETTER)
        if having:
            strips.append(_strip(name, [*broken, *whole], _limit(name, results), *PLOTS[min(len(strips), 1)]))
    return strips


def _limit(name: str, results: Sequence[GateResult]) -> tuple[float, str] | None:
    """The last threshold that a gate gives for a figure, and how it is written."""
    found = None
    for result in results:
        for prefix, sign in LIMITS.items():
            value = result.figures.get(prefix + name)
            found = found if value is None else (float(value), f"{sign} {value:g} {FIGURES[name][1]}".rstrip())
    return found


def _strip(
    name: str, figures: Sequence[tuple[float, int]], limit: tuple[float, str] | None, width: int, height: int
) -> Strip:
    """figures: values and the samples they are of, from the worst to the best."""
    title, unit = FIGURES[name]
    values = [value for value, _ in figures]
    # Equal pictures, and broken ones, are drawn at the edge; the scale is for the others.
    scaled = [value for value in values if math.isfinite(value) and (name != "psnr_db" or value < CEILING_DB)]
    scaled += [limit[0]] if limit else []
    ticks = _ticks(min(scaled, default=0.0), max(scaled, default=1.0))
    low, high = ticks[0], ticks[-1]
    worst = low if name in HIGHER_IS_BETTER else high

    def y(value: float) -> float:
        within = worst if math.isnan(value) else min(max(value, low), high)
        return round(height * (high - within) / (high - low), 1)

    def said(value: float) -> str:
        return f"{number(value)} {unit}".rstrip() if math.isfinite(value) else number(value)

    step = width / len(values)
    dots = [
        (round(step * (place + 0.5), 1), y(value), f"sample {index}: {said(value)}")
        for place, (value, index) in enumerate(figures)
    ]
    return Strip(
        name=title,
        unit=unit,
        width=width,
        height=height,
        dots=dots,
        ticks=[(y(value), f"{value:g}") for value in ticks],
        limit=(y(limit[0]), limit[1]) if limit else None,
        worst=said(values[0]),
        median=said(values[len(values) // 2]),
    )


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from below `low` to above `high`."""
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(place * step, 12) for place in range(first, max(last, first + 1) + 1)]


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
