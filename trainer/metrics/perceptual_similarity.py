"""LPIPS to the target, where it is the true answer: for pairs whose target has the exemplar's style."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from likeness.array import Array
from likeness.command import BadInput
from shards.records import Frame
from trainer.metrics.metric import Judged, Metric, mean_of
from trainer.metrics.published_weights import published_file

URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"


def lpips(
    weights: str, device: torch.device | str = "cpu", draw: Callable[[Frame, Frame], Array] | None = None
) -> Metric:
    """LPIPS, version 0.1 with AlexNet, of the painted pictures to the true answer. weights: as for `load_lpips`.

    draw: gives the true picture for the frames of label and style, as `Truth.draw`: `truth/lpips`, of every pair.
    Without it the targets are the answer where they share the exemplar's style: `lpips`, NaN elsewhere.
    """
    network = load_lpips(weights).to(device)
    name = "lpips" if draw is None else "truth/lpips"

    def value(one: Judged) -> float:
        # One by one: the last digits of a convolution depend on how many pictures it is given.
        if draw is not None:
            return _distance(network, one.picture, draw(one.pair.target, one.pair.exemplar), device)
        return _distance(network, one.picture, one.target, device) if one.pair.same_style else float("nan")

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        return {name: np.array([value(one) for one in judged], np.float64)}

    answer = "the target, over pairs whose target has the exemplar's style" if draw is None else "the world's truth"
    meaning = f"Learned perceptual distance (LPIPS 0.1, AlexNet) to {answer}; 0 is that picture itself."
    return Metric(measure, {name: mean_of(name, "less", meaning)})


def load_lpips(weights: str) -> nn.Module:
    """The frozen network that compares two pictures, (N, 3, H, W) in [-1, 1] each: (N, 1, 1, 1).

    weights: of AlexNet: the path of torchvision's published ImageNet state dict, or `download`, which fetches it once.
    Those of LPIPS itself come with its package.

    Raises BadInput when the package is not installed or does not import, and as `published_file` does.
    """
    try:
        from lpips import LPIPS
    except ImportError as error:
        raise BadInput(
            f"LPIPS needs the package lpips, which is not here ({error}); pip install 'likeness[fidelity]'"
        ) from error
    except RuntimeError as error:
        raise BadInput(
            f"lpips does not import ({error}); install the build of torchvision that goes with torch "
            f"{torch.__version__}"
        ) from error
    state = torch.load(published_file(weights, URL), map_location="cpu", weights_only=True)
    with warnings.catch_warnings():
        # It asks torchvision for AlexNet in a way that is deprecated there.
        warnings.simplefilter("ignore", UserWarning)
        network: nn.Module = LPIPS(net="alex", pnet_rand=True, verbose=False)
    backbone = network.get_submodule("net")
    # torchvision's `features.3.bias` is its `slice2.3.bias`.
    backbone.load_state_dict({name: state[f"features.{name.partition('.')[2]}"] for name in backbone.state_dict()})
    return network.eval().requires_grad_(False)


def _distance(network: nn.Module, first: Array, second: Array, device: torch.device | str) -> float:
    with torch.inference_mode():
        return float(network(_tensor(first, device), _tensor(second, device)))


def _tensor(picture: Array, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
