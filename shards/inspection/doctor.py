"""What would go wrong in a long job, said in one screen before it is queued."""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg

from likeness import machine
from likeness.command import BadInput
from likeness.disk import nearest_existing
from shards.labels.kinds import kind_of
from shards.media.ffmpeg_program import VARIABLE, ffmpeg_in_use
from shards.media.pictures import decode_picture, encode_picture
from shards.media.video import decode as decode_video
from shards.media.video_writer import encode
from shards.reading.order import Remainder, batches_left
from shards.reading.samples import OpenShard, decode
from shards.reading.store import Store
from shards.reading.urls import is_url
from shards.reading.workers import AHEAD
from shards.records import LABELLED_SIDES, LabelSchema, Manifest

TRIED_SHARDS = 32
"""Shards of which a sample is decoded, spread over the list."""


@dataclass(frozen=True)
class Job:
    """The training job that is to be queued: its shards, and who reads them."""

    train: str
    """Folder or URL of the training shards."""
    test: str | None = None
    """Folder or URL of the held-out shards, if there are any."""
    world_size: int = 1
    """Ranks of the job."""
    ranks_here: int | None = None
    """Those of them on a machine like this one; None for all."""
    workers: int = 2
    """Loader workers of each rank."""
    batch: int = 1
    """Samples per batch and rank."""
    remainder: Remainder = "pad"
    """What becomes of an epoch's last samples, as in `shards.reading.stream.Reading`."""
    run: Path | None = None
    """The folder that checkpoints will go to, if their room is to be judged here."""
    cache: Path | None = None
    """Where shards of a URL will be kept; without it, a few of them in a temporary folder."""
    expected: tuple[str, int, int] | None = None
    """Kind of label, height and width that the job asks for, to be compared with the shards'."""


@dataclass(frozen=True)
class Finding:
    """One line of the screen."""

    state: Literal["ok", "note", "wrong"]
    """`note` is slower or odd, but runs; `wrong` would end the job."""
    text: str
    """What was looked at and found, for people."""


def examine(job: Job) -> Iterator[Finding]:
    """Findings, in the order in which they matter. Reads the manifests and a few samples; changes nothing."""
    schemas: dict[str, LabelSchema] = {}
    manifests: dict[str, Manifest] = {}
    for name, location in (("train", job.train), ("test", job.test)):
        if location is None:
            yield Finding("note", "no held-out shards: sample grids and export gates will use the training shards")
            continue
        store = Store(location)
        try:
            manifest = store.manifest()
        except BadInput as error:
            yield Finding("wrong", f"{name}: {error}")
            continue
        manifests[name], schemas[name] = manifest, manifest.schema
        total = sum(shard.bytes for shard in manifest.shards)
        yield Finding(
            "ok", f"{name}: {manifest.samples:,} samples in {len(manifest.shards)} shards, {total / 1e9:,.2f} GB"
        )
        if manifest.slice is not None:
            yield Finding(
                "wrong", f"{name}: this is slice {manifest.slice[0]} of {manifest.slice[1]}; `python -m shards merge`"
            )
        yield from _samples(name, store, manifest)
    if len(schemas) == 2 and (difference := schemas["train"].difference(schemas["test"])):
        yield Finding("wrong", f"train and test have different label schemas: {difference}")
    if "train" in manifests:
        yield from _fits(job, manifests["train"].schema)
        yield from _arithmetic(job, manifests["train"])
        yield from _room(job, manifests)
    yield from _decoders()


def _samples(name: str, store: Store, manifest: Manifest) -> Iterator[Finding]:
    """Sizes of all local shards, and one sample of some of them decoded, label ids included."""
    tried = 0
    step = max(1, len(manifest.shards) // TRIED_SHARDS)
    with store.with_temporary_cache() as reachable:
        # A remote shard has to be fetched to be looked at: one tells whether the store can be reached.
        for number, shard in enumerate(manifest.shards[:1] if is_url(store.where) else manifest.shards):
            try:
                with OpenShard(reachable.open(shard, known=not is_url(store.where))) as opened:
                    if len(opened) != shard.samples:
                        raise BadInput(f"{shard.name} holds {len(opened)} samples, the manifest says {shard.samples}")
                    if number % step == 0:
                        members = opened.members(number % max(1, len(opened)))
                        decode(members, manifest.schema, instances=manifest.instances)
                        tried += 1
            except BadInput as error:
                yield Finding("wrong", f"{name}: {error}")
                return
    kind = kind_of(manifest.schema)
    drawn = "labels can be drawn" if kind.png(manifest.schema) is None else "label pictures are whole"
    labels = "label ids are in the schema" if kind.ids else drawn
    also = "; there are instance maps" if manifest.instances else ""
    yield Finding("ok", f"{name}: a sample of {tried} shards decoded, {labels} ({', '.join(LABELLED_SIDES)}){also}")


def _fits(job: Job, schema: LabelSchema) -> Iterator[Finding]:
    ours = (schema.kind, schema.height, schema.width)
    if job.expected is not None and job.expected != ours:
        yield Finding(
            "wrong",
            f"the config asks for label, height, width = {job.expected}, the shards have {ours}; set data.label, "
            "data.height and data.width",
        )


def _arithmetic(job: Job, manifest: Manifest) -> Iterator[Finding]:
    samples, wide = manifest.samples, job.batch * job.world_size
    batches = batches_left(samples, 0, wide, job.remainder)
    if not batches:
        yield Finding(
            "wrong",
            f"{samples} samples are less than one batch of {job.batch} on each of {job.world_size} ranks; take a "
            "smaller batch, pack more pairs, or set data.remainder pad",
        )
        return
    left = samples - batches * wide if job.remainder == "drop" else batches * wide - samples
    rest = f"{left} samples left out" if job.remainder == "drop" else f"{left} repeated to fill the last batch"
    yield Finding(
        "ok",
        f"{job.world_size} ranks × {job.workers} workers × batch {job.batch}: {batches:,} batches per rank and epoch, "
        f"{rest}",
    )
    if left > samples / 10:
        yield Finding("note", f"that is {left / samples:.0%} of an epoch; a smaller batch wastes less")
    if job.workers > batches:
        yield Finding("note", f"{job.workers} workers share {batches} batches per epoch; fewer do the same")
    cores = machine.cores()
    if job.workers > cores:
        yield Finding("note", f"{job.workers} workers per rank, but there are {cores} cores for them")


def _room(job: Job, manifests: dict[str, Manifest]) -> Iterator[Finding]:
    """Disk for run and cache, and memory for the batches that workers have ready."""
    schema = manifests["train"].schema
    label = math.prod(kind_of(schema).loaded_shape(schema))
    batch = job.batch * (4 * 3 * schema.height * schema.width + 2 * label)
    ranks = job.ranks_here or job.world_size
    # Those that are ready, and the one that is being made.
    ready = ranks * job.workers * (AHEAD + 1) * batch
    free_memory = machine.free_memory()
    if job.workers and free_memory is not None:
        yield Finding(
            "ok" if ready < free_memory else "wrong",
            f"{free_memory / 1e9:,.1f} GB of memory are free, {ready / 1e9:,.2f} GB for the batches that loader "
            f"workers have ready ({ranks} ranks here × {job.workers} workers × {AHEAD + 1} of {batch / 1e6:,.1f} MB)"
            + ("" if ready < free_memory else "; set data.workers or batch lower"),
        )
    checks: list[tuple[Path, int, str]] = []
    if job.run is not None:
        checks.append((job.run, 10 << 30, "checkpoints (10 GB is a guess)"))
    if is_url(job.train):
        whole = sum(shard.bytes for manifest in manifests.values() for shard in manifest.shards)
        checks.append((job.cache or Path("/tmp"), whole if job.cache else 2 << 30, "the cache of remote shards"))
    for path, needed, what in checks:
        free = shutil.disk_usage(nearest_existing(path)).free
        yield Finding(
            "ok" if free > needed else "wrong",
            f"{path} has {free / 1e9:,.1f} GB free, {needed / 1e9:,.2f} GB for {what}",
        )


def _decoders() -> Iterator[Finding]:
    picture = np.zeros((16, 16, 3), np.uint8)
    for name, tried in (
        (f"JPEG (simplejpeg {simplejpeg.__version__})", lambda: decode_picture(encode_picture(picture, "jpg"), "JPEG")),
        (f"PNG (OpenCV {cv2.__version__})", lambda: decode_picture(encode_picture(picture), "PNG")),
    ):
        yield _tried(name, tried)
    yield _video()


def _video() -> Finding:
    """A film of two frames, written and decoded: what ffmpeg says of itself is not enough."""
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        named = f", which {VARIABLE} names" if VARIABLE in os.environ else ""
        try:
            program = ffmpeg_in_use()
            encode(film, [np.zeros((16, 16, 3), np.uint8)] * 2, 8, 16, 16)
            frames = sum(1 for _ in decode_video(film))
        except (BadInput, OSError) as error:
            return Finding("wrong", f"video does not work here: {error}")
    state: Literal["ok", "wrong"] = "ok" if frames == 2 else "wrong"
    return Finding(state, f"video (ffmpeg {program.version} at {program.path}{named}) decodes {frames} of 2 frames")


def _tried(name: str, decoder: Callable[[], Any]) -> Finding:
    try:
        decoder()
    except (ValueError, RuntimeError, OSError, cv2.error) as error:
        return Finding("wrong", f"{name} does not work here: {error}")
    return Finding("ok", f"{name} decodes")
