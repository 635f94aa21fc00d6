"""From videos and pictures to shards of pairs and their manifest: the compiler behind `python -m shards pack`."""

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from tqdm import tqdm

from shards.album import Album, Developing, Unit, develop, units_of
from shards.atomic import new_file, refuse_existing, write_text
from shards.audit import audit
from shards.command import BadInput
from shards.labels import standard_schema
from shards.pair_list import listed_pairs
from shards.pairs import Sampling, Shown, judged, paired_frames, sample_pairs, split_sources
from shards.photos import OPERATORS, Labelling, prepare
from shards.quarantine import MAX_BAD, check_bound, write_quarantine
from shards.records import SIZE_MULTIPLE, Frame, LabelSchema, Manifest, Pair, Shard, Split, check_size, sha256_of
from shards.retrieval import Features, stacked
from shards.sources import find
from shards.sources.dataset import Dataset, Item
from shards.worlds import WORLDS
from shards.worlds.sidecar import sidecar_of, sidecar_path

Array = np.ndarray[Any, Any]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Packing:
    """What to pack, apart from where it goes.

    source: the dataset's folder. dataset: one of `shards.sources.SOURCES`. pairs: training pairs, None for
    `sampling.repeat` per frame. size: picture width; the height follows from the dataset. operator: the label operator,
    `auto` for the one that fits. every: keep every n-th frame of a video, None for 10 on footage (specification 5.4)
    and 1 on worlds. test_pairs: held-out pairs. test_fraction: share of the videos that is held out where the
    publisher has no split. halves: hold out the second half of every video instead (the paper's dance split).
    picture_format: `jpg` or `png`. max_bad: share of the files that may be unreadable. judged: a CSV of the judging
    page. pair_list: a CSV of pairs. predictor, openpose, densepose, parser: see `shards.photos.Labelling`. features: an
    ONNX model for retrieval.
    """

    source: Path
    sampling: Sampling
    dataset: str = "videos"
    pairs: int | None = None
    seed: int = 0
    size: int = 256
    operator: str = "auto"
    every: int | None = None
    test_pairs: int = 200
    test_fraction: float = 0.1
    halves: bool = False
    samples_per_shard: int = 1000
    picture_format: str = "jpg"
    max_bad: float = MAX_BAD
    timeout_s: float = 1800.0
    judged: Path | None = None
    pair_list: Path | None = None
    predictor: Path | None = None
    openpose: Path | None = None
    densepose: Path | None = None
    parser: Path | None = None
    features: Path | None = None

    def __post_init__(self) -> None:
        check_size(self.size, self.size)
        if self.samples_per_shard < 1:
            raise BadInput(f"{self.samples_per_shard} samples per shard; ask for at least 1")
        if not 0 <= self.max_bad <= 1:
            raise BadInput(f"--max-bad {self.max_bad} is not a share between 0 and 1")


@dataclass(frozen=True)
class Plan:
    """A packing whose files are found: what will be labelled how, and which source belongs to which split."""

    packing: Packing
    data: Dataset
    developing: Developing
    sampling: Sampling
    units: tuple[Unit, ...]
    sources: dict[Split, tuple[str, ...]]

    @property
    def schema(self) -> LabelSchema:
        return self.developing.labelling.schema

    @property
    def digest(self) -> str:
        """Names the outcome: equal plans write equal bytes."""
        told = {**asdict(self.packing), "source": "", "units": [unit.name for unit in self.units]}
        for name in ("judged", "pair_list"):
            told[name] = sha256_of(told[name]) if told[name] else None
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def plan_of(packing: Packing, held_out: bool) -> Plan:
    """Finds the files and decides on labels, splits and pairing; nothing is decoded or written.

    Raises BadInput when the dataset is not there, or does not allow what is asked for.
    """
    data = find(packing.dataset, packing.source)
    if not data.items:
        raise BadInput(f"{packing.source} holds nothing to pack; check --dataset {packing.dataset}")
    operator = _operator(packing, data)
    worlds = _worlds(data.items) if operator == "worlds" else {}
    bare = _without_instances(data, operator, worlds)
    if 0 < len(bare) < len(data.items):
        note = f"files without an instance map, so that no sample has one: {len(bare)} ({bare[0]} is the first)"
        data = replace(data, notes=(*data.notes, note))
    labelling = Labelling(
        operator=operator,
        schema=_schema(packing, data, operator, worlds),
        every=packing.every or (1 if operator == "worlds" else 10),
        of_raw=None if data.classes is None else data.classes.of_raw,
        predictor=packing.predictor,
        openpose=packing.openpose,
        densepose=packing.densepose,
        parser=packing.parser,
        timeout_s=packing.timeout_s,
        instances=not bare,
    )
    sampling = packing.sampling
    if packing.pair_list is not None:
        sampling = replace(sampling, pairing="list")
    elif not data.styled:
        sampling = replace(sampling, pairing="retrieval")
    retrieves = sampling.pairing == "retrieval" or (sampling.pairing == "list" and not data.styled)
    developing = Developing(labelling, packing.picture_format, Features(packing.features) if retrieves else None)
    sources = _sources(packing, data, held_out)
    used = set(sources["train"]) | set(sources["test"])
    items = [item for item in data.items if item.source in used]
    return Plan(packing, data, developing, sampling, tuple(units_of(items, developing)), sources)


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
    from shards.judgements import read_judgements, verdicts

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


def _operator(packing: Packing, data: Dataset) -> str:
    """The label operator that `auto` stands for. Raises BadInput when the one asked for does not fit the files."""
    operator = packing.operator
    if operator not in ("auto", *OPERATORS):
        raise BadInput(f"no label operator {operator!r}; choose one of auto, {', '.join(OPERATORS)}")
    bare = [item.source for item in data.items if not sidecar_path(item.path).is_file()]
    if operator == "auto":
        if data.classes is not None:
            return "given"
        return "face-landmarks" if len(bare) == len(data.items) else "worlds"
    if operator == "given" and data.classes is None:
        raise BadInput(f"--dataset {packing.dataset} has no label pictures; choose another --labels than given")
    if operator == "worlds" and bare:
        raise _no_sidecar(bare[0])
    return operator


def _no_sidecar(source: str) -> BadInput:
    return BadInput(
        f"{source} has no sidecar {sidecar_path(Path(source)).name}; draw the world again, or use --labels "
        "face-landmarks"
    )


def _schema(packing: Packing, data: Dataset, operator: str, worlds: Mapping[str, "_World"]) -> LabelSchema:
    size = packing.size
    if operator == "worlds":
        return _world_schema(worlds, size)
    height = round(size / data.aspect / SIZE_MULTIPLE) * SIZE_MULTIPLE
    if operator == "face-landmarks":
        return standard_schema("sketch", size, size)
    if operator == "pose":
        return standard_schema("pose", size, size, packing.densepose is not None)
    if operator == "parsing":
        return _parsed_schema(packing.parser, height, size)
    if data.classes is None:
        return standard_schema("classes", height, size)
    return data.classes.schema(height, size)


def _parsed_schema(parser: Path | None, height: int, width: int) -> LabelSchema:
    if parser is None:
        raise BadInput("labels by parsing need a segmentation model; name an ONNX file with --parser")
    # ONNX Runtime is loaded by those who have a model.
    from shards.labels.parsing import read_description

    return read_description(parser).schema(height, width)


@dataclass(frozen=True)
class _World:
    """What a plan needs to know of a video's sidecar: the world, and whether its frames have instance maps."""

    name: str
    instances: bool


def _worlds(items: Sequence[Item]) -> dict[str, _World]:
    """What the sidecar of every video says, by source."""
    worlds = {}
    for item in items:
        sidecar = sidecar_of(item.path)
        if sidecar is None:
            raise _no_sidecar(item.source)
        worlds[item.source] = _World(sidecar["world"], all("instances" in frame for frame in sidecar["frames"]))
    return worlds


def _without_instances(data: Dataset, operator: str, worlds: Mapping[str, _World]) -> list[str]:
    """The sources that have no instance map; all of them where labels are not read from files of class ids."""
    if operator == "given":
        return [item.source for item in data.items if item.instances is None]
    return [item.source for item in data.items if not (item.source in worlds and worlds[item.source].instances)]


def _world_schema(worlds: Mapping[str, _World], size: int) -> LabelSchema:
    first, world = next((source, told.name) for source, told in worlds.items())
    for name, other in worlds.items():
        if other.name != world:
            raise BadInput(f"{name} is of the world {other.name!r}, but {first} of {world!r}; pack one world at a time")
    height = round(WORLDS[world].height_of(size) / SIZE_MULTIPLE) * SIZE_MULTIPLE
    return standard_schema(WORLDS[world].KIND, height, size)


def _sources(packing: Packing, data: Dataset, held_out: bool) -> dict[Split, tuple[str, ...]]:
    """Which source belongs to which split: the publisher's word first, then distinct sources drawn by the seed."""
    names = tuple(item.source for item in data.items)
    if any(item.split is not None for item in data.items):
        by_split: dict[Split, tuple[str, ...]] = {
            split: tuple(sorted(item.source for item in data.items if item.split == split)) for split in SPLITS
        }
        for split in SPLITS if held_out else SPLITS[:1]:
            if not by_split[split]:
                raise BadInput(f"{packing.source} has no pictures of the publisher's {split} split; download them, too")
        return by_split if held_out else {"train": by_split["train"], "test": ()}
    if not held_out:
        return {"train": tuple(sorted(names)), "test": ()}
    if packing.halves:
        return {"train": tuple(sorted(names)), "test": tuple(sorted(names))}
    return split_sources(names, packing.test_fraction, packing.seed)


def _check_outputs(outputs: Sequence[Path]) -> None:
    for path in outputs:
        refuse_existing(path)
    whole = [path.resolve() for path in outputs]
    for one in whole:
        if sum(other == one or one in other.parents for other in whole) > 1:
            raise BadInput(f"--out and --test-out lie within each other ({one}); choose two separate folders")
