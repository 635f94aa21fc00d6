"""What swapping the label map or the exemplar changes in a picture: all, and only, what it should?"""

from collections.abc import Sequence

import numpy as np

from likeness.array import Array
from shards.records import Frame
from trainer.metrics.metric import Columns, FigureOf, Judged, Metric, mean_of
from trainer.metrics.style_truth import columns_of, share_of
from trainer.metrics.truth import Truth, distance

NAN = float("nan")


def swap_metric(truth: Truth) -> Metric:
    """Pictures painted from another pair's label map, and from another pair's exemplar, against the truth of both.

    Columns, NaN where nobody painted such a picture or where the truth stays the same: swap/label_follows and
    swap/exemplar_follows (0 or 1), swap/label_changed and swap/exemplar_changed, swap/label_should_change and
    swap/exemplar_should_change (mean |difference|, 1/255). Raises BadInput from `measure` when a video has no sidecar.
    """

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        return columns_of(lambda each: _row(truth, each), judged)

    return Metric(
        measure,
        {
            "swap/label_follows": share_of(
                "swap/label_follows",
                "Painted from another pair's label map, nearer to its truth than to that of the own label map, both in "
                "the own exemplar's style; 50 is chance, 0 a true picture that ignores the swap.",
            ),
            "swap/exemplar_follows": share_of(
                "swap/exemplar_follows",
                "Painted from another pair's exemplar, nearer to the truth in its style than to that in the own one's; "
                "50 is chance, 0 a true picture that ignores the swap.",
            ),
            "swap/label_change": _change("label", "label map"),
            "swap/exemplar_change": _change("exemplar", "exemplar"),
        },
    )


def swap_metric_without_truth() -> Metric:
    """How much the two swaps change a picture, for pictures whose truth nobody knows.

    Columns: swap/label_changed, swap/exemplar_changed (mean |difference|, 1/255), NaN where nobody painted these.
    """

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        return {
            f"swap/{what}_changed": np.array(
                [
                    NAN if swapped is None or other == each.pair else distance(swapped, each.picture)
                    for each, swapped, other in painted
                ]
            )
            for what, painted in {
                "label": [(each, each.other_label, each.label_from) for each in judged],
                "exemplar": [(each, each.other_exemplar, each.exemplar_from) for each in judged],
            }.items()
        }

    return Metric(
        measure,
        {
            f"swap/{what}_changed": mean_of(
                f"swap/{what}_changed",
                None,
                f"Mean |change| when the {title} is another pair's: 0 for a generator that ignores it.",
                "of 255",
            )
            for what, title in (("label", "label map"), ("exemplar", "exemplar"))
        },
    )


def _change(what: str, title: str) -> FigureOf:
    """Of two means, not a mean of ratios: where the truth hardly changes, a ratio says nothing."""

    def ratio(columns: Columns) -> float:
        changed, should = columns[f"swap/{what}_changed"], columns[f"swap/{what}_should_change"]
        swapped = ~np.isnan(changed) & ~np.isnan(should)
        return float(changed[swapped].sum() / should[swapped].sum()) if swapped.any() else NAN

    return FigureOf(
        ratio,
        None,
        f"How much a picture changes when the {title} is another pair's, as a share of how much the truth changes: 1 "
        f"as much, 0 for a generator that ignores the {title}.",
    )


def _row(truth: Truth, judged: Judged) -> dict[str, float]:
    pair = judged.pair
    label, exemplar = judged.label_from or pair, judged.exemplar_from or pair
    return {
        **_swap("label", truth, judged, judged.other_label, label.target, pair.exemplar),
        **_swap("exemplar", truth, judged, judged.other_exemplar, pair.target, exemplar.exemplar),
    }


def _swap(
    what: str, truth: Truth, judged: Judged, swapped: Array | None, label: Frame, style: Frame
) -> dict[str, float]:
    """label, style: the frames whose label map and whose style `swapped` was painted from."""
    names = [f"swap/{what}_{name}" for name in ("follows", "changed", "should_change")]
    if swapped is None:
        return dict.fromkeys(names, NAN)
    own = truth.draw(judged.pair.target, judged.pair.exemplar)
    other = truth.paint(label, truth.style(style))
    should = distance(other, own)
    if should == 0:
        return dict.fromkeys(names, NAN)
    follows = float(distance(swapped, other) < distance(swapped, own))
    return dict(zip(names, (follows, distance(swapped, judged.picture), should), strict=True))
