"""Style against the truth: is a picture nearer to the truth in its exemplar's style than in any of k others?"""

from collections.abc import Callable, Sequence

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.records import Frame
from trainer.metrics.metric import Columns, FigureOf, Judged, Metric, mean_of
from trainer.metrics.truth import Truth, distance, distractors, styles_of

LEVELS = 8
"""Steps of each colour channel in a palette."""


def style_metric(truth: Truth, styles: Sequence[Frame], k: int = 10, seed: int = 0) -> Metric:
    """Distances to the truth and to k true pictures of the same label map in other styles.

    styles: the exemplars of all pairs that are evaluated, repeated or not; of each video one style is taken. Each
    pair's distractors depend on seed, its key and these styles alone.

    Columns: truth/distance, truth/exemplar_copy, style/top1 and style/palette_top1 (0 or 1), style/ratio. Raises
    BadInput from `measure` when a pair has fewer than k distractors, or a video no sidecar.
    """
    known = styles_of(styles)

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        return columns_of(lambda each: _row(truth, known, k, seed, each), judged)

    # A picture that tells nothing of style is nearest to each of the k + 1 truths equally often.
    chance = 100 / (k + 1)
    return Metric(
        measure,
        {
            "style/top1": share_of(
                "style/top1",
                f"Pictures nearer (mean |difference|) to the truth in their exemplar's style than to the same label "
                f"map's true picture in each of {k} other held-out styles; chance is {chance:.1f}.",
            ),
            "style/palette_top1": share_of(
                "style/palette_top1",
                f"The same by the picture's colours alone, wherever they stand; chance is {chance:.1f}.",
            ),
            "style/ratio": mean_of(
                "style/ratio",
                "less",
                f"Distance to the truth, in units of the mean distance to the truths in {k} other styles: 0 for the "
                "truth, 1 for a picture that is blind to style.",
            ),
            "truth/distance": mean_of(
                "truth/distance", "less", "Mean |picture - truth|: 0 for the truth itself.", "of 255"
            ),
            "truth/exemplar_copy": mean_of(
                "truth/exemplar_copy",
                "less",
                "Distance to the truth as a share of the distances to the truth and to the exemplar: 0 for the truth, "
                "0.5 for as near to either, 1 for the exemplar itself.",
            ),
        },
    )


def columns_of(row: Callable[[Judged], dict[str, float]], judged: Sequence[Judged]) -> dict[str, Array]:
    """The columns of the rows that `row` gives for each picture, float64. Raises BadInput when there are none.

    One after the other: drawing holds the interpreter's lock for so long that threads made it slower.
    """
    if not judged:
        raise BadInput("no pictures to measure; name pairs that were painted")
    rows = [row(each) for each in judged]
    return {name: np.array([each[name] for each in rows]) for name in rows[0]}


def share_of(column: str, meaning: str) -> FigureOf:
    """The mean of a column of zeros and ones in percent; more is better. NaNs are left out."""
    mean = mean_of(column, "more", meaning)

    def share(columns: Columns) -> float:
        return 100 * mean.compute(columns)

    return FigureOf(share, "more", meaning, "%", column)


def palette(picture: Array) -> Array:
    """How often each colour occurs, blurred over neighbouring colours: (8 · 8 · 8,), square roots of shares.

    The mean absolute difference of two such is a close relative of the Hellinger distance.
    """
    # Each pixel falls into one of 8·8·8 cells of the colour cube, which are counted under one number.
    bins = (picture // (256 // LEVELS)).reshape(-1, 3).astype(np.intp)
    counts = np.bincount((bins[:, 0] * LEVELS + bins[:, 1]) * LEVELS + bins[:, 2], minlength=LEVELS**3)
    shares = (counts / len(bins)).reshape(LEVELS, LEVELS, LEVELS)
    # Unblurred, a colour just across a cell's edge would count as wholly another one. The blur is the same along red,
    # green and blue, one after the other.
    blurred = np.einsum("ri,gj,bk,ijk->rgb", _BLUR, _BLUR, _BLUR, shares, optimize=True)
    return np.asarray(np.sqrt(blurred).ravel())


def _blur(deviation: float) -> Array:
    """(LEVELS, LEVELS): what falls into a level of a channel, as shares of all levels."""
    steps = np.arange(LEVELS)
    weights = np.exp(-((steps[:, None] - steps) ** 2) / (2 * deviation**2))
    return np.asarray(weights / weights.sum(axis=0))


_BLUR = _blur(0.8)


def _row(truth: Truth, styles: Sequence[Frame], k: int, seed: int, judged: Judged) -> dict[str, float]:
    pair, picture = judged.pair, judged.picture
    # Not the target's photo: only of a same-style pair has that the style which was asked for.
    own = truth.draw(pair.target, pair.exemplar)
    # Painted, not drawn: a picture that is needed once must not drive those out of the cache that other metrics ask
    # for.
    others = [truth.paint(pair.target, truth.style(frame)) for frame in distractors(styles, pair, k, seed)]
    to_own, to_exemplar = distance(picture, own), distance(picture, judged.exemplar)
    to_others = [distance(picture, other) for other in others]
    colours = palette(picture)
    colours_off = float(np.abs(colours - palette(own)).sum())
    return {
        # Less, not at most: a picture that lies equally far from all truths has not met the style.
        "style/top1": float(to_own < min(to_others)),
        "style/palette_top1": float(
            all(colours_off < float(np.abs(colours - palette(other)).sum()) for other in others)
        ),
        # All 0 where no style shows in the picture; then there is nothing to measure.
        "style/ratio": to_own / float(np.mean(to_others)) if any(to_others) else float("nan"),
        "truth/distance": to_own,
        "truth/exemplar_copy": to_own / (to_own + to_exemplar) if to_own + to_exemplar else float("nan"),
    }
