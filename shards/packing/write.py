"""From videos and pictures to shards of pairs and their manifest: the compiler behind `python -m shards pack`."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import webdataset
from tqdm import tqdm

from likeness.atomic import move_folder, new_file, refuse_existing, write_text
from likeness.checksums import sha256_of
from likeness.command import BadInput
from likeness.one_writer import only_writer
from shards.media.ffmpeg_program import ffmpeg_in_use
from shards.operators.photos import OPERATORS, prepare
from shards.operators.points import landmarks_by
from shards.packing.audit import audit
from shards.packing.pairs import Sampling
from shards.packing.photo_cache import PhotoCache, preprocess
from shards.packing.plan import SPLITS, Packing, Plan, plan_of
from shards.packing.quarantine import check_bound, write_quarantine
from shards.packing.split_pairs import pairs_of, with_recordings
from shards.records import Manifest, Pair, Shard, Split

ONE_STYLE = "all photos have one style: samples have no inconsistent photo, and methods that compare styles refuse them"


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
    prepare(plan.preprocessing.labelling)
    if not all(item.still for item in plan.data.items):
        ffmpeg_in_use()  # what is wrong with it is wrong with every video
    with ExitStack() as held:
        for path in outputs:
            refusal = f"another pack writes {path}; wait for it, or choose another --out"
            held.enter_context(only_writer(path.parent / f".{path.name}.lock", refusal, keep=False))
        # The one that held them before may have written them.
        _check_outputs(outputs)
        return _kept(plan, outputs, works, workers, part)


def _kept(
    plan: Plan, outputs: Sequence[Path], works: Sequence[Path], workers: int, part: tuple[int, int] | None
) -> list[tuple[Path, Manifest]]:
    """Builds the outputs; where that ends early, says what is kept."""
    try:
        finished = _build(plan, outputs, works, workers, part)
    except BaseException as error:
        if works[0].exists():
            kept = f"what is finished lies in {works[0]}; the same command goes on from there"
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(kept) from None
            print(kept, file=sys.stderr)
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
    preprocess(plan.units, plan.preprocessing, photos, workers, range(number, len(plan.units), count))
    with PhotoCache(photos, plan.units, plan.preprocessing) as cache:
        bad = [(result.source, result.error) for result in cache.results if result.error is not None]
        check_bound(bad, len(cache.results), plan.packing.max_bad)
        plan = with_recordings(plan, cache)
        finished = [
            _write_split(plan, split, cache, path, work, part)
            for split, path, work in zip(SPLITS, outputs, works, strict=False)
        ]
    for manifest, folder in finished:
        write_quarantine(folder, bad)
        manifest.save(folder)
    _move([folder for _, folder in finished], outputs)
    return [(path, manifest) for path, (manifest, _) in zip(outputs, finished, strict=True)]


def _move(folders: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Renames finished folders to the outputs: all of them or none."""
    moved: list[tuple[Path, Path]] = []
    try:
        for folder, path in zip(folders, outputs, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            move_folder(folder, path)
            moved.append((folder, path))
    except BaseException:
        for folder, path in moved:
            move_folder(path, folder)
        raise


def work_folder(out: Path) -> Path:
    """Where a packing keeps what is finished until all of it is."""
    return out.parent / f".{out.name}-packing"


def part_folder(out: Path, part: tuple[int, int]) -> Path:
    """Where slice i of n goes: `out-slice-0003-of-0008`, say."""
    return out.parent / f"{out.name}-slice-{part[0]:04d}-of-{part[1]:04d}"


def _write_split(
    plan: Plan, split: Split, cache: PhotoCache, path: Path, work: Path, part: tuple[int, int] | None
) -> tuple[Manifest, Path]:
    """Draws a split's pairs and writes its shards into the work folder; finished ones are kept."""
    packing = plan.packing
    try:
        pairs, sampling = pairs_of(plan, split, cache)
    except BadInput as error:
        hint = "; or hold out more with --test-fraction" if split == "test" else ""
        raise BadInput(f"{split} split: {error}{hint}") from error
    folder = work / f"{path.name}-{plan.digest}"
    shared = packing.halves and bool(plan.sources["test"])
    # Before anything is written: pairs that leak between the splits end the packing here.
    checked = audit(pairs, plan.sources, split, shared, sampling.least_distance, cache.thumb)
    one_style = () if all(pair.inconsistent for pair in pairs) else (ONE_STYLE,)
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".*"):
        unfinished.unlink()
    shards = write_shards(pairs, cache, folder, packing.samples_per_shard, part, work / f"{folder.name}-notes")
    manifest = Manifest(
        schema=plan.schema,
        split=split,
        seed=packing.seed,
        sampling=_sampling_record(plan, sampling),
        shards=shards,
        sources=plan.sources,
        shared_sources=shared,
        audit=checked,
        notes=tuple(sorted((*_notes(plan, cache), *one_style))),
        one_style=bool(one_style),
        slice=part,
        instances=plan.preprocessing.labelling.instances,
    )
    return manifest, folder


def _sampling_record(plan: Plan, sampling: Sampling) -> dict[str, Any]:
    """How the samples were made, as the manifest keeps it."""
    labelling, packing = plan.preprocessing.labelling, plan.packing
    record = {**sampling.to_json(), "labels": labelling.operator, "every": labelling.every}
    if OPERATORS[labelling.operator].faces:
        record |= {"landmarks": landmarks_by(labelling.predictor), "demands": asdict(labelling.demands)}
    if OPERATORS[labelling.operator].find is not None:
        record["smoothed"] = labelling.smooth
    return record | {"dataset": packing.dataset, "judged": packing.judged is not None}


def _notes(plan: Plan, cache: PhotoCache) -> Iterator[str]:
    """What was left out and why, in words."""
    yield from plan.data.notes
    outcomes = sum((Counter(result.outcomes) for result in cache.results), Counter[str]())
    yield from (f"frames left out, {why}: {count}" for why, count in outcomes.items() if why != "used")
    yield from (f"one recording under several names: {', '.join(group)}" for group in plan.recordings)
    places = [len({frame.style for frame in result.frames}) for result in cache.results]
    if cut := [count for count in places if count > 1]:
        yield f"videos with cuts: {len(cut)}; each of the {sum(cut)} places in them is a style (--no-cuts: each video)"
    if unreadable := sum(result.error is not None for result in cache.results):
        yield f"files that could not be read, see quarantine.csv: {unreadable}"


def write_shards(
    pairs: Sequence[Pair],
    cache: PhotoCache,
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
                shard = _write_shard(path, chunks[at], cache)
                if note is not None:
                    write_text(note, json.dumps(asdict(shard)))
            shards.append(shard)
            progress.update(len(chunks[at]))
    return tuple(shards)


def _finished(path: Path, note: Path | None) -> Shard | None:
    """A shard that an earlier run wrote, or None."""
    if note is None or not (note.is_file() and path.is_file()):
        return None
    shard = Shard(**json.loads(note.read_text(encoding="utf-8")))
    return shard if path.stat().st_size == shard.bytes else None


def _write_shard(path: Path, pairs: Sequence[Pair], cache: PhotoCache) -> Shard:
    # Time, owner and mode are fixed: they would make equal shards differ.
    fixed = {"user": "", "group": "", "mode": 0o444, "mtime": 0}
    with new_file(path) as partial:
        with partial.open("wb") as file, webdataset.TarWriter(file, encoder=False, **fixed) as tar:
            for pair in pairs:
                tar.write({"__key__": pair.key, **cache.members(pair)})
        shard = Shard(path.name, len(pairs), partial.stat().st_size, sha256_of(partial))
    return shard


def _check_outputs(outputs: Sequence[Path]) -> None:
    for path in outputs:
        refuse_existing(path)
    whole = [path.resolve() for path in outputs]
    for one in whole:
        if sum(other == one or one in other.parents for other in whole) > 1:
            raise BadInput(f"--out and --test-out lie within each other ({one}); choose two separate folders")
