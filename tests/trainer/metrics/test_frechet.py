"""Distances between sets of features, against other ways of computing them and against Gaussians."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from shards.records import Frame, Pair
from trainer.metrics.frechet import features_metric, frechet_distance, kernel_distance
from trainer.metrics.metric import Judged

RNG = np.random.default_rng(5)


def features(count: int, width: int, shift: float = 0.0) -> np.ndarray:
    mixing = RNG.standard_normal((width, width)) / np.sqrt(width)
    return RNG.standard_normal((count, width)) @ mixing + shift


def by_the_formula(first: np.ndarray, second: np.ndarray) -> float:
    covariances = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    apart = first.mean(0) - second.mean(0)
    return float(apart @ apart + np.trace(covariances[0] + covariances[1] - 2 * np.real(root)))


class PassThrough(torch.nn.Identity):
    num_features = 12


def by_torchmetrics(first: np.ndarray, second: np.ndarray) -> float:
    metric = FrechetInceptionDistance(feature=PassThrough())
    metric.update(torch.from_numpy(first), real=True)
    metric.update(torch.from_numpy(second), real=False)
    return float(metric.compute())


@pytest.mark.parametrize("counts", [(200, 150), (13, 40)])
def test_frechet_is_the_published_formula(counts: tuple[int, int]) -> None:
    first, second = features(counts[0], 12), features(counts[1], 12, shift=0.3)
    assert frechet_distance(first, second) == pytest.approx(by_the_formula(first, second), rel=1e-8)
    assert frechet_distance(first, second) == pytest.approx(by_torchmetrics(first, second), rel=1e-6)


def test_frechet_with_fewer_pictures_than_features() -> None:
    """Where the covariances have no full rank, a wider frame of the same points changes nothing."""
    first, second = features(40, 12), features(30, 12, shift=0.5)
    turn = np.linalg.qr(RNG.standard_normal((300, 12)))[0].T
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(frechet_distance(first, second), rel=1e-9)


def test_frechet_of_known_gaussians() -> None:
    """In one dimension it is (m1 - m2)² + (s1 - s2)²."""
    first = 2.0 * RNG.standard_normal((200_000, 1))
    second = 5.0 + 3.0 * RNG.standard_normal((200_000, 1))
    assert frechet_distance(first, second) == pytest.approx(25 + 1, rel=0.01)


def test_kernel_is_the_mean_over_pairs_of_different_pictures() -> None:
    first, second = features(9, 4), features(7, 4, shift=0.4)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(some) for j, y in enumerate(some) if i != j])
        for some in (first, second)
    ]
    between = np.mean([kernel(x, y) for x in first for y in second])
    assert kernel_distance(first, second) == pytest.approx(within[0] + within[1] - 2 * between, rel=1e-12)


def test_kernel_distance_has_no_bias() -> None:
    """Between samples of one distribution it is 0 on average, however small they are."""
    found = [kernel_distance(RNG.standard_normal((8, 3)), RNG.standard_normal((8, 3))) for _ in range(2000)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    assert np.mean(found) < 0.1 * np.std(found)


def test_distances_of_a_set_to_itself_and_of_too_few() -> None:
    some = features(50, 12)
    assert frechet_distance(some, some) == pytest.approx(0, abs=1e-9)
    assert kernel_distance(some, some) <= 0
    assert np.isnan([frechet_distance(some[:1], some), kernel_distance(some, some[:1])]).all()


def test_few_pictures_of_many_features_cost_next_to_nothing() -> None:
    """Hundreds of resamples are computed; with matrices of features × features each would cost what the formula does.

    The quickest of several turns each: another process that takes the core away makes neither quicker.
    """
    first, second = features(60, 400), features(60, 400)

    def quickest(turns: int, distance: Callable[[np.ndarray, np.ndarray], float]) -> float:
        taken = []
        for _ in range(turns):
            begun = time.perf_counter()
            distance(first, second)
            taken.append(time.perf_counter() - begun)
        return min(taken)

    plain = quickest(3, by_the_formula)
    assert quickest(10, frechet_distance) < plain / 10 and quickest(10, kernel_distance) < plain / 10


def judged(pictures: np.ndarray, targets: np.ndarray) -> list[Judged]:
    frame = Frame("video.mp4", 0, 0.0, "style")
    pair = Pair("0", frame, frame, frame, frame, True)
    return [Judged(pair, one, other, one) for one, other in zip(pictures, targets, strict=True)]


def test_the_metric_measures_pictures_against_targets_under_the_names_it_is_given() -> None:
    pictures = RNG.integers(0, 256, (20, 4, 4, 3), np.uint8)
    targets = RNG.integers(0, 256, (20, 4, 4, 3), np.uint8)

    def means(some: object) -> np.ndarray:
        return np.stack([np.asarray(one, float).mean((0, 1)) for one in some])  # type: ignore[attr-defined]

    metric = features_metric("inception", means, frechet="fid", kernel="kid")
    columns = metric.measure(judged(pictures, targets))
    assert {name: column.shape for name, column in columns.items()} == {
        "inception/ours": (20, 3),
        "inception/target": (20, 3),
    }
    values = {name: figure.compute(columns) for name, figure in metric.figures.items()}
    assert values["fid"] == pytest.approx(frechet_distance(means(pictures), means(targets)), rel=1e-4)
    assert values["kid"] == pytest.approx(kernel_distance(means(pictures), means(targets)), rel=1e-3)
    assert set(features_metric("world", means).figures) == {"world_frechet", "world_kernel"}
