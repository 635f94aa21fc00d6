"""FID and KID: Fréchet and kernel distance in the pool features of Inception-v3, by torch-fidelity's network.

It is the network of the reference implementation with its weights of 2015-12-05, and enlarges pictures to 299×299 as
that does. Only figures of this network are called FID and KID.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from likeness.array import Array
from likeness.command import BadInput
from trainer.metrics.frechet import features_metric
from trainer.metrics.metric import Metric
from trainer.metrics.published_weights import published_file

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
FEATURES = 2048
RESAMPLES = 30
"""For an interval: each takes seconds for 2,048 features."""


class Inception(nn.Module):
    """Inception-v3 up to its last pooling: uint8 (N, 3, H, W) RGB to float32 (N, 2048)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.network(pictures)[0]
        return features


def fid(weights: str, device: torch.device | str = "cpu") -> Metric:
    """`fid` and `kid` of the painted pictures and their target photos. weights: as for `load_inception`."""
    network = load_inception(weights).to(device)

    def features(pictures: Sequence[Array]) -> Array:
        # One by one: the last digits of a convolution depend on how many pictures it is given.
        rows = [_features(network, picture, device) for picture in pictures]
        return np.reshape(rows, (-1, FEATURES)).astype(np.float32)

    description = (
        "Inception-v3 (torch-fidelity's, 299×299). Pictures are judged as their files hold them: those that went "
        "through JPEG have other figures than lossless ones"
    )
    return features_metric("inception", features, frechet="fid", kernel="kid", of=description, resamples=RESAMPLES)


def load_inception(weights: str) -> Inception:
    """The frozen network with the weights that `weights` names.

    weights: the path of the published file (weights-inception-2015-12-05-6726825d.pth of torch-fidelity, which
    pytorch-fid calls pt_inception-2015-12-05-6726825d.pth), or `download`, which fetches it once.

    Raises BadInput when torch-fidelity is not installed or does not import, and as `published_file` does.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise BadInput(
            f"FID and KID need torch-fidelity, which is not here ({error}); pip install 'likeness[fidelity]'"
        ) from error
    except RuntimeError as error:
        raise BadInput(
            f"torch-fidelity does not import ({error}); install the build of torchvision that goes with torch "
            f"{torch.__version__}"
        ) from error
    path = str(published_file(weights, URL))
    # torch-fidelity unpickles its file; this one is known by its hash.
    network = FeatureExtractorInceptionV3("inception", [str(FEATURES)], feature_extractor_weights_path=path)
    return Inception(network).eval().requires_grad_(False)


def _features(network: nn.Module, picture: Array, device: torch.device | str) -> Array:
    with torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(picture)).to(device).permute(2, 0, 1)[None]
        return np.asarray(network(batch)[0].cpu())
