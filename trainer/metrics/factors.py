"""Each factor of a world's style by itself: hair, skin, light, weather …, read where it shows in the true picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from likeness.array import Array
from shards.records import Frame
from trainer.metrics.metric import Columns, FigureOf, Judged, Metric, mean_of
from trainer.metrics.style_truth import columns_of, share_of
from trainer.metrics.truth import Style, Truth, distractors, styles_of

VISIBLE = 8
"""A pixel belongs to a factor's region when one of its channels changes by more than this with the factor, 1/255."""
LEAST_AREA = 8 / 64**2
"""Smaller regions are not read: 8 pixels of 64×64."""
NAN = float("nan")
_NOTHING = np.full(3, NAN)


@dataclass(frozen=True)
class Factor:
    """Fields of a world's `Style` that one looks at together."""

    kind: Literal["colour", "shape"]
    """`colour` when they say which colour a thing has, `shape` when they say what there is or how it is lit."""
    fields: tuple[str, ...]
    """Their names."""


FACTORS: dict[str, dict[str, Factor]] = {
    "faces": {
        "skin": Factor("colour", ("skin",)),
        "hair_colour": Factor("colour", ("hair_colour", "brow_darkness")),
        "hair_shape": Factor("shape", ("hair_shape",)),
        "eyes": Factor("colour", ("eye_colour",)),
        "lips": Factor("colour", ("lip_colour",)),
        "cheeks": Factor("colour", ("blush", "freckles")),
        "beard": Factor("shape", ("beard",)),
        "glasses": Factor("shape", ("glasses", "glasses_colour")),
        "clothes_colour": Factor("colour", ("clothes_colour", "clothes_second")),
        "clothes_pattern": Factor("shape", ("clothes_pattern", "neckline")),
        "backdrop_colour": Factor("colour", ("backdrop_a", "backdrop_b")),
        "backdrop_kind": Factor("shape", ("backdrop",)),
        "light": Factor("shape", ("light_angle", "light_strength", "light_warmth")),
    },
    "dance": {
        "skin": Factor("colour", ("skin",)),
        "hair_colour": Factor("colour", ("hair_colour",)),
        "hair_shape": Factor("shape", ("hair_shape",)),
        "hat": Factor("shape", ("hat", "hat_colour")),
        "top_colour": Factor("colour", ("top_colour", "top_second")),
        "top_pattern": Factor("shape", ("top_pattern", "sleeves")),
        "bottom_colour": Factor("colour", ("bottom_colour",)),
        "bottom_kind": Factor("shape", ("bottom",)),
        "shoes": Factor("colour", ("shoe_colour",)),
        "wall_colour": Factor("colour", ("wall_a", "wall_b")),
        "wall_kind": Factor("shape", ("wall",)),
        "floor_colour": Factor("colour", ("floor_a", "floor_b")),
        "floor_kind": Factor("shape", ("floor",)),
        "light": Factor("shape", ("light_angle", "light_strength")),
    },
    "streets": {
        "weather": Factor("colour", ("group",)),
        "air": Factor("colour", ("haze", "brightness", "warmth")),
        "sun": Factor("shape", ("sun",)),
        "buildings": Factor("colour", ("building_left", "building_right")),
        "cars": Factor("colour", ("car_ahead", "car_oncoming")),
        "clothes": Factor("colour", ("clothes",)),
        "foliage": Factor("colour", ("foliage",)),
        "pavement": Factor("colour", ("pavement",)),
    },
}
"""Every field of a world's `Style` in exactly one factor."""


def factor_metric(truth: Truth, styles: Sequence[Frame], seed: int = 0) -> Metric:
    """Each factor's colour, and whether it is told from another video's.

    For each pair another held-out video is drawn (by seed, the pair's key and styles alone), and one factor at a time
    is swapped for that video's. The factor's region is where the true picture changes then. `colour`: mean over
    channels of |mean colour of the picture - that of the truth| in the region, 1/255. `hit`: 1 when the picture is
    nearer there to the truth than to the truth with the other factor. Style is not place: both are read twice, where
    the factor shows with the target's label map and where it shows with the exemplar's, and the better fit counts.
    `placed_colour` and `placed_hit` are read with the target's label map alone: the right style in the right place.

    styles: as in `style_metric`; the first says which world it is. Columns: factor/NAME/colour, …/hit, …/placed_colour
    and …/placed_hit, NaN where a region is smaller than 8 pixels of 64×64 with either label map, as when both videos
    agree or the exemplar hides the factor. Raises BadInput when a video has no sidecar, or from `measure` when all
    exemplars show one style.
    """
    known = styles_of(styles)
    factors = FACTORS[truth.world(known[0])]

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        return columns_of(lambda each: _row(truth, factors, known, seed, each), judged)

    return Metric(measure, _figures(factors))


def _figures(factors: dict[str, Factor]) -> dict[str, FigureOf]:
    """Two figures for each factor, and those over all factors of a kind."""
    figures: dict[str, FigureOf] = {}
    for name in factors:
        title = name.replace("_", " ")
        figures[f"factor/{name}/colour"] = mean_of(
            f"factor/{name}/colour",
            "less",
            f"How far the mean colour is off where the factor '{title}' shows: 0 for the truth and for the exemplar.",
            "of 255",
        )
        figures[f"factor/{name}/hit"] = share_of(
            f"factor/{name}/hit",
            f"Pictures nearer to the truth than to the truth with another video's '{title}', where that shows; 50 is "
            "chance.",
        )
    colours = [name for name, factor in factors.items() if factor.kind == "colour"]
    shapes = [name for name, factor in factors.items() if factor.kind == "shape"]
    placed = "with the target's label map: the right colour in the right place"
    either = "with the target's or the exemplar's label map"
    figures |= {
        "factors/colour_error": _mean_of_all(
            colours, "colour", f"How far the mean colours of the factors of colour are off, read {either}."
        ),
        "factors/colour_hits": _mean_of_all(
            colours, "hit", f"Factors of colour told from another video's, read {either}; chance is 50."
        ),
        "factors/shape_hits": _mean_of_all(
            shapes, "hit", f"Factors of shape told from another video's, read {either}; chance is 50."
        ),
        "factors/placed_colour_error": _mean_of_all(
            colours, "placed_colour", f"How far the mean colours of the factors of colour are off, read {placed}."
        ),
        "factors/placed_hits": _mean_of_all(
            list(factors), "placed_hit", f"Factors told from another video's, read {placed}; chance is 50."
        ),
    }
    return figures


def _mean_of_all(names: Sequence[str], column: str, meaning: str) -> FigureOf:
    """The mean over factors of each factor's mean, so that those that often show weigh no more than the others."""
    hits = column.endswith("hit")
    means = [mean_of(f"factor/{name}/{column}", None, meaning) for name in names]

    def mean(columns: Columns) -> float:
        values = [value for each in means if not np.isnan(value := each.compute(columns))]
        return float(np.mean(values)) * (100 if hits else 1) if values else NAN

    return FigureOf(mean, "more" if hits else "less", meaning, "%" if hits else "of 255")


def _row(
    truth: Truth, factors: dict[str, Factor], styles: Sequence[Frame], seed: int, judged: Judged
) -> dict[str, float]:
    pair = judged.pair
    style = truth.style(pair.exemplar)
    other = truth.style(distractors(styles, pair, 1, seed)[0])
    row: dict[str, float] = {}
    for name, factor in factors.items():
        swapped: Style = replace(style, **{field: getattr(other, field) for field in factor.fields})

        def read(label: Frame, swapped: Style = swapped) -> Array:
            return _read(judged.picture, truth.draw(label, pair.exemplar), truth.paint(label, swapped))

        placed = read(pair.target) if swapped != style else _NOTHING
        moved = _NOTHING if np.isnan(placed[0]) else read(pair.exemplar)
        if np.isnan(moved[0]):
            placed = moved  # No generator knows what its exemplar hides.
        for prefix, (colour, to_right, to_wrong) in (("", np.minimum(placed, moved)), ("placed_", placed)):
            row[f"factor/{name}/{prefix}colour"] = float(colour)
            row[f"factor/{name}/{prefix}hit"] = NAN if np.isnan(colour) else float(to_right < to_wrong)
    return row


def _read(picture: Array, right: Array, wrong: Array) -> Array:
    """(3,): how far the mean colour is off, and the mean distances to the right and to the wrong picture, in the region
    where these differ; NaNs where it is too small."""
    region = (np.maximum(right, wrong) - np.minimum(right, wrong)).max(axis=2) > VISIBLE
    if region.sum() < LEAST_AREA * region.size:
        return _NOTHING
    shown, true, false = (each[region].astype(np.float32) for each in (picture, right, wrong))
    colour = np.abs(shown.mean(axis=0) - true.mean(axis=0)).mean()
    return np.array([colour, np.abs(shown - true).mean(), np.abs(shown - false).mean()])
