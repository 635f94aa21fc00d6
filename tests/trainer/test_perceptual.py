"""The loss network's weights: published names, wrong files, and no weights at all (specification 2.3, 3.2)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from likeness.command import BadInput
from trainer.perceptual import load_vgg19

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
    with pytest.raises(Exception, match=r"[Ww]eights.?only"):
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
    ],
)
def test_mistaken_settings_are_named(weights: str, divisor: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_vgg19(weights, divisor)
