"""What `trace` prints."""

import json
from pathlib import Path

import pytest

from shards.__main__ import main
from shards.packing.write import pack
from tests.shards.packing.small_shards import packing


@pytest.mark.parametrize("world_size", [1, 3])
def test_trace_prints_what_the_ranks_read(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], world_size: int
) -> None:
    pack(packing(videos), tmp_path / "s")
    capsys.readouterr()
    command = ["trace", "--data", str(tmp_path / "s" / "manifest.json"), "--world-size", str(world_size), "--json"]
    command += ["--workers", "2", "--batch", "4", "--epoch", "1"]
    seen: list[str] = []
    for rank in range(world_size):
        assert main([*command, "--rank", str(rank)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert len(told["batches"]) == -(-41 // (4 * world_size))
        for keys, padding in zip(told["batches"], told["padding"], strict=True):
            seen += keys[: len(keys) - padding]
        assert main([*command, "--rank", str(rank), "--start", "2"]) == 0
        assert json.loads(capsys.readouterr().out)["batches"] == told["batches"][2:]
    assert sorted(seen) == [f"{number:08d}" for number in range(41)]
    assert main(["trace", "--data", str(tmp_path / "s"), "--rank", "1"]) == 2
    assert "--rank 1 is not below --world-size 1" in capsys.readouterr().err
