"""The frozen loss network that `perceptual.weights` names (specification 2.3)."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from likeness.command import BadInput
from trainer.networks.vgg import VGG19

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"


def load_vgg19(weights: str, divisor: int = 1, imagenet_norm: bool = False, resize_below: int = 224) -> VGG19:
    """The frozen network with the weights that `weights` names.

    weights: the path of torchvision's published ImageNet state dict (.pth, or .safetensors with the same
        names); `download`, which fetches that file once and checks its hash; or `random:SEED` for machines
        without it: He-initialised, still a useful distance between textures, but not the published loss.
    divisor: divides all widths, for `random:SEED` only.

    Raises BadInput when the file is missing or does not hold the published tensors.
    """
    kind, _, seed = weights.partition(":")
    if divisor != 1 and kind != "random":
        raise BadInput(
            f"perceptual.divisor {divisor} needs perceptual.weights random:SEED: published weights are whole"
        )
    network = VGG19(divisor, imagenet_norm, resize_below)
    if kind == "random":
        _randomise(network, seed)
    elif weights == "download":
        _load(network, torch.hub.load_state_dict_from_url(URL, map_location="cpu", check_hash=True), URL)
    else:
        _load(network, _read(Path(weights)), weights)
    return network.eval().requires_grad_(False)


def _randomise(network: VGG19, seed: str) -> None:
    if not seed.isdigit():
        raise BadInput(f"perceptual.weights random:{seed} needs a whole number, such as random:0")
    generator = torch.Generator().manual_seed(int(seed))
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BadInput(
            f"perceptual.weights {path} does not exist. Fetch {URL} and give its path, or set "
            "perceptual.weights to `download` on a machine with internet, or to `random:0` to do without"
        )
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _load(network: VGG19, state: dict[str, Tensor], where: str) -> None:
    ours = network.features.state_dict()
    theirs = {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    for name, value in ours.items():
        if name not in theirs or theirs[name].shape != value.shape:
            problem = "is missing" if name not in theirs else f"has shape {tuple(theirs[name].shape)}"
            raise BadInput(f"{where}: features.{name} {problem}; expected torchvision's VGG-19 ({URL})")
    network.features.load_state_dict({name: theirs[name] for name in ours})
