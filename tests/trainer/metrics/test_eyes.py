"""VGG distance of eye patches: where the patches lie, what changes it, and an independent computation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from likeness.array import Array
from likeness.command import BadInput
from shards.records import Frame, Pair
from trainer.metrics.eyes import eye_centres, eye_patches, patch_at
from trainer.metrics.metric import Judged, Metric, stacked
from trainer.perceptual import load_vgg19

RIGHT, LEFT = (180, 200), (330, 220)
"""Eye centres in a record's 512×512 frame."""


def landmarks(right: tuple[int, int] = RIGHT, left: tuple[int, int] = LEFT) -> tuple[tuple[int, int], ...]:
    """68 points, of which those of the eyes lie around the two centres."""
    points = np.zeros((68, 2), int)
    ring = np.array([(-20, 0), (-8, -9), (8, -9), (20, 0), (8, 9), (-8, 9)])
    points[36:42], points[42:48] = ring + right, ring + left
    return tuple((int(x), int(y)) for x, y in points)


TARGET = Frame("a.mp4", 0, 0.0, "a", landmarks())
EXEMPLAR = Frame("b.mp4", 0, 0.0, "b", landmarks((200, 240), (350, 230)))
PAIR = Pair("7", TARGET, EXEMPLAR, EXEMPLAR, TARGET, False)
SAME_PLACES = replace(PAIR, exemplar=TARGET)
FIGURE = "eye_patches_random_vgg"


def photo(seed: int, side: int = 256) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def metric() -> Metric:
    return eye_patches("random:0", divisor=16)


def measured(metric: Metric, picture: Array, exemplar: Array, pair: Pair = SAME_PLACES) -> float:
    return float(metric.measure([Judged(pair, picture, picture, exemplar)])[FIGURE][0])


def test_the_exemplars_own_eyes_are_at_distance_0(metric: Metric) -> None:
    assert measured(metric, photo(1), photo(1)) == 0
    moved = np.roll(photo(1), (-20, -10), axis=(0, 1))
    elsewhere = replace(PAIR, target=replace(TARGET, landmarks=landmarks((180, 200), (330, 190))))
    assert measured(metric, moved, photo(1), elsewhere) == 0, "each picture's patches follow its own landmarks"
    assert measured(metric, photo(1), photo(1), elsewhere) > 0


def test_only_the_patches_count(metric: Metric) -> None:
    """Eyes at (90, 100) and (165, 110): rows 75-124 and columns 65-114, rows 85-134 and columns 140-189."""
    base = measured(metric, photo(1), photo(2))
    outside = photo(3)
    for rows, columns in ((slice(75, 125), slice(65, 115)), (slice(85, 135), slice(140, 190))):
        outside[rows, columns] = photo(1)[rows, columns]
    assert measured(metric, outside, photo(2)) == base
    for row, column in ((75, 65), (124, 114), (85, 140), (134, 189)):
        inside = photo(1)
        inside[row, column] ^= 128
        assert measured(metric, inside, photo(2)) != base, (row, column)


def test_four_layers_of_normalised_patches(metric: Metric) -> None:
    """By hand: torchvision's normalisation, the layers' mean |Δ|, and their mean over four layers and both eyes."""
    network = load_vgg19("random:0", 16, resize_below=0)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pictures = (photo(1), photo(2))
    distances = []
    for rows, columns in ((slice(75, 125), slice(65, 115)), (slice(85, 135), slice(140, 190))):
        features = []
        for picture in pictures:
            values = (torch.from_numpy(picture[rows, columns]).float() / 255 - mean) / std
            out, taken = values.permute(2, 0, 1)[None], []
            for index, layer in enumerate(network.features[:21]):
                out = layer(out)
                if index in (1, 6, 11, 20):
                    taken.append(out)
            features.append(taken)
        distances += [F.l1_loss(one, other).item() for one, other in zip(*features, strict=True)]
    assert len(distances) == 8
    assert measured(metric, *pictures) == pytest.approx(np.mean(distances), rel=1e-4)


def test_more_noise_is_further_away(metric: Metric) -> None:
    exemplar = np.full((256, 256, 3), 120, np.uint8)
    noise = np.random.default_rng(0).normal(0, 1, exemplar.shape)
    found = [measured(metric, (exemplar + noise * s).clip(0, 255).astype(np.uint8), exemplar) for s in (0, 3, 10, 40)]
    assert found[0] == 0
    assert (np.diff(found) > 0).all()


def test_other_sizes_are_looked_at_as_256(metric: Metric) -> None:
    small, other = photo(1, 64) // 8 + 100, photo(2, 64) // 8 + 60
    large = np.repeat(np.repeat(photo(1, 256), 2, axis=0), 2, axis=1)
    assert measured(metric, small, small) == 0
    assert measured(metric, small, other) > 0
    assert measured(metric, large, photo(1, 256)) == 0, "each 2×2 pixels of one colour are reduced to one"


@given(st.floats(-100, 400), st.floats(-100, 400))
def test_a_patch_stays_inside_and_around_its_centre(x: float, y: float) -> None:
    rows, columns = np.mgrid[:256, :256]
    patch = patch_at(np.stack([columns, rows, rows], axis=-1), np.array([x, y]))
    assert patch.shape == (50, 50, 3)
    for axis, centre in ((0, x), (1, y)):
        low, high = patch[..., axis].min(), patch[..., axis].max()
        assert high - low == 49
        if 25 <= centre <= 230:
            assert abs((low + high + 1) / 2 - centre) <= 0.5
        else:
            assert low == 0 or high == 255 or 24 < centre < 232


def test_centres_are_means_of_the_eyes_landmarks() -> None:
    assert eye_centres(np.array(landmarks())).tolist() == [list(RIGHT), list(LEFT)]


def test_names_say_when_weights_are_random(metric: Metric) -> None:
    assert list(metric.figures) == ["eye_patches_random_vgg"]
    assert "random weights (random:0), its widths divided by 16" in metric.figures[FIGURE].meaning


def test_published_weights_give_the_plain_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    state = {f"features.{name}": value for name, value in load_vgg19("random:0").features.state_dict().items()}
    torch.save(state, tmp_path / "vgg19.pth")
    published = eye_patches(str(tmp_path / "vgg19.pth"))
    assert list(published.figures) == ["eye_patches"]
    columns = published.measure([Judged(SAME_PLACES, photo(1), photo(1), photo(2))])
    assert published.figures["eye_patches"].compute(columns) > 0


def test_columns_do_not_depend_on_who_else_is_measured(metric: Metric) -> None:
    group = [Judged(PAIR, photo(n), photo(n), photo(n + 9)) for n in range(3)]
    split = stacked([metric.measure(group[:1]), metric.measure(group[1:])])
    assert np.array_equal(metric.measure(group)[FIGURE], split[FIGURE])


def test_mistakes_are_named(metric: Metric, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput, match=r"none\.pth does not exist"):
        eye_patches(str(tmp_path / "none.pth"))
    with pytest.raises(BadInput, match="pair 7 has no face landmarks"):
        measured(metric, photo(1), photo(1), replace(PAIR, exemplar=EXEMPLAR.unlabelled))
