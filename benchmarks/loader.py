"""Shards to batches: pairs per second of one core, against the rate at which libjpeg-turbo decodes the same members.

    python benchmarks/loader.py                        256×256 faces, drawn and packed for this run
    python benchmarks/loader.py --shards data/train    shards of your own

Measured in turns, so that all see the same machine: the reader of this project, plain webdataset with its usual
decoder, loose files through a torch DataLoader (Pillow), and MosaicML Streaming where it is installed
(`pip install --no-deps mosaicml-streaming Brotli python-snappy cramjam xxhash zstd catalogue`). Each is a process of
its own, whose CPU seconds count, after some batches that do not, since its memory has cooled while others ran. Then
the wall-clock rate over several loader workers. Photos of target and exemplar; the target's label is measured apart.
Prints one JSON object, with the hardware and the versions that the figures belong to.
"""

import argparse
import importlib.abc
import importlib.machinery
import io
import itertools
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import simplejpeg
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from likeness.arguments import count
from likeness.machine import device
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.reading.samples import KEY, iter_shard
from shards.reading.store import Store
from shards.reading.stream import Reading, Stream, open_shards
from shards.records import Manifest
from shards.worlds.film import film

SIDES = ("target", "exemplar")
BATCH = 16
ROUND = 512
"""Pairs that a competitor reads in its turn."""
EPOCH = 2048
PACKAGES = ("torch", "simplejpeg", "webdataset", "pillow", "orjson", "mosaicml-streaming")


def endless(make: Callable[[], Any]) -> Iterator[Any]:
    while True:
        yield from make()


def cpu_seconds(batches: Iterator[Any]) -> float:
    """CPU time of this process, all threads, for ROUND pairs, after a quarter as many that do not count."""
    for _ in itertools.islice(batches, ROUND // BATCH // 4):
        pass
    started = time.process_time()
    for _ in itertools.islice(batches, ROUND // BATCH):
        pass
    return time.process_time() - started


def wall_seconds(batches: Iterator[Any], pairs: int) -> float:
    started = time.perf_counter()
    for _ in itertools.islice(batches, pairs // BATCH):
        pass
    return time.perf_counter() - started


def decoding(manifest: Manifest, folder: Path) -> Iterator[None]:
    """The limit: nothing but libjpeg-turbo, on members that lie in memory."""
    members = [m for shard in manifest.shards[:4] for m in iter_shard(folder / shard.name)]
    for batch in itertools.cycle([members[at : at + BATCH] for at in range(0, len(members) - BATCH + 1, BATCH)]):
        for sample in batch:
            for side in SIDES:
                simplejpeg.decode_jpeg(sample[f"{side}.jpg"])
        yield


def ours(manifest: Manifest, store: Store, **changes: Any) -> Iterator[Any]:
    reading = Reading(**{"photos": SIDES, "labels": (), "batch": BATCH, **changes})
    return iter(Stream(manifest, store, reading))


def plain_webdataset(manifest: Manifest, folder: Path) -> Iterator[Any]:
    """As its manual shows it: shuffle, decode to rgb8, tuples, batches."""
    urls = [str(folder / shard.name) for shard in manifest.shards]
    keys = [f"{side}.jpg" for side in SIDES]

    def make() -> Any:
        data = webdataset.WebDataset(urls, shardshuffle=100, seed=0).shuffle(1000).decode("rgb8")
        return data.to_tuple("json", *keys).batched(BATCH)

    return endless(make)


class LooseFiles(Dataset[tuple[torch.Tensor, ...]]):
    """The same members as files of their own, opened with Pillow."""

    def __init__(self, folder: Path, keys: list[str]) -> None:
        self.folder, self.keys = folder, keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        json.loads((self.folder / f"{self.keys[number]}.json").read_text(encoding="utf-8"))
        paths = [self.folder / f"{self.keys[number]}.{side}.jpg" for side in SIDES]
        return tuple(torch.from_numpy(np.array(Image.open(path))) for path in paths)


def loose_files(manifest: Manifest, folder: Path, loose: Path) -> Iterator[Any]:
    keys = []
    for shard in manifest.shards:
        for members in iter_shard(folder / shard.name):
            keys.append(members[KEY].decode())
            for name in ("json", *(f"{side}.jpg" for side in SIDES)):
                (loose / f"{keys[-1]}.{name}").write_bytes(members[name])
    return endless(lambda: DataLoader(LooseFiles(loose, keys), batch_size=BATCH, shuffle=True))


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules for what MosaicML Streaming imports on behalf of datasets that are not used here."""

    PACKAGES = ("torchvision", "transformers")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in self.PACKAGES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = self.anything  # type: ignore[method-assign]
        return module

    @staticmethod
    def anything(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

    def exec_module(self, module: ModuleType) -> None:
        pass


def mosaic(manifest: Manifest, folder: Path, place: Path) -> Iterator[Any] | str:
    """MosaicML Streaming with its jpeg columns, or why it cannot be measured."""
    finder = StandIns()
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        sys.meta_path.append(finder)
    try:
        from streaming import MDSWriter, StreamingDataset
    except ImportError as error:
        return f"not installed: {error}"
    columns = {"json": "bytes", **{side: "bytes" for side in SIDES}}
    with MDSWriter(out=str(place), columns=columns) as writer:
        for shard in manifest.shards:
            for members in iter_shard(folder / shard.name):
                writer.write({"json": members["json"], **{side: members[f"{side}.jpg"] for side in SIDES}})

    class Pairs(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, number: Any) -> Any:
            sample = super().__getitem__(number)
            json.loads(sample["json"])
            return tuple(torch.from_numpy(np.array(Image.open(io.BytesIO(sample[side])))) for side in SIDES)

    data = Pairs(local=str(place), shuffle=True, batch_size=BATCH)
    return endless(lambda: DataLoader(data, batch_size=BATCH))


def reader_of(name: str, shards: Path, place: Path) -> Iterator[Any] | str:
    """The endless batches of a competitor, or why it cannot be measured."""
    store = Store(shards)
    manifest = store.manifest()
    if name.startswith("likeness"):
        return ours(manifest, store, **OURS[name])
    other = {
        "libjpeg-turbo alone": lambda: decoding(manifest, shards),
        "webdataset, rgb8": lambda: plain_webdataset(manifest, shards),
        "loose files, DataLoader, Pillow": lambda: loose_files(manifest, shards, place / "loose"),
        "MosaicML Streaming, Pillow": lambda: mosaic(manifest, shards, place / "mosaic"),
    }
    return other[name]()


OURS: dict[str, dict[str, Any]] = {
    "likeness": {},
    "likeness, half of the pairs mirrored": {"flip": True},
    "likeness, with the target's label": {"labels": ("target",)},
    "likeness, reading without decoding": {"photos": ()},
}
NAMES = (
    "libjpeg-turbo alone",
    *OURS,
    "webdataset, rgb8",
    "loose files, DataLoader, Pillow",
    "MosaicML Streaming, Pillow",
)


def compete(turns: Connection, name: str, shards: Path, place: Path) -> None:
    """A competitor's own process: one round whenever it is its turn, so that none sees what others do to memory."""
    torch.set_num_threads(1)
    batches = reader_of(name, shards, place)
    if isinstance(batches, str):
        turns.send(batches)
        return
    for _ in range(EPOCH // ROUND):
        # One epoch first: checksums are compared when a shard is read for the first time.
        cpu_seconds(batches)
    turns.send("ready")
    while turns.recv():
        turns.send(cpu_seconds(batches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, help="shards of JPEG photos; without them, faces are drawn and packed")
    parser.add_argument("--runs", type=count, default=9, help="turns of each")
    options = parser.parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shards = options.shards
        if shards is None:
            film("faces", place / "videos", videos=40, seconds=2, size=256, seed=3)
            packing = Packing(place / "videos", preset("default"), pairs=EPOCH, size=256, samples_per_shard=256)
            shards = place / "shards"
            pack(packing, shards)
        rows, absent = measured(shards, place, options.runs)
        table = {
            key: {
                "pairs_per_s": round(ROUND / statistics.median(row[key] for row in rows)),
                "of_the_limit": round(statistics.median(row["libjpeg-turbo alone"] / row[key] for row in rows), 2),
            }
            for key in rows[0]
        }
        with open_shards(shards) as (manifest, store):
            first = [_first_epoch(shards, manifest) for _ in range(3)]
            scaling = {str(workers): round(_workers(manifest, store, workers)) for workers in (1, 2)}
        members = [m for m in iter_shard(shards / manifest.shards[0].name)]
    figures = {
        "pairs_per_cpu_second": table,
        "not_measured": absent,
        "first_epoch_with_checksums_pairs_per_s": round(statistics.median(first)),
        "wall_pairs_per_s_by_loader_workers": scaling,
        "size": [manifest.schema.width, manifest.schema.height],
        "bytes_per_pair": round(statistics.mean(sum(len(m[f"{side}.jpg"]) for side in SIDES) for m in members)),
        "batch": BATCH,
        "runs": options.runs,
        "hardware": device("cpu"),
        "versions": {**{name: _version(name) for name in PACKAGES}, "python": platform.python_version()},
    }
    json.dump(figures, sys.stdout, indent=1, ensure_ascii=False)
    print()


def measured(shards: Path, place: Path, runs: int) -> tuple[list[dict[str, float]], dict[str, str]]:
    """Per turn the seconds of each competitor; and those that cannot be measured, with the reason."""
    for folder in ("loose", "mosaic"):
        (place / folder).mkdir()
    spawn = get_context("spawn")
    lanes, absent = {}, {}
    for name in NAMES:
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=compete, args=(theirs, name, shards, place), daemon=True)
        process.start()
        said = mine.recv()
        if said == "ready":
            lanes[name] = mine
        else:
            absent[name] = said
    rows = []
    for _ in range(runs):
        row = {}
        for name, lane in lanes.items():
            lane.send(True)
            row[name] = lane.recv()
        rows.append(row)
    for lane in lanes.values():
        lane.send(False)
    return rows, absent


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _first_epoch(shards: Path, manifest: Manifest) -> float:
    """Pairs per CPU second of a reader that has seen none of the shards before."""
    with open_shards(shards) as (_, store):
        started = time.process_time()
        for _ in Stream(manifest, store, Reading(SIDES, (), BATCH, epochs=1)):
            pass
        return manifest.samples / (time.process_time() - started)


def _workers(manifest: Manifest, store: Store, workers: int) -> float:
    """Pairs per second of wall clock that arrive from loader processes; the best of three, after a warm-up."""
    batches = ours(manifest, store, workers=workers)
    wall_seconds(batches, ROUND)
    return max(2 * ROUND / wall_seconds(batches, 2 * ROUND) for _ in range(3))


if __name__ == "__main__":
    main()
