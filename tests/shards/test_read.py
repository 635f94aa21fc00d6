"""The stream: every sample once per epoch, an order that is a pure function of the seed, exact resume."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import read
from shards.command import BadInput
from shards.flip import flip_frame
from shards.labels import load
from shards.pairs import preset
from shards.read import Loaded, Reading, first_samples, loader, open_shards
from shards.records import Frame, Manifest
from shards.worlds.film import film
from shards.write import pack

SAMPLES = 23


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    """23 samples in four shards of unequal size."""
    folder = tmp_path_factory.mktemp("stream")
    film("faces", folder / "videos", videos=4, seconds=1, size=64, seed=5)
    pack(folder / "videos", folder / "train", preset("default"), pairs=SAMPLES, size=32, samples_per_shard=7)
    return open_shards(folder / "train")


def reading(**changes: object) -> Reading:
    return replace(Reading(photos=("target", "exemplar"), labels=("target",), batch=1), **changes)  # type: ignore[arg-type]


def keys(packed: tuple[Manifest, Path], settings_: Reading, batches: int) -> list[tuple[str, ...]]:
    return [loaded.keys for loaded in itertools.islice(loader(*packed, settings_), batches)]


@settings(max_examples=25)
@given(
    ranks=st.integers(1, 4),
    workers=st.integers(1, 4),
    seed=st.integers(0, 99),
    shuffle=st.integers(1, 40),
    epoch=st.integers(0, 3),
)
def test_an_epoch_holds_every_sample_once_over_ranks_and_workers(
    packed: tuple[Manifest, Path], ranks: int, workers: int, seed: int, shuffle: int, epoch: int
) -> None:
    found: Counter[bytes] = Counter()
    for rank, worker in itertools.product(range(ranks), range(workers)):
        one = reading(ranks=ranks, rank=rank, workers=workers, seed=seed, shuffle=shuffle)
        stream, streams = rank * workers + worker, ranks * workers
        share = SAMPLES * (stream + 1) // streams - SAMPLES * stream // streams
        ordered = read._samples(*packed, one, stream, skip=epoch * share)
        for number, members in itertools.islice(ordered, share):
            assert number == epoch
            found[members["__key__"]] += 1
    assert len(found) == SAMPLES
    assert set(found.values()) == {1}


@settings(max_examples=25)
@given(skip=st.integers(0, 80), shuffle=st.integers(1, 40), seed=st.integers(0, 9))
def test_skipping_gives_the_rest_of_the_same_sequence(
    packed: tuple[Manifest, Path], skip: int, shuffle: int, seed: int
) -> None:
    one = reading(shuffle=shuffle, seed=seed)

    def names(begin: int, count: int) -> list[bytes]:
        ordered = read._samples(*packed, one, 0, begin)
        return [members["__key__"] for _, members in itertools.islice(ordered, count)]

    assert names(skip, 30) == names(0, skip + 30)[skip:]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("stop", [1, 5, 16])
def test_resuming_reads_what_the_straight_run_reads(packed: tuple[Manifest, Path], workers: int, stop: int) -> None:
    one = reading(workers=workers, batch=2, shuffle=5)
    assert keys(packed, replace(one, start=stop), 12) == keys(packed, one, stop + 12)[stop:]


def test_epochs_and_seeds_differ(packed: tuple[Manifest, Path]) -> None:
    two_epochs = keys(packed, reading(), 2 * SAMPLES)
    assert sorted(two_epochs[:SAMPLES]) == sorted(two_epochs[SAMPLES:])
    assert two_epochs[:SAMPLES] != two_epochs[SAMPLES:]
    assert keys(packed, reading(seed=1), SAMPLES) != two_epochs[:SAMPLES]


def test_only_what_is_named_is_decoded(packed: tuple[Manifest, Path]) -> None:
    loaded = next(iter(loader(*packed, reading(batch=3))))
    assert set(loaded.photos) == {"target", "exemplar"}
    assert set(loaded.labels) == {"target"}
    assert loaded.photos["target"].shape == (3, 32, 32, 3)
    assert loaded.labels["target"].shape == (3, 15, 32, 32)
    assert loaded.labels["target"].dtype == torch.uint8


def by_key(packed: tuple[Manifest, Path], one: Reading) -> dict[str, Loaded]:
    return {loaded.keys[0]: loaded for loaded in itertools.islice(loader(*packed, one), SAMPLES)}


def test_mirroring_turns_photos_and_labels_of_a_sample_alike(packed: tuple[Manifest, Path]) -> None:
    plain, flipped = by_key(packed, reading()), by_key(packed, reading(flip=True))
    turned = 0
    for key, before in plain.items():
        after = flipped[key]
        mirrored = torch.equal(after.photos["target"], before.photos["target"].flip(2))
        assert mirrored or torch.equal(after.photos["target"], before.photos["target"])
        assert torch.equal(after.photos["exemplar"], before.photos["exemplar"].flip(2)) == mirrored
        turned += mirrored
        if mirrored:
            # Rasterised curves are not symmetric to the pixel: most of the sketch must agree, not all of it.
            ours, theirs = (label[:, 0].float() for label in (after.labels["target"], before.labels["target"].flip(3)))
            assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), 0) > 0.6
    assert 0 < turned < SAMPLES


def test_mirrored_landmarks_are_the_same_points_of_the_face() -> None:
    rng = np.random.default_rng(0)
    points = tuple((int(x), int(y)) for x, y in rng.integers(0, 512, (68, 2)))
    body = tuple((float(x), float(y), 1.0) for x, y in rng.random((18, 2)))
    frame = Frame("v", 0, 0.0, "s", landmarks=points, keypoints=body)
    mirrored = flip_frame(frame)
    assert mirrored.landmarks is not None and mirrored.keypoints is not None
    assert flip_frame(mirrored).landmarks == points
    assert mirrored.landmarks[0] == (511 - points[16][0], points[16][1]), "the jaw's ends change places"
    assert mirrored.landmarks[36] == (511 - points[45][0], points[45][1]), "outer eye corners, too"
    assert mirrored.landmarks[8] == (511 - points[8][0], points[8][1]), "the chin stays the chin"
    assert mirrored.keypoints[4] == (1 - body[7][0], body[7][1], 1.0), "the right wrist becomes the left one"


def test_fixed_samples_are_the_first_ones(packed: tuple[Manifest, Path]) -> None:
    manifest, folder = packed
    fixed = first_samples(manifest, folder, 9, reading(flip=True))
    assert fixed.keys == tuple(sorted(fixed.keys))
    assert len(fixed.keys) == 9
    assert (
        load(manifest.schema, Frame("v", 0, 0.0, "s", landmarks=((1, 1),) * 68)).shape
        == fixed.labels["target"][0].shape
    )


def test_more_streams_than_samples_are_refused(packed: tuple[Manifest, Path]) -> None:
    with pytest.raises(BadInput, match="23 samples for 8 ranks × 4 workers"):
        loader(*packed, reading(ranks=8, workers=4))
