"""Semantic parsing scores against what specification 6.1 and 9.5 say of them."""

import numpy as np
import pytest

from trainer.metrics import confusion

IDS, VOID = (0, 1, 2, 255), 255
TRUE = np.array([[0, 0, 0, 1], [0, 1, 255, 255]], np.uint8)


def scores(*maps: tuple[np.ndarray, np.ndarray]) -> list[float]:
    columns = {"p/confusion": np.stack([confusion.confusion(a, b, IDS, VOID) for a, b in maps])}
    return [figure.compute(columns) for figure in confusion.figures("p", void=3).values()]


def test_a_perfect_prediction_has_full_marks_whatever_it_says_of_void() -> None:
    predicted = np.where(TRUE == VOID, 2, TRUE).astype(np.uint8)
    assert scores((TRUE, predicted)) == [100.0, 100.0, 1.0]


def test_the_three_scores_of_a_confusion_counted_by_hand() -> None:
    # Class 0: 3 of 4 right; class 1: 1 of 2 right, the other one is called 2, which the truth never shows.
    predicted = np.array([[0, 0, 0, 1], [1, 2, 0, 0]], np.uint8)
    pixel, per_class, iou = scores((TRUE, predicted))
    assert pixel == pytest.approx(100 * 4 / 6)
    assert per_class == pytest.approx(100 * (3 / 4 + 1 / 2) / 2)  # class 2 has no truth to be right about
    assert iou == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)  # but it was claimed


def test_saying_void_is_wrong_and_no_class_of_its_own() -> None:
    predicted = TRUE.copy()
    predicted[0, 0] = VOID
    pixel, per_class, iou = scores((TRUE, predicted))
    assert (pixel, per_class) == (pytest.approx(500 / 6), pytest.approx(100 * (3 / 4 + 1) / 2))
    assert iou == pytest.approx((3 / 4 + 1) / 2)


def test_scores_are_of_the_whole_set_not_means_of_pictures() -> None:
    other = np.zeros_like(TRUE)
    pixel, per_class, _ = scores((TRUE, TRUE), (other, other + 1))
    assert pixel == pytest.approx(100 * 6 / 14)
    assert per_class == pytest.approx(100 * (4 / 12 + 2 / 2) / 2)


def test_nothing_but_void_has_no_score() -> None:
    nothing = np.full_like(TRUE, VOID)
    assert np.isnan(scores((nothing, TRUE))).all()


def test_an_id_that_the_schema_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="id 7 "):
        confusion.confusion(TRUE, np.full_like(TRUE, 7), IDS, VOID)
