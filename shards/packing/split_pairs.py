"""Which pairs a split gets: by style, by retrieval or from a list, with people's judgement above the style keys."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tqdm import tqdm

from likeness.command import BadInput
from shards.judging import judgements
from shards.packing.pair_list import listed_pairs
from shards.packing.pairs import Sampling, judged, paired_frames, sample_pairs
from shards.packing.photo_cache import PhotoCache
from shards.packing.plan import Packing, Plan
from shards.packing.recordings import same_footage
from shards.packing.retrieval import stacked
from shards.records import Frame, Pair, Shown, Split


def pairs_of(plan: Plan, split: Split, cache: PhotoCache) -> tuple[list[Pair], Sampling]:
    """The pairs of a split, all of them, and how they were drawn; says on stderr how many frames take no part."""
    packing = plan.packing
    # Held-out exemplars come from other sources, as in the paper's tests (specification 5.1).
    sampling = replace(plan.sampling, same_style_rate=0.0) if split == "test" else plan.sampling
    frames = _frames_of(plan, split, cache)
    verdicts = _verdicts(packing, cache)
    if sampling.pairing == "list":
        assert packing.pair_list is not None
        vectors = stacked([cache.features(frame) for frame in frames]) if plan.preprocessing.features else None
        return listed_pairs(packing.pair_list, frames, sampling, packing.seed, verdicts, vectors), sampling
    if sampling.pairing == "retrieval":
        count = _count(packing, split, sampling, len(frames))
        vectors = stacked([cache.features(frame) for frame in frames]) if frames else None
        return sample_pairs(frames, sampling, count, packing.seed, vectors=vectors), sampling
    joined, _ = judged(frames, verdicts)
    paired = paired_frames(joined, sampling)
    if len(paired) < len(frames):
        tqdm.write(
            f"{split}: {len(frames) - len(paired)} of {len(frames)} frames take no part, for want of another "
            "frame in their window",
            file=sys.stderr,
        )
    count = _count(packing, split, sampling, len(paired))
    return sample_pairs(frames, sampling, count, packing.seed, verdicts), sampling


def _count(packing: Packing, split: Split, sampling: Sampling, frames: int) -> int:
    """How many pairs are asked for, of so many frames."""
    return packing.test_pairs if split == "test" else packing.pairs or sampling.repeat * frames


def _verdicts(packing: Packing, cache: PhotoCache) -> Mapping[Shown, bool]:
    """What people said of the photos of either split; says how many of these were left out of this packing.

    Raises BadInput when they judged a picture or video that is not in the dataset.
    """
    if packing.judged is None:
        return {}
    said = judgements.read_judgements(packing.judged)
    photos = {photo for judgement in said for photo in judgement.shown}
    sources = {result.source for result in cache.results}
    if foreign := sorted(source for source, _ in photos if source not in sources):
        raise BadInput(
            f"{packing.judged} judges {foreign[0]}, which is not in {packing.source}; give its own judgements"
        )
    known = {(frame.source, frame.number) for result in cache.results for frame in result.frames}
    if left_out := len(photos - known):
        tqdm.write(f"{packing.judged}: {left_out} of {len(photos)} judged frames were not packed", file=sys.stderr)
    return judgements.verdicts(said)


def _frames_of(plan: Plan, split: Split, cache: PhotoCache) -> list[Frame]:
    """The frames of a split; with `halves`, those of the first or the second half of each video's time."""
    own = set(plan.sources[split])
    chosen = [_of_recordings(plan, result.frames) for result in cache.results if result.source in own]
    if plan.packing.halves and plan.sources["test"]:
        cut = [[frame for frame in frames if _in_half(frame, frames, split)] for frames in chosen]
        return [frame for frames in cut for frame in frames]
    return [frame for frames in chosen for frame in frames]


def with_recordings(plan: Plan, cache: PhotoCache) -> Plan:
    """The plan with the files that show one recording in one split, and of one style.

    Those that would stand in both splits are trained on. Stills are what they are: many are taken of one moment.
    """
    films = {item.source for item in plan.data.items if not item.still}
    frames = (frame for result in cache.results for frame in result.frames if result.source in films)
    groups = tuple(same_footage((frame.source, cache.thumb(frame)) for frame in frames))
    sources = plan.sources
    if not plan.packing.halves:
        moved = {name for group in groups if {*group} & {*sources["train"]} for name in group} & {*sources["test"]}
        sources = {
            "train": tuple(sorted({*sources["train"], *moved})),
            "test": tuple(name for name in sources["test"] if name not in moved),
        }
    return replace(plan, recordings=groups, sources=sources)


def _of_recordings(plan: Plan, frames: Sequence[Frame]) -> Sequence[Frame]:
    """Frames with the style of the first of the files that show their recording."""
    styles = {item.source: item.style for item in plan.data.items}
    first = {name: group[0] for group in plan.recordings for name in group[1:]}
    return [replace(frame, style=styles[first[frame.source]]) if frame.source in first else frame for frame in frames]


def _in_half(frame: Frame, frames: Sequence[Frame], split: Split) -> bool:
    middle = (frames[0].seconds + frames[-1].seconds) / 2
    return (frame.seconds <= middle) == (split == "train")
