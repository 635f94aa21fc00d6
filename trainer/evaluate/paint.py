"""Paints pairs with a checkpoint's generator, and again with the label maps of other pairs."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from likeness.array import Array
from likeness.command import BadInput
from shards.inputs import Expansion, Input, inputs_of, needs_of, optional_among
from shards.media.pictures import encode_picture
from shards.reading.samples import Sample
from shards.reading.stream import check_instances
from trainer.batches import label_channels, photo_channels
from trainer.checkpoints.synthesis import Synthesis
from trainer.evaluate.judged_pairs import JudgedShards
from trainer.grid import picture

BATCH = 8
PICTURES, SWAPPED = "pictures", "swapped"
"""Folders: painted as asked; each with the label map of another pair."""


def check(synthesis: Synthesis, pairs: JudgedShards) -> None:
    """Raises BadInput when pairs do not hold all that the pictures are made of."""
    if difference := synthesis.schema.difference(pairs.schema):
        raise BadInput(f"{pairs.store.where} has another label schema than this checkpoint: {difference}")
    if drawn := sorted(optional_among(synthesis.inputs)):
        raise BadInput(
            f"{synthesis.method} paints from {drawn[0]}, which pairs do not hold; paint them with `python -m deploy "
            "batch` and judge the pictures with --pictures"
        )
    if needs_of(synthesis.inputs).instances:
        check_instances(pairs.manifest, pairs.store)


def slice_of(total: int, rank: int, ranks: int) -> range:
    """The numbers that a rank cares for: neighbours, and over all ranks every number exactly once.

    Whole batches, the same for any number of ranks: the last digits of a convolution depend on the batch.
    """
    batches = -(-total // BATCH)
    first, end = (min(total, BATCH * -(-batches * place // ranks)) for place in (rank, rank + 1))
    return range(first, end)


def paint(synthesis: Synthesis, pairs: JudgedShards, roll: int, out: Path, device: torch.device, mine: range) -> None:
    """Writes a PNG per pair of `mine` into both folders in `out`, named by the pair's key.

    roll: swapped label maps come from the pair so much further on, counted around the end of all pairs, as those of
    `python -m deploy batch --roll-labels`. Raises BadInput when a pair cannot be read.
    """
    for name in (PICTURES, SWAPPED):
        (out / name).mkdir(parents=True, exist_ok=True)
    starts = range(mine.start, mine.stop, BATCH)
    with ThreadPoolExecutor() as pool, torch.inference_mode():
        for start in tqdm(starts, "painting", disable=mine.start != 0, unit="batch"):
            numbers = range(start, min(start + BATCH, mine.stop))
            own = [pairs.sample(number) for number in numbers]
            others = [pairs.sample((number + roll) % pairs.total) for number in numbers]
            keys = [sample.pair.key for sample in own]
            for name, labels in ((PICTURES, own), (SWAPPED, others)):
                painted = _painted(synthesis, labels, own, device)
                list(pool.map(partial(write_picture, out / name), keys, painted))


def _painted(
    synthesis: Synthesis, labels: Sequence[Sample], exemplars: Sequence[Sample], device: torch.device
) -> Iterator[Array]:
    """The pictures of some label maps in the likeness of as many exemplars."""
    expansion = Expansion(
        photo=photo_channels,
        label=partial(label_channels, schema=synthesis.schema),
        numbers=lambda numbers: numbers.int(),
        values=lambda values: values,
    )

    def tensor(each: Input) -> Tensor:
        loaded = np.stack([each.of(sample) for sample in (labels if each.follows_label else exemplars)])
        expanded: Tensor = each.expand(torch.from_numpy(loaded).to(device), expansion)
        return expanded

    yield from map(picture, synthesis.module(*map(tensor, inputs_of(synthesis.inputs))))


def write_picture(folder: Path, key: str, picture: Array) -> None:
    """Writes uint8 (H, W, 3) RGB as the PNG of a pair's key."""
    (folder / f"{key}.png").write_bytes(encode_picture(picture))
