"""The local enhancer of pix2pixHD: details at twice the global generator's size (specification 2.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.networks.generator import PictureLayer, ResidualBlock, initialise
from trainer.networks.norms import InstanceNorm2d


class LocalEnhancer(nn.Module):
    """`c7s1-b, d2b, R2b×blocks, ub, c7s1-3` around a global generator of base 2b, whose features it is given.

    inputs: (N, in_channels, H, W), H and W even. coarse: (N, 2·base, H/2, W/2), what `GlobalGenerator(picture=False)`
    makes of the halved inputs; added to the features of the front end. Gives (N, 3, H, W) in (-1, 1).
    Parameters at the defaults: 263,267 + 1,568·in_channels.
    """

    def __init__(self, in_channels: int, base: int = 32, blocks: int = 3) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(in_channels, base, 7), InstanceNorm2d(base), nn.ReLU()
        )
        self.down = nn.Sequential(
            nn.Conv2d(base, 2 * base, 3, stride=2, padding=1), InstanceNorm2d(2 * base), nn.ReLU()
        )
        self.trunk = nn.Sequential(*(ResidualBlock(2 * base) for _ in range(blocks)))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(2 * base, base, 3, stride=2, padding=1, output_padding=1), InstanceNorm2d(base)
        )
        self.last = PictureLayer(base)
        initialise(self)

    def forward(self, inputs: Tensor, coarse: Tensor) -> Tensor:
        # Added, not stacked: the enhancer's residual blocks go on with the global generator's features (Wang et al.
        # 2018, section 3.2).
        features = self.trunk(self.down(self.first(inputs)) + coarse)
        image: Tensor = self.last(F.relu(self.up(features)))
        return image
