"""The tables of the papers with our figures beside the published ones, as Markdown."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from likeness.array import Array
from likeness.machine import processor
from trainer import methods
from trainer.metrics.bootstrap import Estimate, estimates
from trainer.metrics.factors import FACTORS
from trainer.metrics.metric import mean_of
from trainer.perceptual import title_of
from trainer.tables import published

PACKAGES = ("torch", "accelerate", "torchmetrics", "numpy")
OURS = "style-consistent"
"""The row of the method that the paper of these tables proposes, and ablates."""
NONE = "–"
NEAR_CHANCE = 0.1
"""Further from chance than this must no end of an interval be that says: at chance."""
SHARED = 1.3
"""Times the processor time of one of the jobs; a clock that shows more says that the cores did other work as well."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation's folder holds."""

    result: dict[str, Any]
    """Its evaluation.json."""
    columns: dict[str, Array]
    """Measurements by name, in the pairs' order; NaN where one is missing."""
    groupings: list[list[str]]
    """The pairs' source videos: the targets', then the exemplars'."""

    @classmethod
    def read(cls, folder: Path) -> "Evaluated":
        table = pq.read_table(folder / "pictures.parquet").to_pydict()
        groupings = [table["target_group"], table["exemplar_group"]]
        columns = {
            name: np.array([math.nan if value is None else value for value in values], float)
            for name, values in table.items()
            if name not in ("key", "target", "exemplar", "same_style", "target_group", "exemplar_group")
        }
        return cls(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")), columns, groupings)

    def figure(self, name: str) -> dict[str, Any] | None:
        """Value, interval, unit and direction of a figure; None where it was not computed."""
        figure: dict[str, Any] | None = self.result["figures"].get(name)
        return figure if figure is not None and figure["value"] is not None else None


@dataclass(frozen=True)
class Row:
    """One run, or a control."""

    world: str
    """Which it was trained and judged on."""
    name: str
    """What the tables call it."""
    seed: int | None
    """Of its training; None for a control."""
    seconds: float | None
    """That training took by the clock; None for a control."""
    judged: Evaluated
    """Its evaluation."""


@dataclass(frozen=True)
class Taken:
    """What the command took, over all of its starts."""

    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of all cores together, which other work on the machine does not lengthen."""


@dataclass(frozen=True)
class Results:
    """What the tables are made of."""

    budget: str
    """Its name."""
    images: int | None
    """Seen by each run, where they are not the budget's."""
    worlds: tuple[str, ...]
    """In the order of the page."""
    rows: list[Row]
    """Of all worlds."""
    taken: Taken
    """By the command."""
    jobs: int
    """Runs at a time."""
    loss_network: str
    """What runs were taught by, as `perceptual.weights` names it."""

    def of(self, world: str, name: str) -> list[Evaluated]:
        """A row's evaluations, one per seed."""
        return [row.judged for row in self.rows if (row.world, row.name) == (world, name)]

    def names(self, world: str) -> list[str]:
        """The rows of a world, in order."""
        return list(dict.fromkeys(row.name for row in self.rows if row.world == world))


@dataclass(frozen=True)
class Column:
    """A column of a table: a figure of a world."""

    title: str
    """Its head."""
    world: str
    """Whose evaluations it shows."""
    figure: str
    """The figure's name in evaluation.json."""
    digits: int
    """Behind the point."""
    published: Mapping[str, float] | None = None
    """What was published for it, by row; None where nothing was."""


@dataclass(frozen=True)
class Table:
    """One table of the page."""

    title: str
    """Its heading."""
    note: str
    """What is said above it."""
    rows: Sequence[str]
    """The names of its rows, in order; those without any figure are left out."""
    columns: Sequence[Column]
    """From left to right."""


@dataclass(frozen=True)
class Claim:
    """What is expected: by the mean of `columns` over pairs, `better` is ahead of `worse`, or at chance."""

    text: str
    """For people."""
    world: str
    """Whose evaluations are compared."""
    columns: tuple[str, ...]
    """Measurements, of which each pair's mean is taken."""
    better: str
    """The row that is expected to be ahead."""
    worse: str | float
    """Another row of the same world, or the number that chance gives."""
    more: bool
    """Whether more is better."""


def markdown(results: Results) -> str:
    """The whole page."""
    parts = [_head(results)]
    for table in _tables(results):
        if any(results.of(column.world, row) for column in table.columns for row in table.rows):
            parts += [f"## {table.title}", table.note, _cells(results, table)]
    return "\n\n".join([*parts, _claims(results), _foot(results)]) + "\n"


def _head(results: Results) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    toy = (
        "**Toy-sized**: tiny networks, minutes of one CPU core each, drawn worlds. "
        "Orders mean something here, digits do not; published figures are of other data and other networks."
        if results.budget == "small"
        else "Published figures are of other data."
    )
    taught = f"Semantic losses are those of {title_of(results.loss_network)}; the papers' are VGG-19's."
    worlds = " ".join(results.worlds)
    images = f" --images {results.images}" if results.images else ""
    return f"""# The papers' tables, made again ({results.budget} budget)

{toy} {taught}

`python -m trainer.tables --world {worlds} --budget {results.budget}{images}`, {results.jobs} runs at a time
on {device}: {_duration(results)}. {datetime.now(UTC):%Y-%m-%d}.

A cell is the mean over seeds, and in brackets from the lowest to the highest end of the seeds' 95 % intervals
(bootstrap over the targets' videos and over the exemplars', the wider one). *Italics* are published figures
({published.SOURCE}).
The last four rows are no methods: the truth as the world draws it, the target photo (the right label map, mostly in
another style), the exemplar copied, and noise."""


def _duration(results: Results) -> str:
    """By the clock, and what it would be if the cores had done nothing else and had never waited."""
    seconds, alone = results.taken.seconds, results.taken.processor_seconds / results.jobs
    clock = f"{seconds / 60:.0f} minutes, from drawing the worlds to this page"
    if torch.cuda.is_available() or seconds < SHARED * alone:
        return clock
    total = results.taken.processor_seconds / 60
    return (
        f"{clock}, on cores that did other work as well; {total:.0f} minutes of processor time, which are "
        f"{alone / 60:.0f} for each of {results.jobs}. The minutes below are the clock's"
    )


def _tables(results: Results) -> list[Table]:
    trained = [name for name in dict.fromkeys(row.name for row in results.rows if row.seed is not None)]
    controls = [name for name in dict.fromkeys(row.name for row in results.rows if row.seed is None)]
    variants = {each.title for name in methods.available() for each in methods.find(name).ablations}
    compared = [*dict.fromkeys([*(name for name in trained if name not in variants), *published.FID]), *controls]
    ablated = [OURS, *(name for name in trained if name in variants), *controls]
    return [
        _beside_photos(results, compared),
        _label_errors(results, compared),
        _ablations(results, ablated),
        _parsing(compared),
        *(_against_truth(results, world, [*trained, *controls]) for world in results.worlds),
    ]


def _distance(results: Results) -> tuple[str, str]:
    """The figure that compares sets of pictures, and what the page says of it."""
    if any(row.judged.figure("fid") for row in results.rows):
        return "fid", "Fréchet Inception distance."
    return "world_frechet", (
        "Ours is **not FID**: its formula, on features of a small network trained on each world. Less is better."
    )


def _beside_photos(results: Results, rows: Sequence[str]) -> Table:
    distance, note = _distance(results)
    columns = [Column(world, world, distance, 2, _column(published.FID, world)) for world in results.worlds]
    return Table("Table 1: painted beside real pictures", note, rows, columns)


def _label_errors(results: Results, rows: Sequence[str]) -> Table:
    return Table(
        "Table 2: label endpoint error",
        "Landmarks (faces) and keypoints (dance), as a small network trained on each world reads them. Less is better.",
        rows,
        [
            Column(world, world, "reader/lepe", 4, _column(published.LEPE, world))
            for world in results.worlds
            if world in ("faces", "dance")
        ],
    )


def _ablations(results: Results, rows: Sequence[str]) -> Table:
    distance, note = _distance(results)
    eyes = _first(results, "eye_patches")
    other = {"eye_patches_random_vgg": " with **random** weights", "eye_patches_hed_vgg16": "-16 as HED has it"}
    return Table(
        "Tables 4 and 5: ablations on faces",
        f"{note} The paper's method has no L1: where there is a row without, that is it. Eye patches: distance to the "
        f"exemplar's eyes, here by a VGG{other.get(eyes, '-19')}. "
        "The columns to the right exist only where the truth can be drawn.",
        rows,
        [
            Column("set distance", "faces", distance, 2, published.ABLATION_FID),
            Column("eye patches", "faces", eyes, 3, published.ABLATION_EYES),
            Column("style top-1 %", "faces", "style/top1", 1),
            Column("colour error 1/255", "faces", "factors/colour_error", 1),
            Column("LEPE", "faces", "reader/lepe", 4),
        ],
    )


def _parsing(rows: Sequence[str]) -> Table:
    return Table(
        "Table 6: semantic parsing score on streets",
        "Classes as a small network trained on the world sees them. More is better.",
        rows,
        [
            Column("per-pixel %", "streets", "reader/pixel_accuracy", 2, _column(published.SPS, "pixel")),
            Column("per-class %", "streets", "reader/class_accuracy", 2, _column(published.SPS, "class")),
            Column("class IoU", "streets", "reader/class_iou", 3, _column(published.SPS, "iou")),
        ],
    )


def _against_truth(results: Results, world: str, rows: Sequence[str]) -> Table:
    return Table(
        f"Against the truth: {world}",
        "No paper could measure this. Top-1: nearer to the truth in the exemplar's style than in others (chance "
        f"{_chance(results, world):.1f} %); palette: the same by colours alone. Follows: after a swap, nearer to "
        "the new truth than to the old (chance 50 %). Copy: 0 the truth, 1 the exemplar. Factors: told from "
        "another video's (chance 50 %).",
        rows,
        [
            Column("top-1 %", world, "style/top1", 1),
            Column("palette %", world, "style/palette_top1", 1),
            Column("distance 1/255", world, "truth/distance", 1),
            Column("copy", world, "truth/exemplar_copy", 2),
            Column("label follows %", world, "swap/label_follows", 1),
            Column("exemplar follows %", world, "swap/exemplar_follows", 1),
            Column("colours off 1/255", world, "factors/colour_error", 1),
            Column("colour factors %", world, "factors/colour_hits", 1),
            Column("shape factors %", world, "factors/shape_hits", 1),
        ],
    )


def _chance(results: Results, world: str) -> float:
    """Chance of style/top1 in percent, as its evaluation says it."""
    for row in results.rows:
        figure = row.judged.result["figures"].get("style/top1")
        if row.world == world and figure is not None:
            return float(figure["meaning"].rpartition("chance is ")[2].rstrip("."))
    return math.nan


def _column(table: published.Figures, name: str) -> dict[str, float]:
    return {row: cells[name] for row, cells in table.items() if name in cells}


def _first(results: Results, beginning: str) -> str:
    """The figure whose name begins so: it says which weights it was measured with."""
    names = (name for row in results.rows for name in row.judged.result["figures"] if name.startswith(beginning))
    return next(names, beginning)


def _cells(results: Results, table: Table) -> str:
    titles = [
        part
        for column in table.columns
        for part in (column.title, *([f"*{column.title}*"] if column.published else []))
    ]
    lines = [f"| | {' | '.join(titles)} |", "|---|" + "---|" * len(titles)]
    notes = _notes()
    for row in table.rows:
        cells: list[str] = []
        for column in table.columns:
            cells.append(_cell(results.of(column.world, row), column))
            if column.published:
                value = column.published.get(row)
                cells.append(NONE if value is None else f"*{value:.{column.digits}f}*")
        if set(cells) != {NONE}:
            lines.append(f"| {row}{notes.get(row, '')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _notes() -> dict[str, str]:
    """What stands behind the titles of methods that have something to add, such as " (our reading)"."""
    kinds = {methods.title(name): methods.find(name) for name in methods.available()}
    return {title: f" ({kind.note})" for title, kind in kinds.items() if kind.note}


def _cell(judged: Sequence[Evaluated], column: Column) -> str:
    figures = [figure for each in judged if (figure := each.figure(column.figure)) is not None]
    if not figures:
        return NONE
    mean = f"{np.mean([figure['value'] for figure in figures]):z.{column.digits}f}"
    bounds = [figure[end] for figure in figures for end in ("low", "high") if figure[end] is not None]
    return f"{mean} [{min(bounds):z.{column.digits}f}, {max(bounds):z.{column.digits}f}]" if bounds else mean


def _expected(results: Results) -> list[Claim]:
    """What the papers' claims come to."""
    colours = sorted(
        {
            name
            for row in results.rows
            if row.world == "faces"
            for name in row.judged.columns
            if name.startswith("factor/") and name.endswith("/colour") and _is_colour(name)
        }
    )
    style, lepe = ("style/top1",), ("reader/lepe",)
    alone = ("w/o L1", "w/o semantic loss and L1")
    return [
        Claim("the full method is ahead of pix2pixHD in style", "faces", style, OURS, "pix2pixHD", True),
        Claim("without the style adversary, style falls", "faces", style, OURS, "w/o style adversary", True),
        Claim("without adaptive weights, style falls", "faces", style, OURS, "w/o adaptive weights", True),
        Claim("without the semantic loss, style falls", "faces", style, OURS, "w/o semantic loss", True),
        Claim("without the semantic loss, semantics fall", "faces", lepe, OURS, "w/o semantic loss", False),
        Claim("with L1 alone left out, style falls", "faces", style, OURS, "w/o L1", True),
        Claim("with L1 alone left out, semantics fall", "faces", lepe, OURS, "w/o L1", False),
        Claim(
            "where there is no L1, as in the paper: without the semantic loss, style falls",
            "faces",
            style,
            *alone,
            True,
        ),
        Claim(
            "where there is no L1, as in the paper: without the semantic loss, semantics fall",
            "faces",
            lepe,
            *alone,
            False,
        ),
        Claim("pix2pixHD is ahead in semantics", "faces", lepe, "pix2pixHD", OURS, False),
        Claim("pix2pixHD is ahead in semantics", "dance", lepe, "pix2pixHD", OURS, False),
        Claim("pix2pixHD is ahead in semantics", "streets", ("reader/picture_accuracy",), "pix2pixHD", OURS, True),
        Claim(
            "pix2pixHD is blind to style: chance", "faces", style, "pix2pixHD", _chance(results, "faces") / 100, True
        ),
        Claim("colour-aware is ahead in the factors of colour", "faces", tuple(colours), "colour-aware", OURS, False),
        *(
            Claim("colour-aware is ahead in style", world, style, "colour-aware", OURS, True)
            for world in results.worlds
        ),
    ]


def _is_colour(column: str) -> bool:
    factor = FACTORS["faces"].get(column.split("/")[1])
    return factor is not None and factor.kind == "colour"


def _claims(results: Results) -> str:
    lines = ["## What was expected, and what came out", ""]
    lines += [
        "Differences are paired: the same pairs, the mean over seeds, and a 95 % interval over source videos. It holds "
        "what other videos would change, not what other seeds of training would.",
        "",
        "| expected | difference | came out |",
        "|---|---|---|",
    ]
    for claim in _expected(results):
        difference = _difference(results, claim)
        if difference is None:
            continue
        shown = f"{difference.value:+.4g} [{difference.low:+.4g}, {difference.high:+.4g}]"
        outside = difference.low > 0 or difference.high < 0
        if isinstance(claim.worse, float):
            near = max(abs(difference.low), abs(difference.high)) < NEAR_CHANCE
            verdict = "**no**" if outside else "yes" if near else "not told from chance"
        else:
            right = (difference.value > 0) == claim.more
            verdict = ("yes" if right else "**no, the opposite**") if outside else "cannot be told apart"
        lines.append(f"| {claim.text} ({claim.world}) | {shown} | {verdict} |")
    return "\n".join(lines)


def _difference(results: Results, claim: Claim) -> Estimate | None:
    """better - worse (or - chance), pair by pair."""
    sides: list[Array] = []
    for name in (claim.better, claim.worse):
        if isinstance(name, float):
            sides.append(np.full(len(sides[0]), name))
            continue
        judged = results.of(claim.world, name)
        if not judged or any(column not in each.columns for each in judged for column in claim.columns):
            return None
        sides.append(np.mean([_mean([each.columns[column] for column in claim.columns]) for each in judged], axis=0))
    columns = {"difference": sides[0] - sides[1]}
    groupings = results.of(claim.world, claim.better)[0].groupings
    return estimates({"difference": mean_of("difference", None, "")}, columns, groupings)["difference"]


def _mean(columns: Sequence[Array]) -> Array:
    """The mean over columns of what is there; NaN where nothing is."""
    stacked = np.stack(columns)
    there = ~np.isnan(stacked)
    return np.asarray(np.where(there, stacked, 0).sum(0) / np.where(there.any(0), there.sum(0), np.nan))


def _foot(results: Results) -> str:
    trained = [row for row in results.rows if row.seconds is not None]
    lines = [
        "## The runs",
        "",
        "| world | row | seeds | images seen | minutes of training each | checkpoint |",
        "|---|---|---|---|---|---|",
    ]
    for world in results.worlds:
        for name in results.names(world):
            runs = [row for row in trained if (row.world, row.name) == (world, name)]
            if runs:
                minutes = ", ".join(f"{row.seconds / 60:.1f}" for row in runs if row.seconds is not None)
                seeds = ", ".join(str(row.seed) for row in runs)
                digests = ", ".join(f"`{row.judged.result['checkpoint'][:8]}`" for row in runs)
                lines.append(
                    f"| {world} | {name} | {seeds} | {runs[0].judged.result['images']:,} | {minutes} | {digests} |"
                )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    networks = {f"{name}: `{value}`" for row in results.rows for name, value in row.judged.result["networks"].items()}
    lines += ["", f"Judged with {'; '.join(sorted(networks))}. {versions}."]
    return "\n".join(lines)
