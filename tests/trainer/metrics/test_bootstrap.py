"""Intervals: as wide as theory says, and no narrower because a video gives many frames."""

import numpy as np
import pytest

from trainer.metrics.bootstrap import estimates
from trainer.metrics.metric import Columns, FigureOf, mean_of

MEAN = {"mean": mean_of("value", "less", "")}


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = estimates(MEAN, {"value": values}, [[str(number) for number in range(400)]])["mean"]
    assert found.value == pytest.approx(values.mean()) and found.pictures == 400
    half = 1.96 * values.std(ddof=1) / 20
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert found.low < 3 < found.high


def test_frames_of_one_video_count_once() -> None:
    values = np.random.default_rng(2).normal(size=60)
    alone = estimates(MEAN, {"value": values}, [[str(number) for number in range(60)]])["mean"]
    repeated = {"value": np.repeat(values, 10)}
    videos = [str(number // 10) for number in range(600)]
    together = estimates(MEAN, repeated, [videos])["mean"]
    naive = estimates(MEAN, repeated, [[str(number) for number in range(600)]])["mean"]
    width, of_one, if_naive = (each.high - each.low for each in (together, alone, naive))
    assert width == pytest.approx(of_one, rel=0.1)
    assert if_naive < 0.5 * width


def test_what_is_not_there_is_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    found = estimates(MEAN, {"value": values}, [["a", "b", "c", "d"]])["mean"]
    assert (found.value, found.pictures) == (2.0, 2)
    nothing = estimates(MEAN, {"value": np.full(3, np.nan)}, [["a", "b", "c"]])["mean"]
    assert np.isnan(nothing.value) and np.isnan(nothing.low) and nothing.pictures == 0


def test_one_video_has_no_interval() -> None:
    found = estimates(MEAN, {"value": np.arange(5.0)}, [["a"] * 5])["mean"]
    assert found.value == 2 and np.isnan(found.low) and np.isnan(found.high)


def test_a_biased_figure_lies_in_the_middle_of_its_interval() -> None:
    def distinct(columns: Columns) -> float:
        return float(len(np.unique(columns["value"])))

    values = {"value": np.arange(50.0)}
    groups = [[str(number) for number in range(50)]]
    found = estimates({"distinct": FigureOf(distinct, "more", "", biased=True)}, values, groups)["distinct"]
    assert found.low < 50 < found.high
    assert (found.low + found.high) / 2 == pytest.approx(50)
    naive = estimates({"distinct": FigureOf(distinct, "more", "")}, values, groups)["distinct"]
    assert naive.high < 50, "resampling repeats pictures: none of its sets has them all"


def test_equal_seeds_give_equal_intervals() -> None:
    values = {"value": np.random.default_rng(3).normal(size=30)}
    groups = [[str(number % 7) for number in range(30)]]
    assert estimates(MEAN, values, groups) == estimates(MEAN, values, groups)
    assert estimates(MEAN, values, groups, seed=1) != estimates(MEAN, values, groups)


def test_the_widest_grouping_counts() -> None:
    """A style is told or not by its exemplar: then exemplars are what is few."""
    exemplars = [str(number // 10) for number in range(60)]
    values = {"value": np.repeat([0.0, 1.0, 0.0, 1.0, 1.0, 0.0], 10)}
    targets = [str(number % 30) for number in range(60)]
    both = estimates(MEAN, values, [targets, exemplars])["mean"]
    by_target, by_exemplar = (estimates(MEAN, values, [groups])["mean"] for groups in (targets, exemplars))
    assert both == by_exemplar and both.high - both.low > by_target.high - by_target.low
