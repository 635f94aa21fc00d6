"""The pair sampler against specification 5.2 and section 7, rows 9 to 11."""

import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.command import BadInput
from shards.packing.pairs import PRESETS, Sampling, paired_frames, preset, sample_pairs, split_sources
from shards.records import SIDES, Frame, Pair


def footage(counts: list[int], every: int = 1, fps: float = 10.0, styles: list[str] | None = None) -> list[Frame]:
    """A video of each length, its frames `every` decoded frames apart; a style of its own unless one is given."""
    return [
        Frame(f"video-{v}.mp4", n * every, n * every / fps, styles[v] if styles else f"style-{v}")
        for v, count in enumerate(counts)
        for n in range(count)
    ]


def same(one: Frame, other: Frame) -> bool:
    return (one.source, one.number) == (other.source, other.number)


samplings = st.sampled_from(
    [
        *PRESETS.values(),
        Sampling(window_seconds=0.3),
        Sampling(window_seconds=None, window_frames=3, same_style_rate=1.0),
        Sampling(window_seconds=None, window_positions=1, same_style_rate=0.7),
        Sampling(window_seconds=0.5, window_frames=2, same_style_rate=0.0),
    ]
)
lengths = st.lists(st.integers(2, 12), min_size=2, max_size=5)
seeds = st.integers(0, 2**40)


@given(lengths, samplings, seeds, st.integers(1, 40), st.integers(1, 40))
def test_a_pair_depends_on_its_number_alone(
    counts: list[int], sampling: Sampling, seed: int, some: int, more: int
) -> None:
    frames = footage(counts)
    long = sample_pairs(frames, sampling, some + more, seed)
    assert sample_pairs(frames, sampling, some, seed) == long[:some]
    Random(seed).shuffle(frames)
    assert sample_pairs(frames, sampling, some + more, seed) == long


@given(lengths, samplings, seeds, st.booleans())
def test_every_pair_keeps_the_record_contract(counts: list[int], sampling: Sampling, seed: int, shared: bool) -> None:
    styles = [f"group-{v % 2}" for v in range(len(counts))] if shared else None
    frames = footage(counts, styles=styles)
    pairs = sample_pairs(frames, sampling, 60, seed)
    assert len({pair.key for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.same_style == (pair.target.style == pair.exemplar.style)
        assert pair.consistent.style == pair.exemplar.style != pair.inconsistent.style
        assert not same(pair.consistent, pair.exemplar)
        assert all(getattr(pair, side) in frames for side in SIDES)
        near(pair.exemplar, pair.consistent, sampling)
        if not sampling.any_other:
            assert not same(pair.target, pair.exemplar)
            if pair.same_style:
                near(pair.target, pair.exemplar, sampling)


def near(one: Frame, other: Frame, sampling: Sampling) -> None:
    """Asserts that two frames lie within the window; the windows bound only frames of one video."""
    if one.source != other.source:
        return
    if sampling.window_seconds is not None:
        assert abs(one.seconds - other.seconds) <= sampling.window_seconds + 1e-6
    if sampling.window_frames is not None:
        assert abs(one.number - other.number) <= sampling.window_frames
    if sampling.window_positions is not None:
        # Frames of `footage` at every = 1: position and number are the same.
        assert abs(one.number - other.number) <= sampling.window_positions


@given(lengths, seeds, st.integers(1, 80))
def test_targets_are_spread_evenly(counts: list[int], seed: int, pairs: int) -> None:
    frames = footage(counts)
    uses = Counter((pair.target.source, pair.target.number) for pair in sample_pairs(frames, Sampling(), pairs, seed))
    assert set(uses.values()) <= {pairs // len(frames), -(-pairs // len(frames))}


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.8, 1.0])
def test_the_same_style_rate_is_kept(rate: float) -> None:
    count = 4000
    pairs = sample_pairs(footage([50] * 8), Sampling(same_style_rate=rate), count, seed=5)
    spread = 4 * math.sqrt(rate * (1 - rate) / count)
    assert abs(sum(pair.same_style for pair in pairs) / count - rate) <= spread


def test_official_draws_the_other_exemplars_from_all_frames() -> None:
    """Specification 5.2: s = 1 by chance, too, with 4 equal videos 0.3 + 0.7 / 4; and targets that are exemplars."""
    count = 4000
    pairs = sample_pairs(footage([10] * 4), PRESETS["official"], count, seed=5)
    rate = 0.3 + 0.7 / 4
    assert abs(sum(p.same_style for p in pairs) / count - rate) <= 4 * math.sqrt(rate * (1 - rate) / count)
    itself = sum(same(p.target, p.exemplar) for p in pairs) / count
    expected = 0.3 / 10 + 0.7 / 40
    assert abs(itself - expected) <= 4 * math.sqrt(expected * (1 - expected) / count)


def test_other_presets_never_pair_a_frame_with_itself() -> None:
    for name in ("default", "paper"):
        pairs = sample_pairs(footage([3] * 3), PRESETS[name], 500, seed=1)
        assert not any(same(pair.target, pair.exemplar) for pair in pairs)


def spans(pairs: list[Pair]) -> int:
    """The longest distance between target and exemplar of one video, in decoded frames."""
    return max(
        abs(pair.target.number - pair.exemplar.number) for pair in pairs if pair.target.source == pair.exemplar.source
    )


def test_the_presets_have_the_windows_of_the_specification() -> None:
    frames = footage([900] * 2, every=10, fps=30.0)
    reach = {
        name: spans(sample_pairs(frames, replace(sampling, same_style_rate=1.0), 4000, seed=2))
        for name, sampling in PRESETS.items()
    }
    assert reach["paper"] == 10
    assert 280 <= reach["default"] <= 300
    assert 2900 <= reach["official"] <= 3000


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(window_seconds=0.3, same_style_rate=1.0),
        Sampling(window_seconds=None, window_frames=3, same_style_rate=1.0),
        Sampling(window_seconds=None, window_positions=3, same_style_rate=1.0),
    ],
)
def test_both_ends_of_a_window_are_in_it(sampling: Sampling) -> None:
    pairs = sample_pairs(footage([30] * 2), sampling, 600, seed=4)
    assert {pair.exemplar.number - pair.target.number for pair in pairs} == {-3, -2, -1, 1, 2, 3}
    assert {pair.consistent.number - pair.exemplar.number for pair in pairs} == {-3, -2, -1, 1, 2, 3}


@given(st.integers(2, 6), seeds)
def test_consistent_is_the_target_only_where_nothing_else_is_left(count: int, seed: int) -> None:
    for pair in sample_pairs(footage([count] * 2), Sampling(same_style_rate=1.0), 20, seed):
        assert same(pair.consistent, pair.target) == (count == 2)


def test_draws_are_uniform() -> None:
    """Chi-squared of y- over the frames of the other style, of y+ over the window, at p = 1e-6."""
    pairs = sample_pairs(footage([9, 9]), Sampling(same_style_rate=0.0), 9000, seed=3)
    for side, cells in (("inconsistent", 18), ("consistent", 18), ("exemplar", 18)):
        uses = Counter((getattr(pair, side).source, getattr(pair, side).number) for pair in pairs)
        statistic = sum((uses[frame.source, frame.number] - 500) ** 2 / 500 for frame in footage([9, 9]))
        assert len(uses) == cells
        assert statistic < 62.4


def test_videos_that_share_a_style_key_are_in_the_window() -> None:
    """Streets: S is the same style group, whatever the video (specification 5.2)."""
    frames = footage([5] * 4, styles=["rainy", "rainy", "clear", "clear"])
    pairs = sample_pairs(frames, Sampling(same_style_rate=1.0, window_seconds=0.1), 200, seed=1)
    assert all(pair.same_style for pair in pairs)
    assert any(pair.target.source != pair.exemplar.source for pair in pairs)


def test_frames_alone_in_their_window_take_no_part() -> None:
    lonely = Frame("video-0.mp4", 9000, 900.0, "style-0")
    frames = [*footage([3, 3]), lonely]
    assert lonely not in paired_frames(frames, Sampling())
    pairs = sample_pairs(frames, Sampling(), 300, seed=1)
    assert not any(same(getattr(pair, side), lonely) for pair in pairs for side in SIDES)


def test_of_one_style_every_exemplar_is_in_the_window() -> None:
    pairs = sample_pairs(footage([20]), Sampling(same_style_rate=0.0), 60, seed=1)
    assert all(pair.same_style and pair.inconsistent is None for pair in pairs)
    assert all(not same(pair.exemplar, other) for pair in pairs for other in (pair.target, pair.consistent))
    assert len({pair.target.number for pair in pairs}) == 20


@pytest.mark.parametrize(
    ("frames", "sampling", "words"),
    [
        ([], Sampling(), "at least 2 styles"),
        (footage([1]), Sampling(), "at least 2 styles"),
        (footage([20, 1]), Sampling(), r"video-1\.mp4 has no two frames within the window of 10 seconds"),
        (footage([20, 20], every=11), PRESETS["paper"], "within the window of 10 decoded frames"),
        ([*footage([2, 2]), *footage([1])], Sampling(), "listed twice"),
    ],
)
def test_impossible_pairs_are_bad_input(frames: list[Frame], sampling: Sampling, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        sample_pairs(frames, sampling, 10, seed=0)


def test_bad_parameters_are_bad_input() -> None:
    with pytest.raises(BadInput, match=r"1\.5"):
        preset("default", same_style_rate=1.5)
    with pytest.raises(BadInput, match="window in seconds"):
        preset("default", window_seconds=0.0)
    with pytest.raises(BadInput, match="default, paper, official"):
        preset("offical")
    with pytest.raises(BadInput, match="0 pairs"):
        sample_pairs(footage([3, 3]), Sampling(), 0, seed=0)


def test_a_window_in_seconds_replaces_the_presets() -> None:
    changed = preset("official", window_seconds=2.0)
    assert (changed.window_seconds, changed.window_positions, changed.self_exemplar) == (2.0, None, True)


@given(st.integers(4, 60), st.floats(0.01, 0.99), seeds)
def test_train_and_test_share_no_video(count: int, fraction: float, seed: int) -> None:
    names = [f"v{number}" for number in range(count)]
    split = split_sources(names, fraction, seed)
    assert sorted(split["train"] + split["test"]) == sorted(names)
    assert min(len(split["train"]), len(split["test"])) >= 2
    assert abs(len(split["test"]) - fraction * count) <= 2
    Random(seed).shuffle(names)
    assert split_sources(names, fraction, seed) == split


def test_a_split_of_too_few_videos_is_bad_input() -> None:
    with pytest.raises(BadInput, match="3 videos"):
        split_sources(["a", "b", "c"], 0.5, 0)
    with pytest.raises(BadInput, match="fraction 0"):
        split_sources(["a", "b", "c", "d"], 0, 0)
