"""Labels as pictures, against the pictures that people are shown and the drawings they are made of."""

import numpy as np
import pytest
import torch

from shards import labels
from shards.labels import standard_schema
from trainer.methods._label_picture import label_picture


def channels(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, count, 32, 48, generator=torch.Generator().manual_seed(seed))


def test_classes_have_the_colours_that_people_see() -> None:
    schema = standard_schema("classes", 32, 48)
    ids = np.random.default_rng(0).choice(schema.ids, (32, 48)).astype(np.uint8)
    ours = label_picture(torch.from_numpy(labels.expand(schema, ids))[None], schema)[0]
    seen = np.rint((ours.permute(1, 2, 0).numpy() + 1) * 127.5)
    assert np.array_equal(seen, labels.picture(schema, ids))
    assert len({tuple(pixel) for pixel in seen.reshape(-1, 3)}) == schema.channels, "no two classes look alike"


def test_a_sketch_is_its_first_channel_in_grey() -> None:
    label = channels(15)
    ours = label_picture(label, standard_schema("sketch", 32, 48))
    for colour in range(3):
        torch.testing.assert_close(ours[:, colour], 2 * label[:, 0] - 1)


def test_a_pose_is_its_skeleton() -> None:
    label = channels(20)
    torch.testing.assert_close(label_picture(label, standard_schema("pose", 32, 48)), 2 * label[:, :3] - 1)


def test_a_pose_with_densepose_has_the_skeleton_drawn_over_it() -> None:
    label = channels(23)
    label[:, 3:6, :16] = 0
    label[:, 3:5, 16:] = 0
    ours = label_picture(label, standard_schema("pose", 32, 48, with_densepose=True))
    torch.testing.assert_close(ours[:, :, :16], 2 * label[:, :3, :16] - 1)
    torch.testing.assert_close(ours[:, :, 16:], 2 * label[:, 3:6, 16:] - 1)


@pytest.mark.parametrize("kind", ["sketch", "pose", "classes"])
def test_pictures_lie_in_the_range_of_photos(kind: str) -> None:
    schema = standard_schema(kind, 32, 48)  # type: ignore[arg-type]
    for label in (torch.zeros(1, schema.channels, 32, 48), torch.ones(1, schema.channels, 32, 48)):
        if kind == "classes":
            label = label * (torch.arange(schema.channels) == 8).view(1, -1, 1, 1)
        ours = label_picture(label, schema)
        assert ours.shape == (1, 3, 32, 48)
        assert ours.abs().max() <= 1


def test_a_picture_is_itself_and_edges_are_grey() -> None:
    label = channels(3)
    torch.testing.assert_close(label_picture(label, standard_schema("picture", 32, 48)), 2 * label - 1)
    edges = channels(1)
    ours = label_picture(edges, standard_schema("edges", 32, 48))
    torch.testing.assert_close(ours, (2 * edges - 1).expand(-1, 3, -1, -1))
