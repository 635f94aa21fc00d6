"""The demo's report: `python -m trainer.report --demo runs/demo` writes report.html and report.json."""

import argparse
import io
import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from likeness import atomic
from likeness.array import Array
from likeness.command import BadInput, run_command
from shards import labels
from shards.media.pictures import data_url, read_picture
from shards.reading import samples
from shards.records import LabelSchema, Pair, load_manifest
from trainer.grid import enlarge
from trainer.metrics.metric import Judged
from trainer.metrics.style_truth import style_metric
from trainer.metrics.swaps import swap_metric
from trainer.metrics.truth import Truth
from trainer.perceptual import title_of
from trainer.tracking.journal import read_journal

ROWS = 12
CURVES = {
    "Generator": ("generator/pixel", "generator/semantic", "generator/style", "generator/realism"),
    "Discriminators": ("realism/total", "style/total"),
    "Images per second": ("images_per_s",),
}
PACKAGES = ("torch", "accelerate", "onnx", "onnxruntime-gpu", "mlflow", "webdataset", "numpy")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.report", description=__doc__)
    parser.add_argument(
        "--demo",
        type=Path,
        default=Path("runs/demo"),
        help="folder with videos/, shards/test/, train/, pictures/, swapped/ and stages/ (default: %(default)s)",
    )
    arguments = parser.parse_args()
    print(write_report(arguments.demo))
    return 0


def write_report(demo: Path) -> Path:
    """Writes `report.html` and `report.json` into the demo's folder; returns the page's path.

    Raises BadInput naming the first stage whose output is missing.
    """
    manifest, folder = load_manifest(demo / "shards" / "test")
    schema = manifest.schema
    pictures, swapped = (_summary(demo / name) for name in ("pictures", "swapped"))
    members = [members for _, members in samples.iter_samples(folder, manifest)]
    truth = Truth(demo / "videos", schema)
    scores = _scores(truth, _judged(demo, schema, members, swapped["roll_labels"]))
    figures = _figures(demo, pictures, scores)
    rows = [_row(demo, truth, schema, each) for each in members[:ROWS]]
    page = _template().render(
        **figures,
        rows=rows,
        curves=_curves(demo / "train"),
        schema=schema,
        summary=pictures,
        loss_network=title_of(pictures["perceptual"]),
        distance=scores.distance,
        images_seen=read_journal(demo / "train")[-1]["images"],
    )
    atomic.write_text(demo / "report.json", json.dumps(figures, indent=1) + "\n")
    atomic.write_text(demo / "report.html", page)
    return demo / "report.html"


@dataclass(frozen=True)
class _Scores:
    """What is measured of the demo's pictures."""

    exemplar_percent: float
    """Pictures nearer to the truth than to the same label in another held-out exemplar's style; 50 is chance."""
    label_percent: float
    """Pictures that, painted from another pair's label, are nearer to that label's truth than to the own label's.

    Both truths are in the exemplar's style; 50 is chance.
    """
    distance: float
    """Mean |picture - truth| in 1/255."""
    pairs: int
    """How many pairs were measured."""


def _judged(demo: Path, schema: LabelSchema, members: list[samples.Members], roll: int) -> list[Judged]:
    """The demo's pictures, with those that were painted from the label `roll` pairs on."""
    decoded = [samples.decode(each, schema, ("target", "exemplar"), ()) for each in members]
    return [
        Judged(
            one.pair,
            picture=_picture(demo / "pictures", one.pair),
            target=one.photos["target"],
            exemplar=one.photos["exemplar"],
            other_label=_picture(demo / "swapped", one.pair),
            label_from=decoded[(place + roll) % len(decoded)].pair,
        )
        for place, one in enumerate(decoded)
    ]


def _scores(truth: Truth, judged: list[Judged]) -> _Scores:
    style, swap = style_metric(truth, [each.pair.exemplar for each in judged], k=1), swap_metric(truth)
    columns = style.measure(judged) | swap.measure(judged)
    return _Scores(
        exemplar_percent=style.figures["style/top1"].compute(columns),
        label_percent=swap.figures["swap/label_follows"].compute(columns),
        distance=style.figures["truth/distance"].compute(columns),
        pairs=len(judged),
    )


def _summary(folder: Path) -> dict[str, Any]:
    file = folder / "summary.json"
    if not file.is_file():
        raise BadInput(f"{file} is missing; run `python -m deploy batch … --out {folder}` first")
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return summary


def _picture(folder: Path, pair: Pair) -> Array:
    file = folder / f"{pair.key}.png"
    if not file.is_file():
        raise BadInput(f"{file} is missing; run `python -m deploy batch … --out {folder}` again")
    return read_picture(file)


def _figures(demo: Path, summary: dict[str, Any], scores: _Scores) -> dict[str, Any]:
    """What `report.json` holds."""
    parity = next(gate for gate in summary["gates"] if gate["name"] == "parity")["figures"]
    stages = sorted((demo / "stages").glob("*"), key=lambda file: file.stat().st_mtime)
    return {
        "exemplar_percent": round(scores.exemplar_percent, 2),
        "label_percent": round(scores.label_percent, 2),
        "pairs": scores.pairs,
        "latency_ms": summary["latency_ms"],
        "parity": {"max_abs": parity["max_abs"], "psnr_db": parity["psnr_db"]},
        "stages_s": {file.name: float(file.read_text(encoding="utf-8")) for file in stages},
        "provider": summary["provider"],
        "versions": {name: metadata.version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
    }


def _row(demo: Path, truth: Truth, schema: LabelSchema, members: samples.Members) -> list[str]:
    """label map | exemplar | our picture | true picture, as data URIs."""
    sample = samples.decode(members, schema, ("exemplar",), ("target",))
    cells = [
        labels.picture(schema, sample.labels["target"]),
        sample.photos["exemplar"],
        _picture(demo / "pictures", sample.pair),
        truth.draw(sample.pair.target, sample.pair.exemplar),
    ]
    return [data_url(enlarge(cell, 192)) for cell in cells]


def _curves(run: Path) -> str:
    """The run's curves over images seen, as SVG."""
    journal = read_journal(run)
    if not journal:
        raise BadInput(f"{run} has no journal; train first")
    figure, axes = plt.subplots(1, len(CURVES), figsize=(12, 3.2), layout="constrained")
    for axis, (title, names) in zip(axes, CURVES.items(), strict=True):
        for name in names:
            points = [(line["images"], line[name]) for line in journal if name in line]
            if points:
                axis.plot(*zip(*points, strict=True), label=name.partition("/")[2] if title == "Generator" else name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("images seen", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html")


if __name__ == "__main__":
    sys.exit(run_command(main))
