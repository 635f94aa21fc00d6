"""Label channels as a picture, for methods that take labels for one of two kinds of pictures (MUNIT, section 1)."""

import torch
from torch import Tensor

from shards.labels.kinds import kind_of
from shards.records import LabelSchema


def label_picture(label: Tensor, schema: LabelSchema) -> Tensor:
    """Label channels (N, C_L, H, W) in [0, 1] to (N, 3, H, W) in [-1, 1]; fixed, nothing of it is learnt.

    Which channels, each kind says (`Kind.layers`). `sketch`: the sketch (channel 0) as grey; distance maps are left
    out. `pose`: the drawn skeleton, over DensePose's three channels where the schema has them. `classes`: each pixel in
    the colours of the schema, black where it has no class; classes of one colour cannot be told apart. `picture` and
    `edges`: as they are, edges in grey.
    """
    layers = kind_of(schema).layers(schema)
    if layers is None:
        # Not waited for: the device has its own order of work.
        colours = torch.tensor(schema.colours, dtype=label.dtype).to(label.device, non_blocking=True)
        picture = torch.nn.functional.conv2d(label, colours.t().div(255).unsqueeze(-1).unsqueeze(-1))
    else:
        picture = _layer(label, layers[0])
        for layer in layers[1:]:
            above = _layer(label, layer)
            picture = torch.where(above.amax(1, keepdim=True) > 0, above, picture)
    return picture * 2 - 1


def _layer(label: Tensor, channels: tuple[int, int, int]) -> Tensor:
    first = channels[0]
    if channels == (first, first + 1, first + 2):
        return label[:, first : first + 3]
    # Each channel is cut out once: every cut is a node of the exported graph.
    planes = {channel: label[:, channel : channel + 1] for channel in dict.fromkeys(channels)}
    return torch.cat([planes[channel] for channel in channels], dim=1)
