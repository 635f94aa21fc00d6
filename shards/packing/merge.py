"""Slices of a job array joined to one folder of shards: the bytes that a single run would have written."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from likeness.atomic import new_folder
from likeness.command import BadInput
from likeness.disk import link_or_copy
from shards.packing.quarantine import FILE
from shards.packing.write import part_folder, work_folder
from shards.reading.samples import check_shard
from shards.records import Manifest, load_manifest

_PART = re.compile(r"-slice-(\d{4,})-of-(\d{4,})$")


def find_slices(out: Path) -> list[Path]:
    """The slices of `out` that lie beside it, in order. Raises BadInput when there are none or some are missing."""
    matches = {path: _PART.search(path.name) for path in sorted(out.parent.glob(f"{out.name}-slice-*-of-*"))}
    slices = {path: (int(match[1]), int(match[2])) for path, match in matches.items() if match}
    if not slices:
        raise BadInput(f"no slices of {out} lie beside it; write them with `pack --out {out} --slice 0/8` and so on")
    counts = sorted({count for _, count in slices.values()})
    if len(counts) > 1:
        raise BadInput(f"slices of {out} are of {' and of '.join(map(str, counts))}; remove the ones of one kind")
    missing = [number for number in range(counts[0]) if number not in {n for n, _ in slices.values()}]
    if missing:
        first = part_folder(out, (missing[0], counts[0]))
        raise BadInput(f"{first} is missing ({len(missing)} of {counts[0]} slices are); run that slice first")
    return sorted(slices)


def merge(out: Path, slices: Sequence[Path] | None = None) -> Manifest:
    """Moves the shards of all slices into `out` and writes the manifest of all; the slices are gone afterwards.

    slices: their folders; None looks beside `out`. What packing kept beside `out` is removed, too.

    Raises BadInput when `out` exists, slices are missing, damaged, or were not packed from the same plan.
    """
    slices = find_slices(out) if slices is None else list(slices)
    parts = [load_manifest(path) for path in slices]
    _check(slices, [manifest for manifest, _ in parts])
    for manifest, folder in parts:
        for shard in manifest.shards:
            check_shard(folder, shard)
    shards = tuple(sorted((shard for manifest, _ in parts for shard in manifest.shards), key=lambda shard: shard.name))
    whole = replace(parts[0][0], shards=shards, slice=None)
    with new_folder(out) as folder:
        for manifest, place in parts:
            for shard in manifest.shards:
                link_or_copy(place / shard.name, folder / shard.name)
        if (parts[0][1] / FILE).is_file():
            shutil.copyfile(parts[0][1] / FILE, folder / FILE)
        whole.save(folder)
    for path in slices:
        shutil.rmtree(path)
    shutil.rmtree(work_folder(out), ignore_errors=True)
    return whole


def _check(slices: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    first = replace(manifests[0], shards=(), slice=None)
    for path, manifest in zip(slices, manifests, strict=True):
        if manifest.slice is None:
            raise BadInput(f"{path} is no slice; merge takes what `pack --slice` wrote")
        if replace(manifest, shards=(), slice=None) != first:
            raise BadInput(f"{path} was packed from another plan than {slices[0]}; pack it again with the same options")
    numbers = [manifest.slice[0] for manifest in manifests if manifest.slice]
    counts = {manifest.slice[1] for manifest in manifests if manifest.slice}
    if len(counts) != 1 or sorted(numbers) != list(range(next(iter(counts)))):
        raise BadInput(
            f"slices {', '.join(map(str, sorted(numbers)))} of {', '.join(map(str, sorted(counts)))} are not each one "
            "exactly once; name all of them"
        )
