"""Slices of a job array joined to one folder of shards: the bytes that a single run would have written."""

import re
import shutil
import sys
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

    slices: their folders; None looks beside `out`. What packing kept beside `out` is removed, too. A slice's folder in
    which somebody else's files lie stays with these, which is said on stderr.

    Raises BadInput when `out` exists or lies in a slice, slices are missing, damaged, hold shards of one name, or were
    not packed from the same plan.
    """
    slices = find_slices(out) if slices is None else list(slices)
    for path in slices:
        if path.resolve() in (out.resolve(), *out.resolve().parents):
            raise BadInput(f"--out {out} lies in {path}, which goes when its shards are joined; choose another --out")
    parts = [load_manifest(path) for path in slices]
    _check(slices, [manifest for manifest, _ in parts])
    for manifest, folder in parts:
        for shard in manifest.shards:
            check_shard(folder, shard)
    _check_names(slices, [manifest for manifest, _ in parts])
    shards = tuple(sorted((shard for manifest, _ in parts for shard in manifest.shards), key=lambda shard: shard.name))
    whole = replace(parts[0][0], shards=shards, slice=None)
    with new_folder(out) as folder:
        for manifest, place in parts:
            for shard in manifest.shards:
                link_or_copy(place / shard.name, folder / shard.name)
        if (parts[0][1] / FILE).is_file():
            shutil.copyfile(parts[0][1] / FILE, folder / FILE)
        whole.save(folder)
    for manifest, folder in parts:
        _remove(folder, manifest)
    shutil.rmtree(work_folder(out), ignore_errors=True)
    return whole


def _check_names(slices: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    where: dict[str, Path] = {}
    for path, manifest in zip(slices, manifests, strict=True):
        for shard in manifest.shards:
            if shard.name in where:
                raise BadInput(
                    f"{where[shard.name]} and {path} both hold {shard.name}; pack one of them again with the same "
                    "options"
                )
            where[shard.name] = path


def _remove(folder: Path, manifest: Manifest) -> None:
    """Removes what packing wrote into a slice's folder, and the folder unless it holds something else."""
    # The manifest first: a folder that is half removed is no slice.
    for name in ("manifest.json", FILE, *(shard.name for shard in manifest.shards)):
        (folder / name).unlink(missing_ok=True)
    if others := sorted(path.name for path in folder.iterdir()):
        print(f"note: {folder} stays: pack did not write {', '.join(others[:3])}", file=sys.stderr)
    else:
        folder.rmdir()


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
