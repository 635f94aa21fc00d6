"""What the device makes of a compact batch equals what deploy makes of it without torch."""

import numpy as np
import pytest
import torch

from shards import labels
from shards.labels import standard_schema
from shards.records import LabelKind
from trainer.batches import label_channels, photo_channels
from trainer.grid import picture


@pytest.mark.parametrize("kind", ["sketch", "pose", "classes"])
def test_label_channels_agree_with_the_expansion_without_torch(kind: LabelKind) -> None:
    schema = standard_schema(kind, 32, 48)
    rng = np.random.default_rng(0)
    if kind == "classes":
        loaded = rng.choice(np.array(schema.ids, np.uint8), (2, 32, 48))
    else:
        loaded = rng.integers(0, 256, (2, schema.channels, 32, 48), dtype=np.uint8)
    channels = label_channels(torch.from_numpy(loaded), schema)
    assert channels.shape == (2, schema.channels, 32, 48)
    assert channels.min() >= 0 and channels.max() <= 1
    for ours, one in zip(channels, loaded, strict=True):
        np.testing.assert_allclose(ours.numpy(), labels.expand(schema, one), atol=1e-7)
    if kind == "classes":
        assert torch.equal(channels.sum(1), torch.ones(2, 32, 48))


def test_photos_keep_every_value_there_and_back() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    channels = photo_channels(values)
    assert channels.shape == (1, 3, 16, 16)
    assert (channels.min().item(), channels.max().item()) == (-1, 1)
    torch.testing.assert_close(channels, (values.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    assert np.array_equal(picture(channels[0]), values[0].numpy())
