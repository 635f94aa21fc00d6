"""Held-out figures: what a copy, a constant and real pictures get, and the same on any number of ranks."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.command import BadInput
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.reading.store import Store
from shards.reading.stream import open_shards
from shards.records import Manifest
from shards.worlds.film import film
from trainer.batches import photo_channels
from trainer.held_out import HeldOut
from trainer.method import Batch
from trainer.perceptual import load_vgg19

CPU = torch.device("cpu")
INPUTS = ("label", "exemplar_label", "exemplar")


def copy(batch: Batch) -> Tensor:
    """Paints the exemplar."""
    return batch.exemplar


def white(batch: Batch) -> Tensor:
    return torch.ones_like(batch.exemplar)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manifest, Store]]:
    """21 pairs, of which some share a style and some do not."""
    folder = tmp_path_factory.mktemp("mixed")
    film("faces", folder / "videos", videos=4, seconds=1, size=64, seed=4)
    sampling = replace(preset("default"), same_style_rate=0.5)
    pack(Packing(folder / "videos", sampling, pairs=21, size=32, samples_per_shard=8), folder / "train", None)
    with open_shards(folder / "train") as opened:
        yield opened


def by_hand(held_out: HeldOut) -> tuple[list[float], list[float], list[bool]]:
    """Mean |exemplar - target| and same-style flags, from the pictures themselves."""
    distances, whites, flags = [], [], []
    for loaded, count in held_out.batches():
        for row in range(count):
            target, exemplar = (
                photo_channels(loaded.photos[side][row : row + 1]).numpy() for side in ("target", "exemplar")
            )
            distances.append(float(np.abs(target - exemplar).mean()))
            whites.append(float(np.abs(target - 1).mean()))
            flags.append(bool(loaded.same_style[row]))
    return distances, whites, flags


def test_a_copy_of_the_exemplar_is_recognised(mixed: tuple[Manifest, Store]) -> None:
    held_out = HeldOut(*mixed, 21, INPUTS)
    figures = held_out.measure(copy, None, lambda tensor: tensor, CPU)
    assert figures is not None
    distances, whites, flags = by_hand(held_out)
    assert len(flags) == 21 and 3 < sum(flags) < 18
    assert figures["held_out/exemplar_copy"] == 1
    same = [distance for distance, flag in zip(distances, flags, strict=True) if flag]
    assert figures["held_out/l1"] == pytest.approx(np.mean(same), rel=1e-5)
    assert "held_out/semantic" not in figures, "it needs the loss network"
    blank = held_out.measure(white, load_vgg19("random:0", 16, resize_below=0), lambda tensor: tensor, CPU)
    assert blank is not None
    assert blank["held_out/l1"] == pytest.approx(
        np.mean([value for value, flag in zip(whites, flags, strict=True) if flag]), rel=1e-5
    )
    assert blank["held_out/saturated"] > 0.9 > 0.1 > figures["held_out/saturated"]
    assert blank["held_out/semantic"] > 0


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_pairs_and_agree(mixed: tuple[Manifest, Store], ranks: int) -> None:
    perceptual = load_vgg19("random:0", 16, resize_below=0)
    alone = HeldOut(*mixed, 13, INPUTS).measure(copy, perceptual, lambda tensor: tensor, CPU)
    shares: list[list[Tensor]] = []
    for rank in range(ranks):
        seen: list[Tensor] = []
        held_out = HeldOut(*mixed, 13, INPUTS, rank, ranks)
        held_out.measure(copy, perceptual, lambda tensor, seen=seen: seen.append(tensor) or tensor, CPU)
        shares.append(seen)
    sums, counts = (torch.stack([share[which] for share in shares]).sum(0) for which in (0, 1))
    assert counts[0] == 13
    assert alone is not None
    assert (sums / counts).tolist() == pytest.approx(list(alone.values()), rel=1e-6)


def test_a_broken_sample_is_stood_in_for_in_training_only(mixed: tuple[Manifest, Store], tmp_path: Path) -> None:
    manifest, store = mixed
    folder = tmp_path / "broken"
    shutil.copytree(store.where, folder)
    shard = folder / manifest.shards[1].name
    shard.write_bytes(shard.read_bytes()[:-20_000] + bytes(20_000))
    with open_shards(folder) as opened:
        tolerant = HeldOut(*opened, 21, INPUTS, max_bad=1.0)
        figures = tolerant.measure(copy, None, lambda tensor: tensor, CPU)
        assert figures is not None and figures["held_out/exemplar_copy"] == 1
        with pytest.raises(BadInput, match=manifest.shards[1].name):
            HeldOut(*opened, 21, INPUTS).measure(copy, None, lambda tensor: tensor, CPU)


def test_it_stops_between_batches_when_asked(mixed: tuple[Manifest, Store]) -> None:
    asked: list[int] = []

    def go_on() -> bool:
        asked.append(1)
        return len(asked) < 2

    assert HeldOut(*mixed, 21, INPUTS).measure(copy, None, lambda tensor: tensor, CPU, go_on) is None
    assert len(asked) == 2
