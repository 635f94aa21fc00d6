"""The demo's two percentages land where they must for pictures whose quality is known."""

from pathlib import Path

import numpy as np
import pytest

from shards import samples
from shards.command import BadInput
from shards.records import Frame, Pair, load_manifest
from trainer.truth import Array, Truth, score


@pytest.fixture(scope="module")
def world(packed: Path) -> tuple[Truth, list[Pair], list[Array]]:
    """The truth, the held-out pairs, and their exemplar photos."""
    manifest, folder = load_manifest(packed / "test")
    decoded = [
        samples.decode(members, manifest.schema, ("exemplar",), ())
        for _, members in samples.iter_samples(folder, manifest)
    ]
    truth = Truth(packed / "videos", manifest.schema)
    return truth, [one.pair for one in decoded], [one.photos["exemplar"] for one in decoded]


def swapped_truth(truth: Truth, pairs: list[Pair]) -> list[Array]:
    return [truth.draw(pairs[(i + 1) % len(pairs)].target, pair.exemplar) for i, pair in enumerate(pairs)]


def test_the_truth_itself_is_perfect(world: tuple[Truth, list[Pair], list[Array]]) -> None:
    truth, pairs, _ = world
    scores = score(truth, pairs, [truth.draw(p.target, p.exemplar) for p in pairs], swapped_truth(truth, pairs), roll=1)
    assert (scores.exemplar_percent, scores.label_percent, scores.distance) == (100, 100, 0)
    assert scores.pairs == len(pairs)


def test_a_generator_that_ignores_the_label_does_not_score_on_labels(
    world: tuple[Truth, list[Pair], list[Array]],
) -> None:
    truth, pairs, _ = world
    blind = [truth.draw(pair.target, pair.exemplar) for pair in pairs]
    assert score(truth, pairs, blind, blind, roll=1).label_percent == 0


def test_a_generator_that_ignores_the_exemplar_does_not_score_on_exemplars(
    world: tuple[Truth, list[Pair], list[Array]],
) -> None:
    truth, pairs, _ = world
    styles = {pair.exemplar.style: pair.exemplar for pair in pairs}
    wrong = [
        truth.draw(pair.target, next(frame for style, frame in styles.items() if style != pair.exemplar.style))
        for pair in pairs
    ]
    assert score(truth, pairs, wrong, swapped_truth(truth, pairs), roll=1).exemplar_percent == 0


def test_the_truth_is_what_packing_saw(world: tuple[Truth, list[Pair], list[Array]]) -> None:
    """A frame's own label in its own style is the photo, but for what H.264 and JPEG lose."""
    truth, pairs, photos = world
    for pair, photo in zip(pairs, photos, strict=True):
        drawn = truth.draw(pair.exemplar, pair.exemplar)
        assert np.abs(drawn.astype(int) - photo).mean() < 6


def test_videos_without_truth_are_named(packed: Path) -> None:
    manifest, _ = load_manifest(packed / "test")
    frame = Frame("holiday.mp4", 0, 0.0, "s")
    with pytest.raises(BadInput, match=r"holiday\.mp4 has no sidecar"):
        Truth(packed / "videos", manifest.schema).draw(frame, frame)
