"""From videos and pictures to shards of pairs and their manifest: the compiler behind `python -m shards pack`."""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import webdataset
from tqdm import tqdm

from likeness.atomic import new_file, refuse_existing, write_text
from likeness.command import BadInput
from shards.operators.photos import prepare
from shards.packing.album import Album, develop
from shards.packing.audit import audit
from shards.packing.pair_list import listed_pairs
from shards.packing.pairs import Sampling, judged, paired_frames, sample_pairs
from shards.packing.plan import SPLITS, Packing, Plan, plan_of
from shards.packing.quarantine import check_bound, write_quarantine
from shards.packing.retrieval import stacked
from shards.records import Frame, Manifest, Pair, Shard, Shown, Split, sha256_of


def pack(
    packing: Packing,
    out: Path,
    test_out: Path | None = None,
    workers: int = 1,
    part: tuple[int, int] | None = None,
) -> list[tuple[Path, Manifest]]:
    """Labels photos, draws pairs and writes shards with their manifests; returns (folder, manifest) of each split.

    test_out: where held-out pairs go; None means that all sources are for training. workers: processes that decode and
    label. part: (i, n) writes slice i of n, every n-th shard, into a folder beside `out` (see `part_folder`); slices
    that run at the same time share the labelling.

    What is finished is kept beside `out` until all is: the same call after a kill goes on from there. Raises BadInput
    when an output exists, too many files are bad, or the sources allow no pairs.
    """
    outputs = [path for path in (out, test_out) if path is not None]
    _check_outputs(outputs)
    # Beside each output, so that what is finished can be renamed even where the two lie on different disks.
    works = [work_folder(path) for path in outputs]
    if part is not None:
        outputs = [part_folder(path, part) for path in outputs]
        _check_outputs(outputs)
    plan = plan_of(packing, held_out=test_out is not None)
    prepare(plan.developing.labelling)
    try:
        finished = _build(plan, outputs, works, workers, part)
    except BaseException:
        if works[0].exists():
            print(f"what is finished lies in {works[0]}; the same command goes on from there", file=sys.stderr)
        raise
    if part is None:
        for work in works:
            shutil.rmtree(work)
    return finished


def _build(
    plan: Plan, outputs: Sequence[Path], works: Sequence[Path], workers: int, part: tuple[int, int] | None
) -> list[tuple[Path, Manifest]]:
    photos = works[0] / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    number, count = part or (0, 1)
    develop(plan.units, plan.developing, photos, workers, range(number, len(plan.units), count))
    with Album(photos, plan.units, plan.developing) as album:
        bad = [(made.source, made.error) for made in album.developments if made.error is not None]
        check_bound(bad, len(album.developments), plan.packing.max_bad)
        finished = [
            _write_split(plan, split, album, path, work, part)
            for split, path, work in zip(SPLITS, outputs, works, strict=False)
        ]
    for manifest, folder in finished:
        write_quarantine(folder, bad)
        manifest.save(folder)
    appeared: list[Path] = []
    try:
        for path, (_, folder) in zip(outputs, finished, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, path)
            appeared.append(path)
    except BaseException:
        for path, (_, folder) in zip(appeared, finished, strict=False):
            os.replace(path, folder)
        raise
    return [(path, manifest) for path, (manifest, _) in zip(outputs, finished, strict=True)]


def work_folder(out: Path) -> Path:
    """Where a packing keeps what is finished until all of it is."""
    return out.parent / f".{out.name}-packing"


def part_folder(out: Path, part: tuple[int, int]) -> Path:
    """Where slice i of n goes: `out-slice-0003-of-0008`, say."""
    return out.parent / f"{out.name}-slice-{part[0]:04d}-of-{part[1]:04d}"


def _write_split(
    plan: Plan, split: Split, album: Album, path: Path, work: Path, part: tuple[int, int] | None
) -> tuple[Manifest, Path]:
    """Draws a split's pairs and writes its shards into the work folder; finished ones are kept."""
    packing = plan.packing
    try:
        pairs, sampling = pairs_of(plan, split, album)
    except BadInput as error:
        hint = "; or hold out more with --test-fraction" if split == "test" else ""
        raise BadInput(f"{split} split: {error}{hint}") from error
    shared = packing.halves and bool(plan.sources["test"])
    found = audit(pairs, plan.sources, split, shared, sampling.least_distance, album.thumb)
    outcomes = sum((Counter(made.outcomes) for made in album.developments), Counter[str]())
    unreadable = sum(made.error is not None for made in album.developments)
    notes = [
        *plan.data.notes,
        *(f"frames left out, {why}: {count}" for why, count in outcomes.items() if why != "used"),
    ]
    if unreadable:
        notes.append(f"files that could not be read, see quarantine.csv: {unreadable}")
    how = {**sampling.to_json(), "labels": plan.developing.labelling.operator, "every": plan.developing.labelling.every}
    how |= {"dataset": packing.dataset, "judged": packing.judged is not None}
    folder = work / f"{path.name}-{plan.digest}"
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".*"):
        unfinished.unlink()
    shards = write_shards(pairs, album, folder, packing.samples_per_shard, part, work / f"{folder.name}-notes")
    manifest = Manifest(
        schema=plan.schema,
        split=split,
        seed=packing.seed,
        sampling=how,
        shards=shards,
        sources=plan.sources,
        shared_sources=shared,
        audit=found,
        notes=tuple(sorted(notes)),
        slice=part,
        instances=plan.developing.labelling.instances,
    )
    return manifest, folder


def pairs_of(plan: Plan, split: Split, album: Album) -> tuple[list[Pair], Sampling]:
    """The pairs of a split, all of them, and how they were drawn; says on stderr how many frames take no part."""
    packing = plan.packing
    # Held-out exemplars come from other sources, as in the paper's tests (specification 5.1).
    sampling = replace(plan.sampling, same_style_rate=0.0) if split == "test" else plan.sampling
    frames = _frames_of(plan, split, album)
    said = _said(packing)
    if sampling.pairing == "list":
        assert packing.pair_list is not None
        vectors = stacked([album.features(frame) for frame in frames]) if plan.developing.features else None
        return listed_pairs(packing.pair_list, frames, sampling, packing.seed, said, vectors), sampling
    if sampling.pairing == "retrieval":
        asked = packing.test_pairs if split == "test" else packing.pairs or sampling.repeat * len(frames)
        vectors = stacked([album.features(frame) for frame in frames]) if frames else None
        return sample_pairs(frames, sampling, asked, packing.seed, vectors=vectors), sampling
    joined, _ = judged(frames, said)
    paired = paired_frames(joined, sampling)
    if len(paired) < len(frames):
        tqdm.write(
            f"{split}: {len(frames) - len(paired)} of {len(frames)} frames take no part, for want of another "
            "frame in their window",
            file=sys.stderr,
        )
    asked = packing.test_pairs if split == "test" else packing.pairs or sampling.repeat * len(paired)
    return sample_pairs(frames, sampling, asked, packing.seed, said), sampling


def _said(packing: Packing) -> Mapping[Shown, bool]:
    if packing.judged is None:
        return {}
    from shards.judging.judgements import read_judgements, verdicts

    return verdicts(read_judgements(packing.judged))


def _frames_of(plan: Plan, split: Split, album: Album) -> list[Frame]:
    """The frames of a split; with `halves`, those of the first or the second half of each video's time."""
    own = set(plan.sources[split])
    chosen = [made.frames for made in album.developments if made.source in own]
    if plan.packing.halves and plan.sources["test"]:
        cut = [[frame for frame in frames if _in_half(frame, frames, split)] for frames in chosen]
        return [frame for frames in cut for frame in frames]
    return [frame for frames in chosen for frame in frames]


def _in_half(frame: Frame, frames: Sequence[Frame], split: Split) -> bool:
    middle = (frames[0].seconds + frames[-1].seconds) / 2
    return (frame.seconds <= middle) == (split == "train")


def write_shards(
    pairs: Sequence[Pair],
    album: Album,
    folder: Path,
    samples_per_shard: int = 1000,
    part: tuple[int, int] | None = None,
    notes: Path | None = None,
) -> tuple[Shard, ...]:
    """Writes `pairs-000000.tar` and so on into a folder; the same pairs and photos give the same bytes.

    part: (i, n) writes only the shards whose number leaves i when divided by n. notes: a folder that keeps the
    checksums of finished shards; those that it knows are not written again.
    """
    number, count = part or (0, 1)
    shards = []
    chunks = [pairs[first : first + samples_per_shard] for first in range(0, len(pairs), samples_per_shard)]
    with tqdm(total=sum(map(len, chunks[number::count])), desc="packing", unit="sample") as progress:
        for at in range(number, len(chunks), count):
            path = folder / f"pairs-{at:06d}.tar"
            note = None if notes is None else notes / f"{path.name}.json"
            shard = _finished(path, note)
            if shard is None:
                shard = _write_shard(path, chunks[at], album)
                if note is not None:
                    write_text(note, json.dumps(asdict(shard)))
            shards.append(shard)
            progress.update(len(chunks[at]))
    return tuple(shards)


def _finished(path: Path, note: Path | None) -> Shard | None:
    """A shard that an earlier run wrote, or None."""
    if note is None or not (note.is_file() and path.is_file()):
        return None
    shard = Shard(**json.loads(note.read_text()))
    return shard if path.stat().st_size == shard.bytes else None


def _write_shard(path: Path, pairs: Sequence[Pair], album: Album) -> Shard:
    # Time, owner and mode are fixed: they would make equal shards differ.
    fixed = {"user": "", "group": "", "mode": 0o444, "mtime": 0}
    with new_file(path) as partial:
        with partial.open("wb") as file, webdataset.TarWriter(file, encoder=False, **fixed) as tar:
            for pair in pairs:
                tar.write({"__key__": pair.key, **album.members(pair)})
        shard = Shard(path.name, len(pairs), partial.stat().st_size, sha256_of(partial))
    return shard


def _check_outputs(outputs: Sequence[Path]) -> None:
    for path in outputs:
        refuse_existing(path)
    whole = [path.resolve() for path in outputs]
    for one in whole:
        if sum(other == one or one in other.parents for other in whole) > 1:
            raise BadInput(f"--out and --test-out lie within each other ({one}); choose two separate folders")
