"""Pictures against their target: known values, identities, and what noise does to them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import peak_signal_noise_ratio

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import standard_schema
from shards.records import Frame, Pair
from shards.worlds.film import film
from trainer.metrics.likeness_to_target import exemplar_copy, likeness_to_target, likeness_to_truth, psnr, ssim
from trainer.metrics.metric import Judged, stacked
from trainer.metrics.structural_similarity import load_structural_similarity
from trainer.metrics.truth import Truth

FRAME = Frame("a.mp4", 0, 0.0, "a")


def picture(seed: int, height: int = 32, width: int = 48) -> Array:
    """Smooth blobs of colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 8, width // 8, 3))
    return coarse.repeat(8, axis=0).repeat(8, axis=1).round().astype(np.uint8)


def noisy(picture: Array, spread: float, seed: int = 9) -> Array:
    noise = np.random.default_rng(seed).normal(0, spread, picture.shape)
    return (picture + noise).round().clip(0, 255).astype(np.uint8)


def judged(picture: Array, target: Array, exemplar: Array, same_style: bool = True) -> Judged:
    return Judged(Pair("0", FRAME, FRAME, FRAME, FRAME, same_style), picture, target, exemplar)


def test_target_exemplar_and_another_style() -> None:
    target, exemplar = picture(1), picture(2)
    columns = likeness_to_target().measure(
        [
            judged(target, target, exemplar),
            judged(exemplar, target, exemplar),
            judged(exemplar, target, exemplar, same_style=False),
        ]
    )
    assert columns["ssim"][0] == pytest.approx(1, abs=1e-4)
    assert columns["psnr"][0] == pytest.approx(58.92, abs=0.005)
    assert columns["l1"][0] == 0
    assert columns["exemplar_copy"][:2].tolist() == [0, 1]
    by_hand = np.abs(target.astype(int) - exemplar).mean()
    assert columns["l1"][1] == pytest.approx(by_hand)
    assert columns["ssim"][1] < 0.5
    assert all(np.isnan(values[2]) for values in columns.values()), "with another style the target is no answer"


def test_figures_leave_out_pairs_of_two_styles() -> None:
    target, exemplar = picture(1), picture(2)
    metric = likeness_to_target()
    two_styles = judged(exemplar, target, exemplar, same_style=False)
    columns = metric.measure([judged(target, target, exemplar), two_styles])
    assert metric.figures["l1"].compute(columns) == 0
    assert metric.figures["exemplar_copy"].compute(columns) == 0
    assert metric.figures["ssim"].compute(columns) == pytest.approx(1, abs=1e-4)
    assert all(np.isnan(figure.compute(metric.measure([two_styles]))) for figure in metric.figures.values())


def test_a_known_psnr_and_torchmetrics() -> None:
    """One grey value more everywhere: mean squared error 1, 20 log10(255) dB."""
    grey = np.full((32, 32, 3), 100, np.uint8)
    assert psnr(grey, grey + 1) == pytest.approx(48.1308, abs=1e-4)
    first, second = picture(3), noisy(picture(3), 12)
    theirs = peak_signal_noise_ratio(*(torch.from_numpy(one).float() for one in (first, second)), data_range=255.0)
    assert psnr(first, second) == pytest.approx(float(theirs), abs=1e-4)


def test_a_torchmetrics_that_does_not_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes along any torchvision that is installed; one of another build raises this."""
    (tmp_path / "torchmetrics").mkdir()
    said = "operator torchvision::nms does not exist"
    (tmp_path / "torchmetrics" / "__init__.py").write_text(f"raise RuntimeError({said!r})")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    load_structural_similarity.cache_clear()
    with pytest.raises(BadInput, match=rf"torchmetrics does not import \({said}\).*goes with torch"):
        likeness_to_target()


def test_ssim_of_two_flat_pictures() -> None:
    """Without any structure only the luminance term is left: (2ab + C1) / (a² + b² + C1) with C1 = (0.01 · 255)²."""
    dark, light = np.full((32, 32, 3), 60, np.uint8), np.full((32, 32, 3), 120, np.uint8)
    by_hand = (2 * 60 * 120 + 2.55**2) / (60**2 + 120**2 + 2.55**2)
    assert ssim(dark, light) == pytest.approx(by_hand, abs=1e-3)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_more_noise_is_never_better(seed: int) -> None:
    target, exemplar = picture(seed), picture(seed + 1)
    spreads = (0, 4, 16, 64)
    columns = likeness_to_target().measure([judged(noisy(target, s, seed), target, exemplar) for s in spreads])
    assert (np.diff(columns["l1"]) > 0).all()
    assert (np.diff(columns["exemplar_copy"]) > 0).all()
    assert (np.diff(columns["psnr"]) < 0).all()
    assert (np.diff(columns["ssim"]) < 0).all()


def test_a_picture_that_is_all_three_copies_nothing() -> None:
    one = picture(4)
    assert exemplar_copy(one, one, one) == 0


def test_columns_do_not_depend_on_who_else_is_measured() -> None:
    group = [judged(noisy(picture(1), 9, seed), picture(1), picture(2)) for seed in range(5)]
    measure = likeness_to_target().measure
    whole, split = measure(group), stacked([measure(group[:2]), measure(group[2:])])
    assert all(np.array_equal(whole[name], split[name]) for name in whole)
    assert {name: values.shape for name, values in measure([]).items()} == dict.fromkeys(whole, (0,))


def test_a_worlds_truth_answers_pairs_of_two_styles(tmp_path: Path) -> None:
    """The truth itself is best; the exemplar itself, and the label in the target's style, are not."""
    film("faces", tmp_path / "videos", videos=2, seconds=1, size=64, seed=3)
    first, second = (Frame(f"video-000{n}.mp4", 0, 0.0, f"video-000{n}.mp4") for n in range(2))
    pair = Pair("0", first, second, second, first, False)
    truth = Truth(tmp_path / "videos", standard_schema("sketch", 64, 64))
    target, exemplar = truth.draw(first, first), truth.draw(second, second)
    metric = likeness_to_truth(truth.draw)
    columns = metric.measure(
        [Judged(pair, one, target, exemplar) for one in (truth.draw(first, second), exemplar, target)]
    )
    assert columns["truth/ssim"][0] == pytest.approx(1, abs=1e-4)
    assert columns["truth/psnr"][0] == pytest.approx(58.92, abs=0.005)
    assert (columns["truth/ssim"][1:] < 0.95).all()
    assert (columns["truth/psnr"][1:] < 30).all()
    assert metric.figures["truth/ssim"].compute(columns) == pytest.approx(columns["truth/ssim"].mean())
