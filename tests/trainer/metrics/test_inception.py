"""FID and KID by torch-fidelity's network, where it is installed; and what is said where it is not."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.records import Frame, Pair
from trainer.metrics import inception
from trainer.metrics.inception import fid, load_inception
from trainer.metrics.metric import Judged, stacked

FRAME = Frame("a.mp4", 0, 0.0, "a")
PAIR = Pair("0", FRAME, FRAME, FRAME, FRAME, True)


@pytest.fixture(scope="module")
def library() -> Any:
    try:
        from torch_fidelity import feature_extractor_inceptionv3
    except ImportError:
        pytest.skip("torch-fidelity is not installed; it is in the extra fidelity")
    except RuntimeError as error:
        pytest.skip(f"torchvision does not import beside this torch: {error}")
    return feature_extractor_inceptionv3


@pytest.fixture(scope="module")
def weights(library: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of the library's network, random, as a file whose name carries its hash."""
    folder = tmp_path_factory.mktemp("inception")

    class Fresh(library.FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state: object) -> None:
            """Keeps the weights that it was made with."""

    torch.save({}, folder / "empty.pth")
    torch.manual_seed(0)
    network = Fresh("inception", ["2048"], str(folder / "empty.pth"))
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), folder / "random.pth")
    return (folder / "random.pth").rename(folder / f"random-{sha256_of(folder / 'random.pth')[:8]}.pth")


def judged(pictures: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> list[Judged]:
    return [Judged(PAIR, picture, target, target) for picture, target in zip(pictures, targets, strict=True)]


def photos(count: int, seed: int, side: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, side // 8, side // 8, 3))
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8))


def test_the_network_is_the_published_one(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """23,850,960 parameters with the 1,008 classes of 2015; 2,048 features of a picture of any size."""
    monkeypatch.setattr(inception, "URL", f"https://example.org/{weights.name}")
    network = load_inception(str(weights))
    assert sum(parameter.numel() for parameter in network.parameters()) == 23_850_960
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for height, width in ((64, 64), (32, 96)):
        features = network(torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8))
        assert features.shape == (1, 2048) and features.dtype == torch.float32


def test_fid_and_kid_of_sets(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "URL", f"https://example.org/{weights.name}")
    metric = fid(str(weights))
    assert sorted(metric.figures) == ["fid", "kid"]
    assert "JPEG" in metric.figures["fid"].meaning
    targets, noise = photos(3, 0), [np.random.default_rng(s).integers(0, 256, (32, 32, 3), np.uint8) for s in range(3)]
    same, worse = (metric.measure(judged(pictures, targets)) for pictures in (targets, noise))
    assert metric.figures["fid"].compute(same) == pytest.approx(0, abs=1e-6)
    assert metric.figures["fid"].compute(worse) > 1e-3
    assert metric.figures["kid"].compute(worse) > metric.figures["kid"].compute(same)
    last = stacked([metric.measure([]), metric.measure(judged(noise, targets)[2:])])
    assert all(np.array_equal(worse[name][2:], last[name]) for name in worse)


def test_other_weights_are_not_called_fid(weights: Path) -> None:
    with pytest.raises(BadInput, match="not the published file"):
        fid(str(weights))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", raising=False)
    with pytest.raises(BadInput, match=r"FID and KID need torch-fidelity.*pip install 'likeness\[fidelity\]'"):
        fid("download")


def test_a_library_that_does_not_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision of another build raises this, and takes the library with it."""
    (tmp_path / "torch_fidelity").mkdir()
    (tmp_path / "torch_fidelity" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch_fidelity"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=r"nms does not exist.*torchvision that goes with torch"):
        fid("download")
