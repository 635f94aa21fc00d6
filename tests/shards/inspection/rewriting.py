"""Shards that are changed after they were written."""

import tarfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2

from likeness.array import Array
from likeness.checksums import sha256_of
from shards.reading.samples import (
    KEY,
    Members,
    iter_shard,
)
from shards.records import load_manifest


def rewrite(folder: Path, change: Callable[[Members], Members | None], position: int = 12) -> str:
    """Changes the sample at a position, mends the manifest's sizes and checksums, and returns the sample's key.

    `change` gets the members; returning None leaves the sample out.
    """
    manifest, _ = load_manifest(folder)
    shards, key, seen = [], "", 0
    for shard in manifest.shards:
        path = folder / shard.name
        records = list(iter_shard(path))
        with tarfile.open(path, "w") as tar:
            for members in records:
                if seen == position:
                    key = members[KEY].decode()
                    members = change(dict(members)) or {}
                seen += 1
                for name, content in members.items():
                    if not name.startswith("__"):
                        info = tarfile.TarInfo(f"{members[KEY].decode()}.{name}")
                        info.size = len(content)
                        tar.addfile(info, BytesIO(content))
        shards.append(replace(shard, bytes=path.stat().st_size, sha256=sha256_of(path)))
    replace(manifest, shards=tuple(shards)).save(folder)
    return key


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: {extension: content for extension, content in members.items() if extension != name}


def png(array: Array) -> bytes:
    return bytes(cv2.imencode(".png", array)[1].tobytes())
