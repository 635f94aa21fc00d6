"""What a packing will come to, before it is begun: files, frames, pairs, shards and bytes."""

import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from likeness.command import BadInput
from likeness.disk import nearest_existing
from shards.media.video import timing
from shards.operators.photos import labelled_photos
from shards.packing.photo_cache import encode_photo
from shards.packing.plan import SPLITS, Plan
from shards.records import LABELLED_SIDES, SIDES, Split
from shards.sources.dataset import Item

TRIED = 3
"""Files that are opened for the size of a photo; TRIED_FRAMES of each."""
TRIED_FRAMES = 4
PHOTOS_OVERHEAD = 3000
"""Bytes of a photo's entry in the cache, and of a pair's json and tar headers, give or take."""
HEADERS = 512 * 9


@dataclass(frozen=True)
class Estimate:
    """What a packing would come to."""

    sources: dict[Split, int]
    """Sources of each split."""
    frames: dict[Split, int]
    """Frames at most, per split."""
    pairs: dict[Split, int]
    """Pairs per split."""
    shards: dict[Split, int]
    """Shards per split."""
    bytes: int
    """Of all shards."""
    work_bytes: int
    """Of what is kept meanwhile, beside the shards."""
    free_bytes: int
    """What the disk has free."""

    def table(self) -> str:
        """The estimate as aligned lines."""
        lines = [f"{'split':<8}{'sources':>10}{'frames ≤':>10}{'pairs':>12}{'shards':>8}"]
        for split in self.sources:
            lines.append(
                f"{split:<8}{self.sources[split]:>10,}{self.frames[split]:>10,}{self.pairs[split]:>12,}"
                f"{self.shards[split]:>8,}"
            )
        lines.append(
            f"shards about {self.bytes / 1e6:,.1f} MB, meanwhile {self.work_bytes / 1e6:,.1f} MB more; "
            f"{self.free_bytes / 1e9:,.1f} GB are free"
        )
        return "\n".join(lines)


def estimate(plan: Plan, out: Path, held_out: bool) -> Estimate:
    """Estimates a packing from the headers of its files and a few decoded photos.

    Frames are an upper bound: faces that are not found and frames without a partner come off it.

    Raises BadInput when none of the files that were tried can be labelled, or the disk is too small.
    """
    items = {item.source: item for unit in plan.units for item in unit.items}
    photo_bytes, label_bytes, instance_bytes = _sizes(plan, list(items.values()))
    packing, sampling = plan.packing, plan.sampling
    splits = SPLITS if held_out else SPLITS[:1]
    frames = {
        split: sum(_frames(items[source], plan.preprocessing.labelling.every) for source in plan.sources[split])
        // (2 if packing.halves and held_out else 1)
        for split in splits
    }
    pairs = {
        split: packing.test_pairs if split == "test" else packing.pairs or sampling.repeat * frames[split]
        for split in splits
    }
    sample = len(SIDES) * photo_bytes + len(LABELLED_SIDES) * label_bytes + instance_bytes + HEADERS + PHOTOS_OVERHEAD
    total = sum(pairs.values()) * sample
    photos = sum(frames.values())
    parent = nearest_existing(out.resolve().parent)
    result = Estimate(
        {split: len(plan.sources[split]) for split in splits},
        frames,
        pairs,
        {split: -(-pairs[split] // packing.samples_per_shard) for split in splits},
        total,
        photos * (photo_bytes + label_bytes + instance_bytes + PHOTOS_OVERHEAD),
        shutil.disk_usage(parent).free,
    )
    if result.bytes + result.work_bytes > result.free_bytes:
        raise BadInput(
            f"{parent} has {result.free_bytes / 1e9:,.1f} GB free, but packing takes about "
            f"{(result.bytes + result.work_bytes) / 1e9:,.1f} GB; choose another --out, or fewer --pairs"
        )
    return result


def _frames(item: Item, every: int) -> int:
    """Frames of a file by its header, those kept."""
    if item.still:
        return 1
    try:
        times = timing(item.path)
    except OSError:
        return 0
    return -(-round(times.seconds * times.fps) // every)


def _sizes(plan: Plan, items: list[Item]) -> tuple[int, int, int]:
    """Mean bytes of a photo, of a label picture and of an instance map, from a few files spread over the list."""
    extensions = (plan.preprocessing.picture_format, "label.png", "instances.png")
    tried, reason = [], "none were tried"
    for item in items[:: max(1, len(items) // TRIED)][: 2 * TRIED]:
        try:
            for photo in islice(labelled_photos(item, plan.preprocessing.labelling), TRIED_FRAMES):
                contents = encode_photo(photo, plan.preprocessing)
                tried.append([len(contents.get(extension, b"")) for extension in extensions])
        except BadInput as error:
            reason = str(error)
    if not tried:
        raise BadInput(f"none of the files that were tried can be used: {reason}")
    photo, label, instances = (sum(sizes) // len(tried) for sizes in zip(*tried, strict=True))
    return photo, label, instances
