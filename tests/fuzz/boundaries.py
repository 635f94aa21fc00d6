"""Where outside content enters: good content to begin with, and what reads it.

A boundary's `read` raises BadInput where it refuses. What it lets pass must be right: it asserts what whoever goes on
with it relies on.
"""

import argparse
import hashlib
import io
import json
import math
import random
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch

from deploy.batch.file_pairs import FilePairs, read_csv
from deploy.batch.outputs import Output
from deploy.batch.pairs import PairOptions
from deploy.metadata import Metadata
from deploy.runtime import Session
from likeness.command import BadInput
from shards.input_files import decode_label, decode_style
from shards.judging.judgements import ANSWERS, COLUMNS, Judgement, read_judgements, write_judgements
from shards.labels.kinds import KINDS
from shards.media.pictures import decode_ids, decode_instances, decode_picture
from shards.media.video import decode as decode_video
from shards.media.video_writer import encode
from shards.reading.samples import OpenShard, decode, decode_pair
from shards.records import Frame, LabelSchema, Manifest, Pair, Shard, parse_manifest
from shards.sources.pictures import described_classes
from shards.worlds.sidecar import sidecar_of
from tests.fuzz import mutators, servers
from tests.fuzz.options import PARSERS
from trainer.checkpoints.files import Checkpoint, State, best_value, find, written
from trainer.config import load as load_config

Mutator = Callable[[random.Random, bytes], bytes]
ROOT = Path(__file__).parents[2]
SIDE = 32
MOST = 2**63
"""No number that is let pass is beyond it."""


@dataclass(frozen=True)
class Boundary:
    """One kind of outside content."""

    seeds: Callable[[], list[bytes]]
    """Good content, which `read` lets pass."""
    mutate: Mutator
    """What is done to it."""
    read: Callable[[bytes, Path], None]
    """Takes content and an empty folder. Raises BadInput, or AssertionError where it let something wrong pass."""
    weight: int = 1
    """Cases of this boundary for one of a slow one."""
    seeds_refused: bool = False
    """Whether some of the seeds are refused for what has nothing to do with their form."""


def sketch_schema() -> LabelSchema:
    return KINDS["sketch"].standard(SIDE, SIDE)


def _landmarks() -> tuple[tuple[int, int], ...]:
    rng = np.random.default_rng(1)
    return tuple((int(x), int(y)) for x, y in rng.integers(100, 400, (68, 2)))


def _photo(seed: int = 0) -> Any:
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8), (5, 5), 2)


def _encoded(ending: str, picture: Any) -> bytes:
    return cv2.imencode(ending, picture)[1].tobytes()


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _bounded(value: Any) -> None:
    """No number in it is beyond what numbers of ours are."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for each in value:
            _bounded(each)
    elif isinstance(value, int | float):
        # Of the largest whole numbers isfinite() would raise, and text of them, too.
        assert abs(value) <= MOST and math.isfinite(value)


def _check_schema(schema: LabelSchema) -> None:
    assert schema.kind in KINDS
    assert all(type(side) is int and 32 <= side < 2**16 for side in (schema.height, schema.width))
    assert type(schema.channels) is int and 0 < schema.channels < 2**16
    assert all(isinstance(name, str) for name in schema.names)
    assert all(0 <= part <= 255 for colour in schema.colours for part in colour)
    assert all(type(each) is int and 0 <= each <= 255 for each in schema.ids)


# Manifests and shards


def _manifests() -> list[bytes]:
    schemas = (kind.standard(SIDE, 2 * SIDE) for name, kind in KINDS.items() if name != "classes")
    shards = (Shard("pairs-000000.tar", 8, 92160, "0" * 64),)
    return [
        Manifest(schema, "train", 0, {"preset": "default"}, shards, {"train": ("a.mp4",), "test": ()}).dumps().encode()
        for schema in schemas
    ]


def _read_manifest(content: bytes, folder: Path) -> None:
    manifest = parse_manifest(content, folder / "manifest.json")
    _check_schema(manifest.schema)
    assert manifest.split in ("train", "test") and type(manifest.seed) is int
    for shard in manifest.shards:
        assert type(shard.samples) is int and 0 <= shard.samples < MOST
        assert type(shard.bytes) is int and 0 <= shard.bytes < MOST
        assert Path(shard.name).name == shard.name
        assert len(shard.sha256) == 64
    assert manifest.digest


def _pair() -> Pair:
    frames = [Frame(f"{name}.mp4", 3, 0.5, "style", _landmarks()) for name in "abcd"]
    return Pair("00000000", *frames, same_style=True)


def _tar(record: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        members = {
            f"{side}.jpg": _encoded(".jpg", _photo(n))
            for n, side in enumerate(("target", "exemplar", "consistent", "inconsistent"))
        }
        for name, content in {**members, "json": record}.items():
            entry = tarfile.TarInfo(f"00000000.{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def _read_tar(content: bytes, folder: Path) -> None:
    with OpenShard(_written(folder, "pairs-000000.tar", content)) as shard:
        for number in range(len(shard)):
            members = shard.members(number)
            pair = decode_pair(members)
            for frame in pair.frames.values():
                assert isinstance(frame.source, str) and isinstance(frame.style, str)
                assert type(frame.number) is int
                _bounded([frame.number, frame.seconds, frame.landmarks or (), frame.keypoints or ()])
            decode(members, sketch_schema())


def _sidecars() -> list[bytes]:
    return [(Path(__file__).parent / "seeds" / "sidecar.json").read_bytes()]


def _read_sidecar(content: bytes, folder: Path) -> None:
    _written(folder, "video.json", content)
    sidecar = sidecar_of(folder / "video.mp4")
    if sidecar is not None:
        _bounded([sidecar["fps"], sidecar["size"], sidecar["frames"]])
        assert float(sidecar["fps"]) > 0 and int(sidecar["size"]) > 0


# Lists


def _judged() -> list[bytes]:
    line = "a.mp4,3,b.mp4,7,{},Anna,2.5,2026-01-01T00:00:00+00:00"
    return ["\n".join([",".join(COLUMNS), *(line.format(answer) for answer in ANSWERS), ""]).encode()]


def _read_judged(content: bytes, folder: Path) -> None:
    found: list[Judgement] = read_judgements(_written(folder, "judged.csv", content))
    for judgement in found:
        assert judgement.judgement in ANSWERS and judgement.rater
        _bounded([judgement.one_frame, judgement.other_frame, judgement.seconds])
    # A page goes on with the file.
    write_judgements(folder / "again.csv", found)
    assert read_judgements(folder / "again.csv") == found


def _pair_lists() -> list[bytes]:
    return [b"label,exemplar_label,exemplar,output\na.json,b.json,c.png,one.png\na.json,a.json,c.png,two.png\n"]


INPUTS_READ = ("label", "exemplar_label", "exemplar")


def _read_pair_list(content: bytes, folder: Path) -> None:
    for name in "ab":
        _written(folder, f"{name}.json", json.dumps({"landmarks": _landmarks()}).encode())
    _written(folder, "c.png", _encoded(".png", _photo()))
    path = _written(folder, "pairs.csv", content)
    rows = read_csv(path, INPUTS_READ, INPUTS_READ, Output(), 2)
    out = (folder / "out").resolve()
    assert all((out / name).resolve().is_relative_to(out) for name in rows)
    pairs = FilePairs(rows, path, sketch_schema(), INPUTS_READ, PairOptions())
    for job in pairs.jobs(lambda number, output: True):
        job.load()


def _read_classes(content: bytes, folder: Path) -> None:
    classes = described_classes(_written(folder, "classes.json", content))
    assert all(type(each) is int and 0 <= each <= 255 for each in classes.ids)
    assert all(isinstance(name, str) for name in classes.names)
    json.dumps([classes.names, classes.colours]).encode()


# Pictures, videos, labels


def _pictures() -> list[bytes]:
    grey = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    return [
        *(_encoded(ending, _photo()) for ending in (".png", ".jpg", ".webp")),
        _encoded(".png", (grey % 20).astype(np.uint8)),
        _encoded(".png", grey),
    ]


def _read_picture(content: bytes, folder: Path) -> None:
    refusals = 0
    for read in (decode_picture, decode_ids, decode_instances):
        try:
            picture = read(content, "the picture")
        except BadInput as error:
            refusals += 1
            refused = error
            continue
        # It came from a picture of 32 × 32, whose sides are in places that few mutations hit.
        assert picture.size < 2**26 and picture.dtype in (np.uint8, np.uint16)
    if refusals == 3:
        raise refused


@cache
def _videos() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        encode(path, (_photo(number) for number in range(4)), 8, SIDE, SIDE)
        return [path.read_bytes()]


def _read_video(content: bytes, folder: Path) -> None:
    for _, seconds, frame in decode_video(_written(folder, "video.mp4", content), timeout_s=20):
        assert math.isfinite(seconds) and frame.dtype == np.uint8


def _labels() -> list[bytes]:
    return [json.dumps({"landmarks": _landmarks()}).encode(), json.dumps(_landmarks()).encode()]


def _read_label(content: bytes, folder: Path) -> None:
    label = decode_label(content, "the label", sketch_schema())
    assert label.shape == (sketch_schema().channels, SIDE, SIDE) and label.dtype == np.uint8


def _read_style(content: bytes, folder: Path) -> None:
    assert np.isfinite(decode_style(content, "the style", 8)).all()


# Configs and checkpoints


def _configs() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "trainer" / "configs").glob("*.yaml"))]


def _read_config(content: bytes, folder: Path) -> None:
    config = load_config(_written(folder, "config.yaml", content))
    _bounded(config.model_dump(mode="json"))
    assert config.images > 0 and config.batch > 0


def _states() -> list[bytes]:
    schema = sketch_schema().to_json()
    state = State(64, 8, 0, 64, 1, {"method": "style_consistent"}, schema, "0" * 64, None, {}, {"distance": 0.5})
    return [json.dumps(asdict(state)).encode()]


def _read_state(content: bytes, folder: Path) -> None:
    checkpoint = folder / "checkpoint-0000000064"
    checkpoint.mkdir()
    _written(checkpoint, "state.json", content)
    _written(folder, "latest", checkpoint.name.encode())
    _written(folder, "best", checkpoint.name.encode())
    found = find(folder)
    assert found == checkpoint
    state = Checkpoint(found).state
    for number in (state.images, state.steps, state.epoch, state.position, state.ranks):
        assert type(number) is int and 0 <= number < MOST
    assert isinstance(state.config, dict) and state.digest
    LabelSchema.from_json(state.schema)
    written(folder)
    assert not math.isnan(best_value(folder, "distance"))


def _names_of_latest() -> list[bytes]:
    return [b"checkpoint-0000000064\n"]


def _read_latest(content: bytes, folder: Path) -> None:
    checkpoint = folder / "checkpoint-0000000064"
    checkpoint.mkdir()
    _written(checkpoint, "state.json", _states()[0])
    _written(folder, "latest", content)
    found = find(folder)
    assert found is None or found.resolve().is_relative_to(folder.resolve())


def _tensors() -> list[bytes]:
    return [safetensors.torch.save({"a": torch.zeros(4, 3), "b": torch.ones(2)})]


def _read_tensors(content: bytes, folder: Path) -> None:
    state = json.loads(_states()[0])
    # As somebody who writes a checkpoint would: its checksum is right.
    state["files"] = {"generator.safetensors": hashlib.sha256(content).hexdigest()}
    _written(folder, "state.json", json.dumps(state).encode())
    _written(folder, "generator.safetensors", content)
    for tensor in Checkpoint(folder).tensors("generator").values():
        assert tensor.numel() < 2**20


# Models


def _facts() -> Metadata:
    return Metadata("style_consistent", sketch_schema(), "0" * 64, None, 64, "random:0")


def _props() -> list[bytes]:
    return [json.dumps(_facts().to_props()).encode()]


def _mutated_props(rng: random.Random, content: bytes) -> bytes:
    props = json.loads(content)
    name = rng.choice(list(props))
    text = props[name].encode()
    try:
        json.loads(text)
        changed = mutators.json_of(rng, text)
    except ValueError:
        changed = mutators.text_value(rng)
    props[name] = changed.decode("utf-8", "replace")
    return json.dumps(props).encode()


def _read_props(content: bytes, folder: Path) -> None:
    facts = Metadata.from_props(json.loads(content), "model.onnx")
    _check_schema(facts.schema)
    assert facts.style_length > 0 and facts.feature_channels > 0 and facts.size_multiple > 0 and facts.images_seen >= 0
    facts.specs()


@cache
def _models() -> list[bytes]:
    return [servers.copying_model(SIDE, _facts())]


def _read_model(content: bytes, folder: Path) -> None:
    session = Session(_written(folder, "model.onnx", content), threads=1)
    photo = np.zeros((1, 3, session.schema.height, session.schema.width), np.float32)
    image = session.run(exemplar=photo)
    assert image.shape == photo.shape and image.dtype == np.float32


# Options


def _options() -> list[bytes]:
    return [f"{command} {place}\n1".encode() for command, actions in PARSERS().items() for place in actions]


def _mutated_option(rng: random.Random, content: bytes) -> bytes:
    return content.partition(b"\n")[0] + b"\n" + mutators.text_value(rng)


def _read_option(content: bytes, folder: Path) -> None:
    name, _, value = content.partition(b"\n")
    command, _, option = name.decode().rpartition(" ")
    # As the system hands over what is typed, which ends at a NUL.
    text = value.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    parser, action = PARSERS()[command][option]
    try:
        _bounded(parser._get_value(action, text))
    except argparse.ArgumentError as error:
        assert len(str(error)) < 1000 and "\n" not in str(error)
        raise BadInput(str(error)) from error


JSON, TEXT, BYTES = mutators.json_of, mutators.text_of, mutators.bytes_of
BOUNDARIES: dict[str, Boundary] = {
    "manifest": Boundary(_manifests, JSON, _read_manifest, 40),
    "record": Boundary(lambda: [json.dumps(_pair().to_json()).encode()], JSON, lambda c, f: _read_tar(_tar(c), f), 40),
    "tar": Boundary(lambda: [_tar(json.dumps(_pair().to_json()).encode())], BYTES, _read_tar, 40),
    "sidecar": Boundary(_sidecars, JSON, _read_sidecar, 40),
    "judged": Boundary(_judged, TEXT, _read_judged, 40),
    "pair-list": Boundary(_pair_lists, TEXT, _read_pair_list, 40),
    "classes": Boundary(
        lambda: [b'{"names": ["road", "sky"], "ids": [0, 1], "colours": [[1, 2, 3], [4, 5, 6]], "void": 1}'],
        JSON,
        _read_classes,
        40,
    ),
    "picture": Boundary(_pictures, BYTES, _read_picture, 40),
    "video": Boundary(_videos, BYTES, _read_video, 1),
    "label": Boundary(_labels, JSON, _read_label, 40),
    "style": Boundary(
        lambda: [b"[0, 0.5, 1, -1, 0, 0, 0, 0]", b'{"style": [0, 0, 0, 0, 0, 0, 0, 1]}'], JSON, _read_style, 20
    ),
    "config": Boundary(_configs, mutators.yaml_of, _read_config, 40),
    "state": Boundary(_states, JSON, _read_state, 40),
    "latest": Boundary(_names_of_latest, TEXT, _read_latest, 20),
    "tensors": Boundary(_tensors, BYTES, _read_tensors, 40),
    "metadata": Boundary(_props, _mutated_props, _read_props, 40),
    "model": Boundary(_models, BYTES, _read_model, 20),
    "option": Boundary(_options, _mutated_option, _read_option, 40, True),
    "service": Boundary(servers.service_requests, mutators.bytes_of, servers.ask_service, 40),
    "page": Boundary(servers.page_requests, mutators.bytes_of, servers.ask_page, 40, True),
}
"""By name."""
