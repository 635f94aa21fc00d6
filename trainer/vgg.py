"""VGG-19 up to relu5_1 in plain torch: the frozen loss network (specification 2.3)."""

from itertools import islice, pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from shards.command import BadInput

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)
TAKEN = (1, 6, 11, 20, 29)
"""relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 as indices of torchvision's `features` stack."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """Features of (N, 3, H, W) pictures at relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    Pictures come in [-1, 1] and are read as they are, as the published weights of the losses expect;
    imagenet_norm maps them to ImageNet's mean and standard deviation first. Pictures less than
    resize_below pixels high are resized bilinearly to resize_below squared (0: never), specification 3.2.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, divisor: int = 1, imagenet_norm: bool = False, resize_below: int = 224) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width // divisor, 3, padding=1), nn.ReLU()]
                channels = width // divisor
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.imagenet_norm = imagenet_norm
        self.resize_below = resize_below
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        if pictures.shape[-2] < self.resize_below:
            size = (self.resize_below, self.resize_below)
            pictures = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
        if self.imagenet_norm:
            pictures = ((pictures + 1) / 2 - self.mean) / self.std
        taken = []
        for before, last in pairwise((-1, *TAKEN)):
            pictures = self.between(pictures, before + 1, last + 1)
            taken.append(pictures)
        return taken

    def between(self, values: Tensor, first: int, end: int) -> Tensor:
        """What the layers from number `first` to before `end` make of values."""
        for layer in islice(self.features, first, end):
            values = layer(values)
        return values


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
            found = "is missing" if name not in theirs else f"has shape {tuple(theirs[name].shape)}"
            raise BadInput(f"{where}: features.{name} {found}; expected torchvision's VGG-19 ({URL})")
    network.features.load_state_dict({name: theirs[name] for name in ours})
