"""`python -m trainer.evaluate`: judges a checkpoint, or any folder of pictures, on held-out pairs."""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from tqdm import tqdm

from likeness import atomic
from likeness.arguments import count
from likeness.array import Array
from likeness.command import BadInput, run_command
from trainer.checkpoints.synthesis import Synthesis, load_for_synthesis
from trainer.evaluate import paint
from trainer.evaluate import report as evaluation_report
from trainer.evaluate.judged_pairs import Painted, Pairs, ShardPairs, open_pairs
from trainer.evaluate.metrics_asked_for import Sources, add_arguments, metrics_of, sources_of
from trainer.metrics.bootstrap import Estimate, estimates
from trainer.metrics.metric import FigureOf, Judged, Metric, stacked
from trainer.ranks.rendezvous import leave

GROUP = 16
"""Pairs that are judged at a time."""
RESULT, PARQUET = "evaluation.json", "pictures.parquet"
PACKAGES = ("torch", "torchmetrics", "numpy")

HELP = """\
Judges pictures on held-out pairs: those that a checkpoint paints (--checkpoint), or those of any folder (--pictures),
such as `python -m deploy batch` or another system wrote it, one per pair, named by the pair's key. Both are judged as
8-bit files, by the same code.

What is measured grows with what it is given:

  always            SSIM, PSNR, mean difference and copying of the exemplar, where the target has the exemplar's style:
                    only there is it the answer (lists of your own say so; packed held-out pairs have two styles)
  --videos DIR      the videos of a world: distance to the true picture, whether style and label map are followed,
                    factor by factor; landmarks, pose or classes as a small network trained on the world reads them
  --features F      how unlike the sets of painted and of real pictures are: `inception` gives FID and KID, `world` the
                    same formulas on the world's own small network, which are never called FID
  --lpips PATH      LPIPS to the true picture, or to the target where it has the exemplar's style
  --detector D      LEPE: landmarks found in the painted picture against those in the photo (a CSV's are faces)
  --parser ONNX     SPS: the classes that a segmentation model sees in the painted picture, against the label map
  --eyes VGG        VGG distance of the eyes' patches to the exemplar's

Writes a folder: evaluation.json (every figure with its 95 % interval from a bootstrap over source videos),
pictures.parquet (every picture's measurements), report.html (worst and best cases), and for a checkpoint the
pictures.
"""
EPILOG = """\
examples:
  python -m trainer.evaluate --checkpoint runs/demo/train --videos runs/demo/videos --out runs/demo/evaluation
  python -m trainer.evaluate --pictures painted --data data/face/test --features inception --out judged
  accelerate launch --num_processes 8 -m trainer.evaluate --checkpoint runs/face --data data/face/test --out judged
exit codes: 0 done, 2 bad input
"""


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    identity: what was judged, on what, with which networks. columns: every measurement, a row per pair, in order.
    groupings: per pair, the sources of target and exemplar, which are resampled as wholes.
    """

    identity: dict[str, Any]
    metrics: dict[str, Metric]
    figures: dict[str, FigureOf]
    estimates: dict[str, Estimate]
    columns: dict[str, Array]
    groupings: list[tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """What `evaluation.json` holds; null stands for what could not be computed."""
        figures = {
            name: {
                **{key: _number(value) for key, value in asdict(estimate).items()},
                "unit": self.figures[name].unit,
                "better": self.figures[name].better,
                "meaning": self.figures[name].meaning,
            }
            for name, estimate in self.estimates.items()
        }
        return {**self.identity, "figures": figures}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Folders:
    """Where painted pictures lie. swapped: those painted from the label map of the pair `roll` further on, if any."""

    pictures: Path
    swapped: Path | None
    roll: int


def judge(pairs: Pairs, total: int, folders: Folders, metrics: Mapping[str, Metric], mine: range) -> dict[str, Array]:
    """The columns of a slice of the first `total` pairs. Raises BadInput naming a missing or broken picture."""
    parts = []
    for start in tqdm(range(mine.start, mine.stop, GROUP), "judging", disable=mine.start != 0, unit="group"):
        group = [judged(pairs, total, folders, number) for number in range(start, min(start + GROUP, mine.stop))]
        part: dict[str, Array] = {}
        for metric in metrics.values():
            part |= metric.measure(group)
        parts.append(part)
    return stacked(parts) if parts else {}


def judged(pairs: Pairs, total: int, folders: Folders, number: int) -> Judged:
    """A picture with everything that it is judged by."""
    photos = pairs.photos(number)
    shape = photos.target.shape
    plain = Judged(
        photos.pair, Painted(folders.pictures).read(photos.pair.key, shape), photos.target, photos.exemplar, photos.ids
    )
    if folders.swapped is None:
        return plain
    swapped = Painted(folders.swapped)
    after, before = ((number + roll) % pairs.total for roll in (folders.roll, -folders.roll))
    plain = replace(plain, other_label=swapped.read(photos.pair.key, shape), label_from=pairs.pair(after))
    if before >= total:
        # Where fewer than all pairs are judged, nobody need have painted it.
        return plain
    # What the pair before was painted from after the swap is this one's label map, with that one's exemplar.
    exemplar_from = pairs.pair(before)
    return replace(plain, other_exemplar=swapped.read(exemplar_from.key, shape), exemplar_from=exemplar_from)


def evaluate(
    accelerator: Accelerator,
    pairs: Pairs,
    limit: int,
    subject: Synthesis | Folders,
    sources: Sources,
    out: Path,
    roll: int = 1,
) -> Evaluation | None:
    """Paints, if asked, and judges the first `limit` pairs, with as many processes as the launcher started.

    subject: what paints, or what was painted. Writes into the folder `out`, which exists and which all ranks see.
    Returns None but on rank 0. Raises BadInput as pairs, pictures and metrics do.
    """
    total = min(limit, pairs.total)
    mine = paint.slice_of(total, accelerator.process_index, accelerator.num_processes)
    # First, so that what is missing is said before anything is painted.
    metrics, networks = metrics_of(sources, pairs, total, accelerator)
    if isinstance(subject, Folders):
        folders: Folders = subject
        identity: dict[str, Any] = {"pictures": str(subject.pictures)}
    else:
        assert isinstance(pairs, ShardPairs), "only shards have label maps to paint from"
        paint.paint(subject, pairs, roll, out, accelerator.device, mine)
        folders = Folders(out / paint.PICTURES, out / paint.SWAPPED, roll)
        identity = {"checkpoint": subject.sha256, "method": subject.method, "images": subject.images_seen}
        accelerator.wait_for_everyone()
    columns = judge(pairs, total, folders, metrics, mine)
    parts = [part for part in gather_object([columns]) if part]
    # The others need not wait while intervals are computed.
    leave(accelerator)
    if not accelerator.is_main_process:
        return None
    columns = stacked(parts)
    groupings = list(zip(*(pairs.groups(pairs.pair(number)) for number in range(total)), strict=True))
    figures = {name: figure for metric in metrics.values() for name, figure in metric.figures.items()}
    evaluation = Evaluation(
        {
            **identity,
            "data": pairs.identity,
            "pairs": total,
            "groups": len(set(groupings[0])),
            "roll": folders.roll if folders.swapped is not None else None,
            "networks": networks,
            "versions": {name: packages.version(name) for name in PACKAGES},
        },
        metrics,
        figures,
        estimates(figures, columns, groupings),
        columns,
        groupings,
    )
    write(evaluation, pairs, folders, sources, out)
    return evaluation


def write(evaluation: Evaluation, pairs: Pairs, folders: Folders, sources: Sources, out: Path) -> None:
    """The files of an evaluation: JSON, Parquet, the report page."""
    total = len(evaluation.groupings[0])
    records = [pairs.pair(number) for number in range(total)]
    table: dict[str, Any] = {
        "key": [pair.key for pair in records],
        "target": [f"{pair.target.source}#{pair.target.number}" for pair in records],
        "exemplar": [f"{pair.exemplar.source}#{pair.exemplar.number}" for pair in records],
        "same_style": [pair.same_style for pair in records],
        "target_group": evaluation.groupings[0],
        "exemplar_group": evaluation.groupings[1],
    }
    table |= {name: values for name, values in evaluation.columns.items() if values.ndim == 1}
    pq.write_table(pa.table(table), out / PARQUET)
    result = evaluation.to_json()

    def pictures_of(number: int) -> Judged:
        return judged(pairs, total, folders, number)

    evaluation_report.write(out, result, evaluation.figures, table, pictures_of, sources.truth)
    (out / RESULT).write_text(json.dumps(result, indent=1) + "\n")


def table_of(result: Mapping[str, Any]) -> str:
    """The figures for people, a line each."""
    rows = [("figure", "value", "95 % interval", "better", "pairs")]
    for name, figure in result["figures"].items():
        if figure["value"] is None:
            continue
        unit = f" {figure['unit']}" if figure["unit"] else ""
        interval = "" if figure["low"] is None else f"{_short(figure['low'])} – {_short(figure['high'])}"
        rows.append((name, _short(figure["value"]) + unit, interval, figure["better"] or "", str(figure["pictures"])))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


@contextmanager
def _new_folder(out: Path, accelerator: Accelerator) -> Iterator[Path]:
    """A folder that all ranks write into, and that appears as `out` when rank 0 is done with it."""
    if not accelerator.is_main_process:
        yield Path(broadcast_object_list([None])[0])
        return
    with atomic.new_folder(out) as partial:
        broadcast_object_list([str(partial)])
        yield partial


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.evaluate",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--checkpoint", type=Path, metavar="DIR", help="a run's folder (its latest), or a checkpoint")
    subject.add_argument("--pictures", type=Path, metavar="DIR", help="painted pictures, KEY.png, .jpg or .webp")
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for what comes out")
    add(
        "--data",
        metavar="DIR|URL|CSV",
        help="held-out shards (default: the run's own), or a CSV of picture, target, exemplar (photo files) and, if "
        "there, label (PNG of class ids), same_style (0 or 1), group (what belongs together, as a video's frames do)",
    )
    add("--pairs", type=count, default=2500, metavar="N", help="how many pairs, from the front (default: 2500)")
    add("--swapped", type=Path, metavar="DIR", help="as --pictures, painted with `deploy batch --roll-labels N`")
    add("--roll", type=count, default=1, metavar="N", help="that N (default: 1)")
    add_arguments(parser)
    add("--json", action="store_true", help="print evaluation.json instead of a table")
    return parser


def _command(arguments: Sequence[str] | None) -> None:
    options = _parser().parse_args(arguments)
    atomic.refuse_existing(options.out)
    synthesis, location = _subject(options)
    with open_pairs(location) as pairs:
        subject = _painter(synthesis, pairs, location) or _folders(options, pairs)
        sources = sources_of(options, pairs)
        accelerator = Accelerator()
        if isinstance(subject, Synthesis):
            subject.module.to(accelerator.device)
        with _new_folder(options.out, accelerator) as folder:
            evaluation = evaluate(accelerator, pairs, options.pairs, subject, sources, folder, options.roll)
    if evaluation is not None:
        result = evaluation.to_json()
        print(json.dumps(result, indent=1) if options.json else f"{table_of(result)}\n{options.out / 'report.html'}")


def _subject(options: argparse.Namespace) -> tuple[Synthesis | None, str]:
    """What paints, or None for pictures that are painted, and where the pairs are. Raises BadInput for neither."""
    if options.checkpoint is None:
        if options.data is None:
            raise BadInput(f"--pictures {options.pictures} needs --data: the pairs that they were painted from")
        return None, options.data
    if options.swapped:
        raise BadInput("--swapped goes with --pictures; a checkpoint paints its own")
    synthesis = load_for_synthesis(options.checkpoint)
    location = options.data or synthesis.test_shards
    if location is None:
        raise BadInput(f"{options.checkpoint} was trained without held-out shards; name some with --data")
    return synthesis, location


def _folders(options: argparse.Namespace, pairs: Pairs) -> Folders:
    """Raises BadInput when `deploy batch` says that it rolled the swapped labels by another number."""
    summary = options.swapped and options.swapped / "summary.json"
    if summary and summary.is_file():
        rolled = json.loads(summary.read_text()).get("roll_labels")
        if isinstance(rolled, int) and (rolled - options.roll) % pairs.total:
            raise BadInput(f"{summary} says --roll-labels {rolled}; give --roll {rolled}, not {options.roll}")
    return Folders(options.pictures, options.swapped, options.roll)


def _painter(synthesis: Synthesis | None, pairs: Pairs, location: str) -> Synthesis | None:
    """What was given. Raises BadInput when it cannot paint these pairs."""
    if synthesis is None:
        return None
    if not isinstance(pairs, ShardPairs):
        raise BadInput(f"{location} has no label maps to paint from; a checkpoint needs shards, or use --pictures")
    paint.check(synthesis, pairs)
    return synthesis


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
