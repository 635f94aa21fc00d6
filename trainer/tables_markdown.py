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

from shards.machine import processor
from trainer import published
from trainer.metrics.bootstrap import Estimate, estimates
from trainer.metrics.metric import Array, mean_of

PACKAGES = ("torch", "accelerate", "torchmetrics", "numpy")
OURS = "style-consistent"
NONE = "–"


@dataclass(frozen=True)
class Judged:
    """What an evaluation's folder holds. columns: measurements by name, in the pairs' order."""

    result: dict[str, Any]
    columns: dict[str, Array]
    groups: list[str]

    @classmethod
    def read(cls, folder: Path) -> "Judged":
        table = pq.read_table(folder / "pictures.parquet").to_pydict()
        groups = table["group"]
        columns = {
            name: np.array([math.nan if value is None else value for value in values], float)
            for name, values in table.items()
            if name not in ("key", "target", "exemplar", "same_style", "group")
        }
        return cls(json.loads((folder / "evaluation.json").read_text()), columns, groups)

    def figure(self, name: str) -> dict[str, Any] | None:
        """Value, interval, unit and direction of a figure; None where it was not computed."""
        found: dict[str, Any] | None = self.result["figures"].get(name)
        return found if found is not None and found["value"] is not None else None


@dataclass(frozen=True)
class Row:
    """One run, or a control (seed and seconds are None)."""

    world: str
    name: str
    seed: int | None
    seconds: float | None
    judged: Judged


@dataclass(frozen=True)
class Results:
    """What the tables are made of. seconds: of the whole command that made the last of it; jobs: runs at a time."""

    budget: str
    worlds: tuple[str, ...]
    rows: list[Row]
    seconds: float
    jobs: int

    def of(self, world: str, name: str) -> list[Judged]:
        """A row's evaluations, one per seed."""
        return [row.judged for row in self.rows if (row.world, row.name) == (world, name)]

    def names(self, world: str) -> list[str]:
        """The rows of a world, in order."""
        return list(dict.fromkeys(row.name for row in self.rows if row.world == world))


@dataclass(frozen=True)
class Column:
    """A column of a table: a figure of a world, and what was published for it, by row."""

    title: str
    world: str
    figure: str
    published: Mapping[str, float] | None = None
    digits: int = 3


@dataclass(frozen=True)
class Claim:
    """What must come out: in `figure`, `better` beats `worse`. more: more is better."""

    text: str
    world: str
    column: str
    better: str
    worse: str
    more: bool


def markdown(results: Results) -> str:
    """The whole page."""
    parts = [_head(results)]
    everywhere = [name for world in results.worlds for name in results.names(world)]
    rows = list(dict.fromkeys([*everywhere, *published.FID]))
    for title, note, columns in _tables(results.worlds):
        parts += [f"## {title}", note, _table(results, rows, columns)]
    parts += [_claims(results), _foot(results)]
    return "\n\n".join(parts) + "\n"
