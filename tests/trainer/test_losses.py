"""Loss values on constant scores and features, and schedules (specification 3, 4.1, 9.3; pix2pixHD 8)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.losses import (
    RELATIVE_SIZES,
    feature_distances,
    feature_matching,
    least_squares,
    same_style_l1,
    semantic_loss,
)
from trainer.schedules import Schedule, linear_decay, phase

OFFICIAL_FACE = [(0, 0.0), (500_000, 0.1), (550_000, 0.3), (600_000, 0.5), (700_000, 1.0)]


@pytest.mark.parametrize(
    ("score", "realism", "style", "generator"),
    [(0.0, 0.5, 0.5, 11), (0.5, 0.25, 0.375, 2.75), (1.0, 0.5, 1.0, 0), (1 / 3, 0.2778, 0.3333, 4.8889)],
)
def test_values_on_constant_scores(score: float, realism: float, style: float, generator: float) -> None:
    scores = torch.full((2, 1, 5, 5), score)
    real, fake = least_squares(scores, 1.0), least_squares(scores, 0.0)
    assert ((real + fake) / 2).item() == pytest.approx(realism, abs=1e-4)
    assert ((real + fake + fake) / 2).item() == pytest.approx(style, abs=1e-4)
    assert (real + 10 * real).item() == pytest.approx(generator, abs=1e-4)


@pytest.mark.parametrize(
    ("weighting", "same", "other"),
    [("adaptive", 50, 14.6875), ("official", 114.6875, 14.6875), ("fixed",) + (14.6875,) * 2],
)
def test_semantic_loss_where_every_layer_differs_by_one(weighting: str, same: float, other: float) -> None:
    distances = torch.ones(1, 5)
    for flag, expected in ((1.0, same), (0.0, other)):
        assert semantic_loss(distances, torch.tensor([flag]), weighting, 10.0).item() == pytest.approx(expected)


def test_relative_sizes_are_those_of_the_feature_maps() -> None:
    elements = [64 * 256**2, 128 * 128**2, 256 * 64**2, 512 * 32**2, 512 * 16**2]
    assert list(RELATIVE_SIZES) == [elements[-1] / count for count in elements]


@given(st.lists(st.floats(0, 10), min_size=10, max_size=10))
def test_flags_apply_per_sample(values: list[float]) -> None:
    distances = torch.tensor(values).reshape(2, 5)
    both = semantic_loss(distances, torch.tensor([1.0, 0.0]), "adaptive", 10.0)
    same = semantic_loss(distances[:1], torch.tensor([1.0]), "adaptive", 10.0)
    other = semantic_loss(distances[1:], torch.tensor([0.0]), "adaptive", 10.0)
    torch.testing.assert_close(both, (same + other) / 2)


@given(st.lists(st.floats(0.001, 10), min_size=5, max_size=5))
def test_same_style_weighs_1_to_32_times_other_style(values: list[float]) -> None:
    distances = torch.tensor(values).reshape(1, 5)
    same, other = (semantic_loss(distances, torch.tensor([flag]), "adaptive", 10.0).item() for flag in (1.0, 0.0))
    assert 1 - 1e-5 <= same / other <= 32 + 1e-3


def test_equal_features_cost_nothing_and_the_target_gets_no_gradient() -> None:
    features = [torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(5)]
    assert feature_distances(features, features).sum() == 0
    wanted = [torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(5)]
    feature_distances(features, wanted).sum().backward()
    assert all(feature.grad is None for feature in wanted)
    assert all(feature.grad is not None for feature in features)


def test_pixel_loss_counts_same_style_samples_only() -> None:
    image, target = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    target[1] = 100
    assert same_style_l1(image, target, torch.tensor([1.0, 0.0])).item() == pytest.approx(0.5)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_feature_matching_is_four_for_differences_of_one(scales: int) -> None:
    fake = [[torch.zeros(2, 3, 4, 4) for _ in range(5)] for _ in range(scales)]
    real = [[stage + 1 for stage in scale] for scale in fake]
    assert feature_matching(fake, real).item() == pytest.approx(4)
    assert feature_matching(fake, fake).item() == 0


def test_paper_schedule() -> None:
    rates = [2e-4 * linear_decay(images, 500_000, 500_000) for images in (0, 500_000, 750_000, 1_000_000)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 0])
    paper = [(0, 0.0), (250_000, 1.0)]
    assert [phase(images, paper) for images in (0, 249_999, 250_000, 999_999)] == [0, 0, 1, 1]


def test_munits_rate_halves_every_100_000_iterations() -> None:
    schedule = Schedule(10**9, 1, halve_every=100_000)
    assert [1e-4 * schedule.at(images) for images in (0, 99_999, 100_000, 250_000)] == [1e-4, 1e-4, 5e-5, 2.5e-5]


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(1, 10**6), st.none() | st.integers(1, 10**6))
def test_a_schedule_never_rises(images: int, constant: int, decay: int, halve_every: int | None) -> None:
    schedule = Schedule(constant, decay, halve_every)
    assert 0 <= schedule.at(images + 1000) <= schedule.at(images) <= schedule.at(0) == 1


def test_official_face_schedule() -> None:
    images = (499_999, 500_000, 550_000, 600_000, 700_000)
    assert [phase(count, OFFICIAL_FACE) for count in images] == [0, 0.1, 0.3, 0.5, 1]


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(1, 10**6))
def test_decay_never_rises_and_stays_in_range(images: int, constant: int, decay: int) -> None:
    now, later = linear_decay(images, constant, decay), linear_decay(images + 1000, constant, decay)
    assert 0 <= later <= now <= 1
