"""Judging pictures on pairs: what is measured of each, the figures over all of them, and the files that hold both."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from likeness.array import Array
from trainer.checkpoints.synthesis import Synthesis
from trainer.evaluate import paint
from trainer.evaluate import report as evaluation_report
from trainer.evaluate.judged_pairs import JudgedPairs, JudgedShards
from trainer.evaluate.metrics_asked_for import Sources, metrics_of
from trainer.evaluate.painted_folder import PaintedFolder
from trainer.metrics.bootstrap import Estimate, estimates
from trainer.metrics.metric import FigureOf, Judged, Metric, stacked
from trainer.ranks.rendezvous import leave

GROUP = 16
"""Pairs that are judged at a time."""
RESULT, PARQUET = "evaluation.json", "pictures.parquet"
PACKAGES = ("torch", "torchmetrics", "numpy")
"""Whose versions are recorded: other versions may give other figures."""


@dataclass(frozen=True)
class Evaluation:
    """The result: every measurement of every picture, and the figures over all of them."""

    identity: dict[str, Any]
    """What was judged, on what, with which networks: the first entries of `evaluation.json`."""
    figures: dict[str, FigureOf]
    """How each figure is computed, by name."""
    estimates: dict[str, Estimate]
    """Each figure's value and interval, by name."""
    columns: dict[str, Array]
    """Every measurement by name, a row per pair, in the pairs' order."""
    groupings: list[tuple[str, ...]]
    """The sources of all targets, and those of all exemplars: per pair, what is resampled as a whole."""

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
    """Where painted pictures lie."""

    pictures: Path
    """The pictures of the pairs as they are."""
    swapped: Path | None
    """Those painted from the label map of another pair; None where nobody painted them."""
    roll: int
    """How many pairs further on that other pair is, counted around the end of all pairs."""


def evaluate(
    accelerator: Accelerator,
    pairs: JudgedPairs,
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
    # First, so that a missing network or weights file is an error before anything is painted.
    metrics, networks = metrics_of(sources, pairs, total, accelerator)
    folders, subject_identity = _painted(accelerator, pairs, subject, out, roll, mine)
    columns = judge(pairs, total, folders, metrics, mine)
    # Ranks hold neighbouring slices in order, so that their columns, one after the other, are those of a single rank.
    parts = [part for part in gather_object([columns]) if part]
    # The others need not wait while intervals are computed.
    leave(accelerator)
    if not accelerator.is_main_process:
        return None
    groupings = list(zip(*(pairs.groups(pairs.pair(number)) for number in range(total)), strict=True))
    identity = {
        **subject_identity,
        "data": pairs.identity,
        "pairs": total,
        "groups": len(set(groupings[0])),
        "roll": folders.roll if folders.swapped is not None else None,
        "networks": networks,
        "versions": {name: packages.version(name) for name in PACKAGES},
    }
    columns = stacked(parts)
    figures = {name: figure for metric in metrics.values() for name, figure in metric.figures.items()}
    evaluation = Evaluation(identity, figures, estimates(figures, columns, groupings), columns, groupings)
    write(evaluation, pairs, folders, sources, out)
    return evaluation


def _painted(
    accelerator: Accelerator, pairs: JudgedPairs, subject: Synthesis | Folders, out: Path, roll: int, mine: range
) -> tuple[Folders, dict[str, Any]]:
    """The folders of the pictures to judge, painted if need be, and what says whose they are."""
    if isinstance(subject, Folders):
        return subject, {"pictures": str(subject.pictures)}
    assert isinstance(pairs, JudgedShards), "only shards have label maps to paint from"
    paint.paint(subject, pairs, roll, out, accelerator.device, mine)
    # A swapped picture is judged beside one that another rank may have painted.
    accelerator.wait_for_everyone()
    identity = {"checkpoint": subject.sha256, "method": subject.method, "images": subject.images_seen}
    return Folders(out / paint.PICTURES, out / paint.SWAPPED, roll), identity


def judge(
    pairs: JudgedPairs, total: int, folders: Folders, metrics: Mapping[str, Metric], mine: range
) -> dict[str, Array]:
    """The columns of a slice of the first `total` pairs. Raises BadInput naming a missing or broken picture."""
    parts = []
    for start in tqdm(range(mine.start, mine.stop, GROUP), "judging", disable=mine.start != 0, unit="group"):
        group = [judged(pairs, total, folders, number) for number in range(start, min(start + GROUP, mine.stop))]
        part: dict[str, Array] = {}
        for metric in metrics.values():
            part |= metric.measure(group)
        parts.append(part)
    return stacked(parts) if parts else {}


def judged(pairs: JudgedPairs, total: int, folders: Folders, number: int) -> Judged:
    """A picture with everything that it is judged by.

    Swapping label maps gives each picture two siblings: painted from another pair's label map with this exemplar, and
    from this label map with another pair's exemplar. The second needs no third folder: it is the swapped picture of
    the pair `roll` before.
    """
    photos = pairs.photos(number)
    key, shape = photos.pair.key, photos.target.shape
    picture = PaintedFolder(folders.pictures).read(key, shape)
    unswapped = Judged(photos.pair, picture, photos.target, photos.exemplar, photos.ids)
    if folders.swapped is None:
        return unswapped
    swapped = PaintedFolder(folders.swapped)
    after, before = ((number + roll) % pairs.total for roll in (folders.roll, -folders.roll))
    one = replace(unswapped, other_label=swapped.read(key, shape), label_from=pairs.pair(after))
    if before >= total:
        # Where fewer than all pairs are judged, that pair's swapped picture need not have been painted.
        return one
    exemplar_from = pairs.pair(before)
    return replace(one, other_exemplar=swapped.read(exemplar_from.key, shape), exemplar_from=exemplar_from)


def write(evaluation: Evaluation, pairs: JudgedPairs, folders: Folders, sources: Sources, out: Path) -> None:
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
    (out / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
