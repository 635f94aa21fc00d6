"""The feature encoder of pix2pixHD, which says how an instance looks (specification 2.4)."""

from trainer.networks.generator import GlobalGenerator


class FeatureEncoder(GlobalGenerator):
    """`c7s1-16, d32 … d256, u128 … u16, c7s1-3`: photos (N, 3, H, W) to features (N, features, H, W) in
    (-1, 1).

    The global generator's layers without residual blocks. Parameters at the defaults: 788,803.
    """

    def __init__(self, base: int = 16, downsamplings: int = 4, features: int = 3) -> None:
        super().__init__(3, base, downsamplings, blocks=0, out_channels=features)
