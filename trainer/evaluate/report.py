"""The page of an evaluation: its figures, and the worst and best pictures by any of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from tqdm import tqdm

from likeness.array import Array
from trainer.grid import enlarge
from trainer.metrics.metric import FigureOf, Judged
from trainer.metrics.truth import Truth

CASES = "cases"
EACH = 12
"""How many of the worst and of the best pictures by each measurement are shown."""
HEIGHT = 128
QUALITY = 92


def write(
    out: Path,
    result: Mapping[str, Any],
    figures: Mapping[str, FigureOf],
    rows: Mapping[str, Sequence[Any]],
    pictures_of: Callable[[int], Judged],
    truth: Truth | None,
) -> None:
    """Writes `report.html`, and beside it the folder `cases` with a strip of pictures for each case.

    rows: what each pair is called, and its measurements, by column. A strip shows exemplar, painted picture, target
    and, where it can be drawn, the true picture; JPEG, at least 128 pixels high.
    """
    ranked = {
        name: figure.column
        for name, figure in figures.items()
        if figure.column is not None and figure.better and not np.isnan(rows[figure.column]).all()
    }
    shown = sorted({int(number) for column in ranked.values() for number in _extremes(np.asarray(rows[column]))})
    (out / CASES).mkdir()
    for number in tqdm(shown, "report", unit="case"):
        content = cv2.imencode(".jpg", _strip(pictures_of(number), truth), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        (out / CASES / f"{number:06d}.jpg").write_bytes(content.tobytes())
    page = _template().render(
        result=result,
        titles=["exemplar", "painted", "target", *(["truth"] if truth else [])],
        data={
            "shown": shown,
            "rows": {name: [_plain(value) for value in values] for name, values in rows.items()},
            "figures": [
                {"name": name, "column": column, "better": figures[name].better, "meaning": figures[name].meaning}
                for name, column in ranked.items()
            ],
        },
    )
    (out / "report.html").write_text(page, encoding="utf-8")


def _extremes(values: Array) -> Array:
    """The places of the lowest and highest values; NaN is neither."""
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    return np.concatenate([order[:EACH], order[-EACH:]])


def _strip(judged: Judged, truth: Truth | None) -> Array:
    """BGR, as the encoder takes it."""
    cells = [judged.exemplar, judged.picture, judged.target]
    if truth is not None:
        cells.append(truth.draw(judged.pair.target, judged.pair.exemplar))
    return cv2.cvtColor(np.concatenate([enlarge(cell, HEIGHT) for cell in cells], axis=1), cv2.COLOR_RGB2BGR)


def _plain(value: Any) -> Any:
    """A value for JSON: four digits are enough to look at, and NaN is null."""
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(f"{value:.4g}")
    return value.item() if isinstance(value, np.generic) else value


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    # Columns stay in the order in which they were measured.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment.get_template("report.html")
