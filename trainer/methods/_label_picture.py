"""Label channels as a picture, for methods that take labels for one of two kinds of pictures (MUNIT, section 1)."""

import torch
from torch import Tensor

from shards.records import POSE_WITH_DENSEPOSE, LabelSchema


def label_picture(label: Tensor, schema: LabelSchema) -> Tensor:
    """Label channels (N, C_L, H, W) in [0, 1] to (N, 3, H, W) in [-1, 1]; fixed, nothing of it is learnt.

    `sketch`: the sketch (channel 0) as grey; distance maps are left out. `pose`: the drawn skeleton, over DensePose's
    three channels where the schema has them. `classes`: each pixel in the colours of the schema, black where it has
    no class; classes of one colour cannot be told apart.
    """
    if schema.kind == "sketch":
        drawn = label[:, :1]
        picture = torch.cat([drawn, drawn, drawn], dim=1)
    elif schema.kind == "pose":
        picture = label[:, :3]
        if schema.channels == POSE_WITH_DENSEPOSE:
            skeleton = label[:, 3:6]
            picture = torch.where(skeleton.amax(1, keepdim=True) > 0, skeleton, picture)
    else:
        # Not waited for: the device has its own order of work.
        colours = torch.tensor(schema.colours, dtype=label.dtype).to(label.device, non_blocking=True)
        picture = torch.nn.functional.conv2d(label, colours.t().div(255).unsqueeze(-1).unsqueeze(-1))
    return picture * 2 - 1
