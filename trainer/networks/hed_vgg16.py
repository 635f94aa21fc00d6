"""VGG-16's convolutions as HED has them (Xie and Tu, ICCV 2015), a loss network that has seen photographs.

They were trained on ImageNet and then, with five side outputs that are not needed here, to find edges on BSDS500.
"""

import torch
from torch import Tensor

from trainer.networks.vgg import VGG

CONVOLUTIONS = (2, 2, 3, 3, 1)
"""In each of the five blocks, up to relu5_1."""
MEAN = (103.939, 116.779, 123.68)
"""Blue, green and red of ImageNet's photographs, of 255."""
UNITS = (20.6, 18.7, 11.0, 5.64, 1.43)
"""Mean |difference| of two unrelated photographs at relu1_1 … relu5_1, what features are divided by.

Measured at 256×256 over 60 pairs each of CamVid's, LabelMeFacade's and Clothing Co-Parsing's photographs, mean of the
three; they are apart by at most a fifth of it. At 64×64 the first three are a quarter to a third larger, the fifth a
sixth smaller.
"""


class HedVGG16(VGG):
    """The network reads blue, green and red of 255 without ImageNet's mean: pictures in [-1, 1] are mapped to that.

    Its features are in other units than VGG-19's, and fall off with depth otherwise: undivided, relu1_1 would have 14
    times the distance of relu5_1. Divided by UNITS, two unrelated photographs are 1 apart in every layer, so that the
    losses' weights alone say what share a layer has, as the specification reads them (3.3: element counts, nothing
    else). What shares VGG-19's own distances give its layers on top of that has not been measured: that takes its
    weights.
    """

    mean: Tensor

    def __init__(self, resize_below: int = 224) -> None:
        widths = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512)
        super().__init__(widths, (1, 6, 11, 18, 25), resize_below)
        # Not persistent: it is no trained weight.
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)

    def prepared(self, pictures: Tensor) -> Tensor:
        return (pictures.flip(1) + 1) * 127.5 - self.mean

    def scaled(self, features: list[Tensor]) -> list[Tensor]:
        return [feature / unit for feature, unit in zip(features, UNITS, strict=True)]
