"""LPIPS by its own package, where it is installed; and what is said where it is not."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.records import Frame, Pair
from trainer.metrics import perceptual_similarity
from trainer.metrics.metric import Judged, Metric, stacked
from trainer.metrics.perceptual_similarity import lpips

FRAME = Frame("a.mp4", 0, 0.0, "a")
PAIR = Pair("0", FRAME, FRAME, FRAME, FRAME, True)


@pytest.fixture(scope="module")
def torchvision() -> Any:
    try:
        import lpips
        import torchvision
    except ImportError:
        pytest.skip("lpips is not installed; it is in the extra fidelity")
    except RuntimeError as error:
        pytest.skip(f"torchvision does not import beside this torch: {error}")
    assert lpips.LPIPS
    return torchvision


@pytest.fixture(scope="module")
def weights(torchvision: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's AlexNet, random, as a file whose name carries its hash."""
    folder = tmp_path_factory.mktemp("alexnet")
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), folder / "random.pth")
    return (folder / "random.pth").rename(folder / f"random-{sha256_of(folder / 'random.pth')[:8]}.pth")


@pytest.fixture
def metric(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Metric:
    monkeypatch.setattr(perceptual_similarity, "URL", f"https://example.org/{weights.name}")
    return lpips(str(weights))


def photo(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (8, 8, 3))
    return coarse.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)


def noisy(picture: np.ndarray, spread: float) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, spread, picture.shape)
    return (picture + noise).round().clip(0, 255).astype(np.uint8)


def test_the_target_is_at_distance_0_and_noise_further(metric: Metric) -> None:
    target = photo(0)
    group = [Judged(PAIR, noisy(target, spread), target, target) for spread in (0, 5, 20, 80)]
    found = metric.measure(group)["lpips"]
    assert found[0] == pytest.approx(0, abs=1e-7)
    assert (np.diff(found) > 0).all()
    split = stacked([metric.measure(group[:1]), metric.measure([]), metric.measure(group[1:])])
    assert np.array_equal(found, split["lpips"])


def test_pairs_of_two_styles_do_not_count(metric: Metric) -> None:
    other = Judged(replace(PAIR, same_style=False), photo(1), photo(0), photo(0))
    columns = metric.measure([Judged(PAIR, photo(2), photo(0), photo(0)), other])
    assert np.isnan(columns["lpips"][1])
    assert metric.figures["lpips"].compute(columns) == columns["lpips"][0] > 0


def test_the_given_alexnet_is_the_one_that_judges(metric: Metric, torchvision: Any, weights: Path) -> None:
    """By hand: torchvision's own layers and the linear weights that come with the package."""
    import lpips as package

    alexnet = torchvision.models.alexnet(weights=None)
    alexnet.load_state_dict(torch.load(weights))
    linear = torch.load(Path(package.__file__).parent / "weights" / "v0.1" / "alex.pth", map_location="cpu")
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    features = []
    for picture in (photo(1), photo(0)):
        values = (torch.from_numpy(picture).float() / 127.5 - 1 - shift) / scale
        out, taken = values.permute(2, 0, 1)[None], []
        for index, layer in enumerate(alexnet.features):
            out = layer(out)
            if index in (1, 4, 7, 9, 11):
                taken.append(out / (out.square().sum(1, keepdim=True).sqrt() + 1e-10))
        features.append([one.clone() for one in taken])
    wanted = sum(
        ((one - other).square() * linear[f"lin{level}.model.1.weight"]).sum(1).mean().item()
        for level, (one, other) in enumerate(zip(*features, strict=True))
    )
    found = metric.measure([Judged(PAIR, photo(1), photo(0), photo(0))])["lpips"]
    assert found == pytest.approx([wanted], rel=1e-4)


def test_other_weights_are_not_called_lpips(weights: Path) -> None:
    with pytest.raises(BadInput, match=r"not the published file alexnet-owt-7be5be79\.pth"):
        lpips(str(weights))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(BadInput, match=r"LPIPS needs the package lpips.*pip install 'likeness\[fidelity\]'"):
        lpips("download")


def test_a_library_that_does_not_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision of another build raises this, and takes the library with it."""
    (tmp_path / "lpips.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "lpips"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=r"nms does not exist.*torchvision that goes with torch"):
        lpips("download")
