"""Proves that shards are what their manifest says."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from likeness.command import BadInput
from shards.labels.kinds import kind_of
from shards.reading.samples import (
    INSTANCES,
    KEY,
    PICTURE_FORMATS,
    SHARD,
    Members,
    check_shards,
    decode,
    iter_samples,
    place,
)
from shards.records import LABELLED_SIDES, Manifest, Pair, load_manifest

_AGAIN = "pack the shards again"


@dataclass(frozen=True)
class Report:
    """What was checked."""

    shards: int
    """How many tar files."""
    samples: int
    """How many samples."""
    bytes: int
    """Of all shards."""
    same_style_rate: float
    """The share of pairs of one style."""
    styles: int
    """How many styles there are."""


def verify(path: Path) -> Report:
    """Recomputes size and SHA-256 of every shard, then decodes and checks every sample.

    Checked: the set of members, picture sizes, label ids, instance maps, landmarks or keypoints, `s`, the styles of
    `consistent` and `inconsistent`, that `consistent` is not the exemplar, that keys are unique, that every source
    belongs to the manifest's split, and (by `load_manifest`) that train and test share no source.

    Raises BadInput at the first violation, naming shard, key, member, value and remedy.
    """
    manifest, folder = load_manifest(path)
    check_shards(folder, manifest)
    sources = set(manifest.sources.get(manifest.split, ()))
    keys: set[bytes] = set()
    styles: set[str] = set()
    same_style = 0
    samples = iter_samples(folder, manifest)
    for _, members in tqdm(samples, total=manifest.samples, desc="verifying", unit="sample"):
        if members[KEY] in keys:
            raise BadInput(f"{members[SHARD].decode()} holds the key {members[KEY].decode()} again; {_AGAIN}")
        keys.add(members[KEY])
        _check_members(members, manifest)
        # A sketch or a pose can be drawn from any points; only label pictures can hold something wrong.
        drawn = LABELLED_SIDES if kind_of(manifest.schema).png(manifest.schema) else ()
        pair = decode(members, manifest.schema, manifest.sides, drawn, manifest.instances).pair
        _check_pair(members, pair, manifest, sources)
        same_style += pair.same_style
        styles |= {frame.style for frame in pair.frames.values()}
    return Report(
        len(manifest.shards),
        manifest.samples,
        sum(shard.bytes for shard in manifest.shards),
        same_style / max(1, manifest.samples),
        len(styles),
    )


def _check_members(members: Members, manifest: Manifest) -> None:
    schema = manifest.schema
    expected = {"json", INSTANCES} if manifest.instances else {"json"}
    for side in manifest.sides:
        present = [f"{side}.{extension}" for extension in PICTURE_FORMATS if f"{side}.{extension}" in members]
        if len(present) > 1:
            raise BadInput(f"{place(members, present[1])} stands beside {present[0]}; {_AGAIN}")
        expected.add(present[0] if present else f"{side}.jpg")
        if kind_of(schema).png(schema) and side in LABELLED_SIDES:
            expected.add(f"{side}.label.png")
    found = set(members) - {KEY, SHARD}
    for name in sorted(expected - found):
        raise BadInput(f"{place(members, name)} is missing; {_AGAIN}")
    for name in sorted(found - expected):
        kind = f"kind {schema.kind!r}" + (" without instance maps" if name == INSTANCES else "")
        raise BadInput(f"{place(members, name)} does not belong in a sample of {kind}; {_AGAIN}")


def _check_pair(members: Members, pair: Pair, manifest: Manifest, sources: Collection[str]) -> None:
    where = place(members, "json")
    flag = json.loads(members["json"]).get("s")
    by_style = manifest.sampling.get("pairing", "style") == "style"
    if by_style and flag != int(pair.target.style == pair.exemplar.style):
        raise BadInput(
            f"{where} says s = {flag!r}, but target has style {pair.target.style!r} and exemplar "
            f"{pair.exemplar.style!r}; {_AGAIN}"
        )
    if pair.key.encode() != members[KEY]:
        raise BadInput(f"{where} says key {pair.key!r}; {_AGAIN}")
    for side, frame in pair.frames.items():
        if frame.source not in sources:
            raise BadInput(
                f"{where}: {side} comes from {frame.source}, which is no {manifest.split} source of the manifest; "
                f"{_AGAIN}"
            )
        if side not in LABELLED_SIDES:
            continue
        points = kind_of(manifest.schema).points
        if points is not None and (count := len(getattr(frame, points.member) or ())) != points.count:
            raise BadInput(f"{where}: {side} has {count} label points instead of {points.count}; {_AGAIN}")
    exemplar = pair.exemplar
    if (pair.consistent.source, pair.consistent.number) == (exemplar.source, exemplar.number):
        raise BadInput(
            f"{where}: consistent is the exemplar itself, {exemplar.source} frame {exemplar.number}; {_AGAIN}"
        )
    if not by_style:
        return
    if pair.consistent.style != exemplar.style:
        raise BadInput(f"{where}: consistent has style {pair.consistent.style!r}, not {exemplar.style!r}; {_AGAIN}")
    if pair.inconsistent is not None and pair.inconsistent.style == exemplar.style:
        raise BadInput(f"{where}: inconsistent has the exemplar's style {exemplar.style!r}; {_AGAIN}")
