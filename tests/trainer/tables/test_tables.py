"""The tables: what is trained for them, and what the page says of figures that are known."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.worlds import WORLDS
from trainer import config as configs
from trainer import methods
from trainer.metrics.factors import FACTORS
from trainer.tables import __main__ as tables
from trainer.tables import published
from trainer.tables.markdown import Evaluated, Results, Row, Taken, markdown

PAIRS = 40


@pytest.mark.parametrize("budget", tables.BUDGETS)
@pytest.mark.parametrize("world", WORLDS)
def test_every_method_and_ablation_has_a_config_that_loads(world: str, budget: str, tmp_path: Path) -> None:
    tasks = tables.tasks_of(world, budget, tmp_path)
    loaded = {task.row: configs.load(task.layers, ["--data.train", "shards"]) for task in tasks}
    assert {config.method for config in loaded.values()} == set(methods.available())
    assert len({task.folder for task in tasks}) == len(tasks)
    if world == "faces":
        ablations = {each.title for name in methods.available() for each in methods.find(name).ablations}
        # The full budget is the paper's, which has no L1 that could be left out.
        without = {"w/o L1", "w/o semantic loss and L1"}
        assert without < ablations and len(ablations) == 13
        assert set(loaded) >= {*ablations, *published.ABLATION_FID} - (without if budget == "full" else set())
        assert budget == "small" or not without & set(loaded), "a row that repeats another"
    ours = loaded["style-consistent"]
    assert len({(config.images, config.batch) for config in loaded.values()}) == 1
    for row, config in loaded.items():
        if config.method == ours.method and row != "style-consistent":
            changed = {
                f"{section}.{name}"
                for section, values in config.model_dump().items()
                if isinstance(values, dict)
                for name, value in values.items()
                if value != ours.model_dump()[section][name]
            }
            assert changed, f"{row} is the full method"
            assert all(name.startswith(("options.", "optimizer.ema")) for name in changed), row


@pytest.mark.parametrize("budget", tables.BUDGETS)
def test_none_of_our_methods_is_left_out(budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_left_out(budget)
    assert capsys.readouterr().out == ""


def test_a_method_without_a_config_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new method is one new file: it needs none for the tables."""
    before = tables.tasks_of("faces", "small", tmp_path)
    known = methods.available()
    monkeypatch.setattr(tables.methods, "available", lambda: [*known, "newcomer"])
    assert tables.tasks_of("faces", "small", tmp_path) == before
    tables.print_left_out("small")
    message = capsys.readouterr().out
    assert re.fullmatch(
        r"left out: methods without a config for the small tables \(.*newcomer\.yaml missing\)\n", message
    )


def evaluation(
    folder: Path, figures: dict[str, tuple[float, float, float]], columns: dict[str, list[float]]
) -> Evaluated:
    """What an evaluation of known figures (value, low, high) and measurements leaves."""
    folder.mkdir(parents=True)
    names = [f"v{number // 2}" for number in range(PAIRS)]
    rows: dict[str, Any] = {name: names for name in ("key", "target", "exemplar", "target_group", "exemplar_group")}
    pq.write_table(pa.table({**rows, "same_style": [False] * PAIRS, **columns}), folder / "pictures.parquet")
    told = {
        name: {"value": v, "low": a, "high": b, "pictures": PAIRS, "meaning": "chance is 9.1."}
        for name, (v, a, b) in figures.items()
    }
    result = {"figures": told, "checkpoint": "0123456789", "images": 1234, "networks": {}}
    (folder / "evaluation.json").write_text(json.dumps(result))
    return Evaluated.read(folder)


def results(folder: Path) -> Results:
    rng = np.random.default_rng(0)
    colours = [f"factor/{name}/colour" for name, factor in FACTORS["faces"].items() if factor.kind == "colour"]

    def row(name: str, seed: int, style: float, lepe: float, colour: float) -> Row:
        columns = {
            "style/top1": (rng.random(PAIRS) < style).astype(float).tolist(),
            "reader/lepe": (lepe + rng.normal(0, 0.001, PAIRS)).tolist(),
            **{column: (colour + rng.normal(0, 1, PAIRS)).tolist() for column in colours},
        }
        columns[colours[0]][0] = math.nan
        figures = {"style/top1": (100 * style, 1.0, 99.0), "world_frechet": (0.25 + seed, 0.2 + seed, 0.3 + seed)}
        return Row("faces", name, seed, 60.0, evaluation(folder / f"{name.replace('/', '')}{seed}", figures, columns))

    rows = [row("style-consistent", seed, 0.9, 0.02, 20.0) for seed in (0, 1)]
    rows += [row("pix2pixHD", 0, 1 / 11, 0.01, 40.0), row("w/o semantic loss", 0, 0.9, 0.01, 20.0)]
    rows += [row("w/o style adversary", 0, 0.9, 0.02, 20.0), row("colour-aware", 0, 1.0, 0.02, 5.0)]
    return Results("small", None, ("faces",), rows, Taken(600.0, 1140.0), 2, "random:0")


def test_the_page_says_what_was_measured_and_published(tmp_path: Path) -> None:
    page = markdown(results(tmp_path))
    lines = page.splitlines()
    assert "| style-consistent | 0.75 [0.20, 1.30] | *31.26* |" in lines, "the mean of two seeds, and their intervals"
    assert "| PairedMUNIT (our reading) | – | *142.08* |" in lines, "a row that only the paper has"
    assert "Toy-sized" in page and "not FID" in page
    assert "--world faces --budget small" in page


def test_the_page_says_what_it_took_and_whether_the_cores_did_other_work(tmp_path: Path) -> None:
    found = results(tmp_path)
    assert "10 minutes, from drawing" in markdown(found)
    assert "other work" not in markdown(found)
    shared = markdown(replace(found, taken=Taken(1200.0, 1140.0)))
    assert "20 minutes, from drawing" in shared and "on cores that did other work as well" in shared
    assert "19 minutes of processor time" in shared and "10 for each of 2" in shared


def verdicts_of(page: str) -> dict[str, str]:
    """What came out, by what was expected of faces."""
    return {
        line.split("|")[1].removesuffix("(faces) ").strip(): line.split("|")[3].strip()
        for line in page.splitlines()
        if line.endswith("|") and "(faces)" in line
    }


def test_what_was_expected_is_checked_against_the_measurements(tmp_path: Path) -> None:
    assert verdicts_of(markdown(results(tmp_path))) == {
        "the full method is ahead of pix2pixHD in style": "yes",
        "without the style adversary, style falls": "cannot be told apart",
        "without the semantic loss, style falls": "cannot be told apart",
        "without the semantic loss, semantics fall": "**no, the opposite**",
        "pix2pixHD is ahead in semantics": "yes",
        "pix2pixHD is blind to style: chance": "yes",
        "colour-aware is ahead in the factors of colour": "yes",
        "colour-aware is ahead in style": "yes",
    }


CHANCE = 9.1 / 100
ABLATED = ("w/o style adversary", "w/o adaptive weights", "w/o semantic loss", "w/o L1", "w/o semantic loss and L1")
MEASURED = {
    # Style, LEPE and colour error of the full method, pix2pixHD, the five ablations and the colour-aware variant.
    "yes": ((0.5, 0.02, 20), (CHANCE, 0.01, 40), *[(0.3, 0.03, 20)] * 4, (0.1, 0.04, 30), (0.8, 0.02, 5)),
    "**no, the opposite**": ((0.5, 0.02, 20), (0.7, 0.03, 9), *[(0.6, 0.01, 9)] * 4, (0.7, 0.005, 9), (0.3, 0.03, 30)),
    "cannot be told apart": ((CHANCE, 0.02, 20),) * 8,
}


@pytest.mark.parametrize("verdict", MEASURED)
def test_no_claim_is_a_matter_of_course(verdict: str, tmp_path: Path) -> None:
    """The same claims, of measurements that bear them out, that contradict them, and that say nothing."""
    rng = np.random.default_rng(0)
    colours = [f"factor/{name}/colour" for name, factor in FACTORS["faces"].items() if factor.kind == "colour"]
    noise = 1.0 if verdict == "cannot be told apart" else 0.01
    names = ("style-consistent", "pix2pixHD", *ABLATED, "colour-aware")

    def around(value: float) -> list[float]:
        """Values whose mean is not off, so that an interval holds it whatever was drawn."""
        spread = rng.normal(0, noise * value, PAIRS)
        return (value + spread - spread.mean()).tolist()

    rows = []
    for number, (name, (style, lepe, colour)) in enumerate(zip(names, MEASURED[verdict], strict=True)):
        columns = {"style/top1": around(style), "reader/lepe": around(lepe)}
        columns |= {column: around(colour) for column in colours}
        judged = evaluation(tmp_path / str(number), {"style/top1": (100 * style, 1.0, 99.0)}, columns)
        rows.append(Row("faces", name, 0, 60.0, judged))
    page = markdown(Results("small", None, ("faces",), rows, Taken(600.0, 1140.0), 2, "hed-vgg16"))
    verdicts = verdicts_of(page)
    assert len(verdicts) == 13, "all claims of faces"
    blind = verdicts.pop("pix2pixHD is blind to style: chance")
    assert blind in {"yes": ("yes",), "**no, the opposite**": ("**no**",)}.get(verdict, ("yes", "not told from chance"))
    assert set(verdicts.values()) == {verdict}
    assert "HED's VGG-16" in page and "a VGG-19 with random weights" not in page


@pytest.mark.parametrize("budget", tables.BUDGETS)
def test_the_loss_network_is_the_installed_one_in_the_small_tables_alone(
    budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published losses of the full tables are VGG-19's, whatever is installed."""
    own = {"small": "random:0", "full": "download"}[budget]
    monkeypatch.setattr(tables, "hed_is_installed", lambda: False)
    assert tables.loss_network_of(budget) == own
    monkeypatch.setattr(tables, "hed_is_installed", lambda: True)
    assert tables.loss_network_of(budget) == ("hed-vgg16" if budget == "small" else own)
