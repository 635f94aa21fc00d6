"""The true pictures are those that were packed, and distractors are other styles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likeness.command import BadInput
from shards.reading import samples
from shards.records import Frame, load_manifest
from trainer.metrics.truth import Truth, distance, distractors, styles_of


@pytest.fixture(scope="module")
def decoded(packed: Path) -> list[samples.Sample]:
    manifest, folder = load_manifest(packed / "test")
    return [
        samples.decode(members, manifest.schema, ("exemplar",), ())
        for _, members in samples.iter_samples(folder, manifest)
    ]


@pytest.fixture(scope="module")
def truth(packed: Path) -> Truth:
    return Truth(packed / "videos", load_manifest(packed / "test")[0].schema)


def test_the_truth_is_what_packing_saw(truth: Truth, decoded: list[samples.Sample]) -> None:
    """A frame's own label in its own style is the photo, but for what H.264 and JPEG lose."""
    for one in decoded:
        assert distance(truth.draw(one.pair.exemplar, one.pair.exemplar), one.photos["exemplar"]) < 6


def test_a_kept_picture_is_the_one_that_is_painted(truth: Truth, decoded: list[samples.Sample]) -> None:
    pair = decoded[0].pair
    first, again = truth.draw(pair.target, pair.exemplar), truth.draw(pair.target, pair.exemplar)
    np.testing.assert_array_equal(first, truth.paint(pair.target, truth.style(pair.exemplar)))
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match="read-only"):
        first[:] = 0


def test_videos_without_truth_are_named(truth: Truth) -> None:
    frame = Frame("holiday.mp4", 0, 0.0, "s")
    with pytest.raises(BadInput, match=r"holiday\.mp4 has no sidecar"):
        truth.draw(frame, frame)


def test_frames_that_the_video_does_not_have_are_named(truth: Truth, decoded: list[samples.Sample]) -> None:
    exemplar = decoded[0].pair.exemplar
    with pytest.raises(BadInput, match=r"knows 8 frames, not frame 99"):
        truth.draw(Frame(exemplar.source, 99, 0.0, exemplar.style), exemplar)


def test_distractors_are_other_videos_of_other_styles(decoded: list[samples.Sample]) -> None:
    """Two videos of a style group, as in streets, never stand for each other."""
    pair = decoded[0].pair
    twin = Frame("twin.mp4", 0, 0.0, pair.exemplar.style)
    styles = styles_of([pair.exemplar, twin, *(Frame(f"v{n}.mp4", 3, 1.0, f"group {n % 3}") for n in range(9))])
    drawn = distractors(styles, pair, 9, seed=0)
    assert {frame.source for frame in drawn} == {f"v{n}.mp4" for n in range(9)}
    with pytest.raises(BadInput, match=rf"{pair.key}: 9 exemplars .* fewer than 10"):
        distractors(styles, pair, 10, seed=0)


def test_distractors_depend_on_the_seed_and_the_pair_alone(decoded: list[samples.Sample]) -> None:
    pair, frames = decoded[0].pair, [Frame(f"v{n}.mp4", 3, 1.0, f"s{n}") for n in range(30)]
    drawn = distractors(styles_of(frames), pair, 5, seed=0)
    assert drawn == distractors(styles_of(frames[::-1] + frames), pair, 5, seed=0)
    assert drawn != distractors(styles_of(frames), pair, 5, seed=1)
    assert drawn != distractors(styles_of(frames), replace(pair, key="another"), 5, seed=0)
