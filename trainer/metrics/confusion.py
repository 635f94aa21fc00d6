"""Semantic parsing scores: confusion matrices of single pictures, and what they add up to over a set of them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from likeness.array import Array
from trainer.metrics.metric import Columns, FigureOf, mean_of


def confusion(true_ids: Array, predicted_ids: Array, ids: Sequence[int], void: int | None) -> Array:
    """How many pixels of class i were taken for class j: int64 (C, C), the classes in the order of `ids`.

    true_ids, predicted_ids: id maps of one shape. ids: every id that a label map may hold, the void id included, as a
    label schema has them. Pixels whose truth is void count nowhere. A prediction of void counts as a wrong one, in
    the column of void, so that saying nothing does not raise an accuracy.

    Raises ValueError when the shapes differ, or naming an id that is not in `ids`.
    """
    if true_ids.shape != predicted_ids.shape:
        raise ValueError(f"id maps of the shapes {true_ids.shape} and {predicted_ids.shape} cannot be compared")
    index_of = np.full(256, -1)
    index_of[list(ids)] = np.arange(len(ids))
    counted = np.ones(true_ids.shape, bool) if void is None else true_ids != void
    true, predicted = true_ids[counted], predicted_ids[counted]
    indices = index_of[true], index_of[predicted]
    for values, index in zip((true, predicted), indices, strict=True):
        if len(unknown := values[index < 0]):
            raise ValueError(f"id {unknown[0]} is not one of the classes' ids {tuple(ids)}")
    count = len(ids)
    return np.bincount(indices[0] * count + indices[1], minlength=count * count).reshape(count, count).astype(np.int64)


def pixel_accuracy(total: Array) -> float:
    """Share of the pixels that are taken for what they are: sum of n_ii over sum of t_i (specification 6.1)."""
    pixels = total.sum()
    return float(np.trace(total) / pixels) if pixels else float("nan")


def class_accuracy(total: Array) -> float:
    """Mean over the classes that the truth has of n_ii / t_i."""
    true = total.sum(axis=1)
    present = true > 0
    return float(np.mean(np.diag(total)[present] / true[present])) if present.any() else float("nan")


def class_iou(total: Array, void: int | None = None) -> float:
    """Mean over the classes that truth or prediction has of n_ii / (t_i + sum_j n_ji - n_ii).

    void: the place of the void class, which is no class of its own.
    """
    hit = np.diag(total)
    union = total.sum(axis=1) + total.sum(axis=0) - hit
    present = union > 0
    if void is not None:
        present[void] = False
    return float(np.mean(hit[present] / union[present])) if present.any() else float("nan")


def figures(prefix: str, void: int | None = None, of: str = "") -> Mapping[str, FigureOf]:
    """The three semantic parsing scores of the column `<prefix>/confusion<of>`, int64 (N, C, C).

    void: the place of the void class in the matrices, None where there is none. of: ends the names of the column and
    of the figures, as in `reader/class_iou_of_targets`.
    """
    column = f"{prefix}/confusion{of}"
    seen = "the true photos" if of else "the painted pictures"
    rule = "over the whole set; void pixels are left out"

    def total(columns: Columns) -> Array:
        summed: Array = columns[column].sum(axis=0)
        return summed

    return {
        f"{prefix}/pixel_accuracy{of}": FigureOf(
            lambda columns: 100 * pixel_accuracy(total(columns)),
            None if of else "more",
            f"Share of the pixels of {seen} that are read as the class of the label map, {rule}.",
            "%",
        ),
        f"{prefix}/class_accuracy{of}": FigureOf(
            lambda columns: 100 * class_accuracy(total(columns)),
            None if of else "more",
            f"The same share of {seen} for each class by itself, averaged over the classes that the label maps show, "
            f"{rule}.",
            "%",
        ),
        f"{prefix}/class_iou{of}": FigureOf(
            lambda columns: class_iou(total(columns), void),
            None if of else "more",
            f"Intersection over union of the classes read off {seen} with those of the label maps, averaged over the "
            f"classes that either shows, {rule}; 1 is perfect.",
        ),
    }


def accuracies(matrices: Iterable[Array]) -> Array:
    """The per-pixel accuracy of every picture in percent: float64 (N,), NaN where nothing is labelled."""
    return np.array([100 * pixel_accuracy(matrix) for matrix in matrices], np.float64)


def picture_figure(prefix: str) -> Mapping[str, FigureOf]:
    """The mean of the column `<prefix>/picture_accuracy`, by which single pictures are ranked."""
    name = f"{prefix}/picture_accuracy"
    meaning = "Per-pixel accuracy of each picture, averaged over pictures; void in the label map is ignored."
    return {name: mean_of(name, "more", meaning, "%")}
