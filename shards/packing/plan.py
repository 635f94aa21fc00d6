"""What a packing would do: sources, splits, label schema and operator, from its settings alone."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.media.orientation import DrawnOn
from shards.operators.face_crops import LEAST_SIDE, PAPER, Demands
from shards.operators.labelling import Labelling
from shards.operators.photos import OPERATORS
from shards.packing.pairs import Sampling, split_sources
from shards.packing.photo_cache import Preprocessing, Unit, units_of
from shards.packing.quarantine import MAX_BAD
from shards.packing.retrieval import Features
from shards.preparation import Crop, Fit, Preparation
from shards.records import SIZE_MULTIPLE, LabelSchema, Split, check_size
from shards.sources import find
from shards.sources.dataset import Classes, Dataset, Item, styled_by_folder
from shards.sources.pictures import described_classes
from shards.worlds import WORLDS
from shards.worlds.sidecar import sidecar_of, sidecar_path

SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Packing:
    """What to pack, apart from where it goes."""

    source: Path
    """The dataset's folder."""
    sampling: Sampling
    """How pairs are drawn."""
    dataset: str = "videos"
    """One of `shards.sources.SOURCES`."""
    pairs: int | None = None
    """Training pairs; None for `sampling.repeat` per frame."""
    seed: int = 0
    """What all draws follow from."""
    size: int | tuple[int, int] = 256
    """Picture width in pixels, the height following from the dataset; or width and height."""
    crop: Crop | None = None
    """How faces are cut out; None for `aligned`."""
    margin: float = 1.0
    """See `shards.preparation.Preparation`."""
    fit: Fit = "crop"
    """The same."""
    least_symmetry: float | None = None
    """Faces that are turned further are left out, see `shards.operators.face_crops`; None for what the crop demands."""
    least_face: int | None = None
    """Faces whose crops have fewer pixels along a side are left out; None for what the crop demands."""
    smooth: bool | None = None
    """Whether points are smoothed along videos; None for all but the paper's crop."""
    operator: str = "auto"
    """The label operator, `auto` for the one that fits."""
    every: int | None = None
    """Keep every n-th frame of a video; None for 10 on footage (specification 5.4) and 1 on worlds."""
    test_pairs: int = 200
    """Held-out pairs."""
    test_fraction: float = 0.1
    """Share of the videos that is held out where the publisher has no split."""
    halves: bool = False
    """Whether the second half of every video is held out instead (the paper's dance split)."""
    samples_per_shard: int = 1000
    """Samples in one tar file."""
    picture_format: str = "jpg"
    """`jpg` or `png`."""
    max_bad: float = MAX_BAD
    """Share of the files that may be unreadable."""
    timeout_s: float = 1800.0
    """Seconds that one video may take."""
    judged: Path | None = None
    """A CSV of the judging page."""
    pair_list: Path | None = None
    """A CSV of pairs."""
    shots: bool = True
    """Whether a video is several styles where it is cut."""
    styles_by_folder: bool = False
    """Whether the photos of a folder have one style: those of a person, say."""
    predictor: Path | None = None
    """See `shards.operators.photos.Labelling`, like the five that follow."""
    openpose: Path | None = None
    """OpenPose's files."""
    densepose: Path | None = None
    """DensePose's pictures."""
    parser: Path | None = None
    """A segmentation model."""
    edges: Path | None = None
    """An edge network."""
    labels_drawn_on: DrawnOn | None = None
    """What label pictures were drawn on where a photo has an EXIF mark."""
    classes: Path | None = None
    """A description of classes, instead of the dataset's own."""
    features: Path | None = None
    """An ONNX model for retrieval; None compares colours and edges."""

    def __post_init__(self) -> None:
        width, height = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        check_size(height, width)
        if self.samples_per_shard < 1:
            raise BadInput(f"{self.samples_per_shard} samples per shard; ask for at least 1")
        if not 0 <= self.max_bad <= 1:
            raise BadInput(f"--max-bad {self.max_bad} is not a share between 0 and 1")


@dataclass(frozen=True)
class Plan:
    """A packing whose files are found: what will be labelled how, and which source belongs to which split."""

    packing: Packing
    """What was asked for."""
    data: Dataset
    """The dataset as it lies on the disk."""
    preprocessing: Preprocessing
    """What becomes of photos before pairs are drawn."""
    sampling: Sampling
    """How pairs are drawn, with the pairing that the data allows."""
    units: tuple[Unit, ...]
    """What is preprocessed together."""
    sources: dict[Split, tuple[str, ...]]
    """The sources of each split."""
    recordings: tuple[tuple[str, ...], ...] = ()
    """Sources that show the same footage, in groups; known once they are labelled."""

    @property
    def schema(self) -> LabelSchema:
        return self.preprocessing.labelling.schema

    @property
    def digest(self) -> str:
        """Names the outcome: equal plans write equal bytes."""
        # Not where files lie but what they hold, so that a plan keeps its digest on another machine.
        record = {**asdict(self.packing), "source": "", "units": [unit.name for unit in self.units]}
        for name in ("judged", "pair_list", "classes"):
            record[name] = sha256_of(record[name]) if record[name] else None
        return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]


def plan_of(packing: Packing, held_out: bool) -> Plan:
    """Finds the files and decides on labels, splits and pairing; nothing is decoded or written.

    Raises BadInput when the dataset is not there, or does not allow what is asked for.
    """
    data = find(packing.dataset, packing.source)
    if not data.items:
        raise BadInput(f"{packing.source} holds nothing to pack; check --dataset {packing.dataset}")
    if packing.classes is not None:
        data = replace(data, classes=_described(packing.classes, packing.dataset, data))
    operator = _operator(packing, data)
    if packing.styles_by_folder:
        data = styled_by_folder(data)
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
        edges=packing.edges,
        labels_drawn_on=packing.labels_drawn_on,
        timeout_s=packing.timeout_s,
        demands=_demands(packing, operator),
        shots=packing.shots and operator != "worlds",
        smooth=_prepared(packing, operator).crop != "paper" if packing.smooth is None else packing.smooth,
        instances=not bare,
    )
    sampling = packing.sampling
    if packing.pair_list is not None:
        sampling = replace(sampling, pairing="list")
    elif not data.styled:
        sampling = replace(sampling, pairing="retrieval")
    retrieves = sampling.pairing == "retrieval" or (sampling.pairing == "list" and not data.styled)
    preprocessing = Preprocessing(labelling, packing.picture_format, Features(packing.features) if retrieves else None)
    sources = _sources(packing, data, held_out)
    used = set(sources["train"]) | set(sources["test"])
    items = [item for item in data.items if item.source in used]
    return Plan(packing, data, preprocessing, sampling, tuple(units_of(items, preprocessing)), sources)


def _operator(packing: Packing, data: Dataset) -> str:
    """The label operator that `auto` stands for. Raises BadInput when the one asked for does not fit the files."""
    operator = packing.operator
    if operator not in ("auto", *OPERATORS):
        raise BadInput(f"no label operator {operator!r}; choose one of auto, {', '.join(OPERATORS)}")
    bare = [item.source for item in data.items if item.still or sidecar_of(item.path) is None]
    if operator == "auto":
        if data.classes is not None:
            return "given"
        if all(item.label is not None for item in data.items):
            return "picture"
        return "face-landmarks" if len(bare) == len(data.items) else "worlds"
    if operator == "worlds":
        if bare:
            raise _no_sidecar(bare[0])
    elif not OPERATORS[operator].of_any_photo:
        kind = OPERATORS[operator].kind
        if any(item.label is None for item in data.items) or (kind is not None and kind.ids and data.classes is None):
            raise BadInput(
                f"--dataset {packing.dataset} has no label pictures; choose another --labels than {operator}"
            )
    return operator


def _no_sidecar(source: str) -> BadInput:
    return BadInput(
        f"{source} has no sidecar {sidecar_path(Path(source)).name}; draw the world again, or use --labels "
        "face-landmarks"
    )


def _prepared(packing: Packing, operator: str) -> Preparation:
    """How photos become pictures. Raises BadInput for a crop that the operator has no use for."""
    faces = OPERATORS[operator].faces
    if packing.margin != 1 and not (faces and packing.crop in (None, "aligned")):
        raise BadInput(f"--margin {packing.margin:g} is for --crop aligned of faces; leave it out")
    if faces:
        return Preparation(packing.crop or "aligned", packing.margin, packing.fit)
    for name in ("crop", "least_symmetry", "least_face"):
        if (value := getattr(packing, name)) is not None:
            option = f"--{name.replace('_', '-')} {value}"
            raise BadInput(f"{option} is for --labels face-landmarks, not for {operator}; leave it out")
    return Preparation(fit=packing.fit)


def _demands(packing: Packing, operator: str) -> Demands:
    paper = _prepared(packing, operator).crop == "paper"
    demands = PAPER if paper else Demands(least_side=LEAST_SIDE)
    if packing.least_symmetry is not None:
        demands = replace(demands, least_symmetry=packing.least_symmetry)
    return demands if packing.least_face is None else replace(demands, least_side=packing.least_face)


def _schema(packing: Packing, data: Dataset, operator: str, worlds: Mapping[str, "_World"]) -> LabelSchema:
    if operator == "worlds":
        return _world_schema(worlds, packing.size)
    return replace(_label_schema(packing, data, operator), preparation=_prepared(packing, operator))


def _label_schema(packing: Packing, data: Dataset, operator: str) -> LabelSchema:
    kind = OPERATORS[operator].kind
    assert kind is not None, "only worlds have labels of several kinds"
    if isinstance(packing.size, tuple):
        width, height = packing.size
    else:
        width = packing.size
        aspect = 1.0 if kind.points is not None else data.aspect
        height = max(2, round(width / aspect / SIZE_MULTIPLE)) * SIZE_MULTIPLE
    if kind.points is not None:
        return kind.standard(height, width, packing.densepose is not None)
    if operator == "parsing":
        return _parsed_schema(packing.parser, height, width)
    return data.classes.schema(height, width) if kind.ids and data.classes else kind.standard(height, width)


def _described(path: Path, dataset: str, data: Dataset) -> Classes:
    """The classes of a file, for the ids that a dataset's become."""
    described = described_classes(path)
    if data.classes is None:
        raise BadInput(f"--classes {path} is of no use: --dataset {dataset} has no label pictures of class ids")
    if missing := sorted(set(data.classes.of_raw.values()) - set(described.ids)):
        raise BadInput(f"{path} has no class for the id {missing[0]} of --dataset {dataset}; add it")
    return replace(described, of_raw=data.classes.of_raw)


def _parsed_schema(parser: Path | None, height: int, width: int) -> LabelSchema:
    if parser is None:
        raise BadInput("labels by parsing need a segmentation model; name an ONNX file with --parser")
    # ONNX Runtime is loaded by those who have a model.
    from shards.operators.parsing import read_description

    return read_description(parser).schema(height, width)


@dataclass(frozen=True)
class _World:
    """What a plan needs to know of a video's sidecar."""

    name: str
    """The world that the video shows."""
    instances: bool
    """Whether its frames have instance maps."""


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


def _world_schema(worlds: Mapping[str, _World], size: int | tuple[int, int]) -> LabelSchema:
    first, world = next((source, world.name) for source, world in worlds.items())
    for name, other in worlds.items():
        if other.name != world:
            raise BadInput(f"{name} is of the world {other.name!r}, but {first} of {world!r}; pack one world at a time")
    if isinstance(size, tuple):
        raise BadInput(f"--size {size[0]}x{size[1]}: pictures of worlds have proportions of their own; give a width")
    height = round(WORLDS[world].height_of(size) / SIZE_MULTIPLE) * SIZE_MULTIPLE
    schema: LabelSchema = WORLDS[world].KIND.standard(height, size)
    return schema


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
    if not data.split_by_style:
        return split_sources(names, packing.test_fraction, packing.seed)
    styles = split_sources([item.style for item in data.items], packing.test_fraction, packing.seed, "styles")
    return {split: tuple(sorted(item.source for item in data.items if item.style in styles[split])) for split in SPLITS}
