"""What the device makes of a compact batch equals what deploy makes of it without torch."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shards import labels
from shards.labels import standard_schema
from shards.reading.stream import Reading, Stream, first_samples, open_shards
from shards.records import Frame, LabelKind
from trainer.batches import first_batches, label_channels, photo_channels, to_device
from trainer.grid import picture

CPU = torch.device("cpu")


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


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (3, [3]), (5, [3, 2]), (6, [3, 3]), (8, [3, 3, 2]), (99, [3, 3, 2])]
)
def test_the_first_samples_are_as_many_as_asked_for(count: int, sizes: list[int], packed: Path) -> None:
    with open_shards(str(packed / "test")) as (manifest, store):
        whole = Stream(manifest, store, Reading(("target",), (), 8, epochs=1))
        every = torch.cat([each.target for each in first_batches(whole, 8, manifest.schema, CPU)])
        stream = Stream(manifest, store, Reading(("target",), (), 3, epochs=1))
        batches = [each.target for each in first_batches(stream, count, manifest.schema, CPU)]
    assert [len(each) for each in batches] == sizes, "padding is no sample"
    assert torch.equal(torch.cat(batches), every[:count])


def test_every_member_is_that_of_its_own_side(packed: Path) -> None:
    """Read from the tar with Pillow, landmarks drawn from the record: no photo and no label map stands for another."""
    with open_shards(str(packed / "train")) as (manifest, store):
        sides = ("target", "exemplar", "consistent", "inconsistent")
        loaded = first_samples(manifest, store, 8, Reading(sides, ("target", "exemplar"), 8))
    made = to_device(loaded, manifest.schema, CPU)
    members = {}
    for shard in manifest.shards:
        with tarfile.open(packed / "train" / shard.name) as tar:
            members |= {each.name: tar.extractfile(each).read() for each in tar.getmembers()}  # type: ignore[union-attr]
    for row, key in enumerate(loaded.keys):
        record = json.loads(members[f"{key}.json"])
        assert made.same_style[row] == record["s"]
        photos = {side: np.asarray(Image.open(io.BytesIO(members[f"{key}.{side}.jpg"]))) for side in sides}
        for side in sides:
            ours = getattr(made, side)[row].permute(1, 2, 0).numpy() * 127.5 + 127.5
            off = {name: float(np.abs(ours - photo).mean()) for name, photo in photos.items()}
            # A consistent photo may be the target itself.
            assert off[side] < 1 and off[side] == min(off.values()), (key, side)
        for side, label in (("target", made.label), ("exemplar", made.exemplar_label)):
            drawn = labels.load(manifest.schema, Frame.from_json(record[side]))
            np.testing.assert_allclose(label[row].numpy() * 255, drawn, atol=1e-3)
        assert not torch.equal(made.label[row], made.exemplar_label[row])
        assert not torch.equal(made.consistent[row], made.inconsistent[row])
    assert 0 < made.same_style.sum() < len(loaded.keys), "both kinds of pairs are among them"


def test_photos_keep_every_value_there_and_back() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    channels = photo_channels(values)
    assert channels.shape == (1, 3, 16, 16)
    assert (channels.min().item(), channels.max().item()) == (-1, 1)
    torch.testing.assert_close(channels, (values.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    assert np.array_equal(picture(channels[0]), values[0].numpy())
