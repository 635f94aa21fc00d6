"""What `doctor` warns of."""

from pathlib import Path

import pytest

from shards.__main__ import main
from shards.packing.write import pack
from tests.shards.packing.small_shards import packing


def test_the_doctor_says_what_would_go_wrong(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(packing(videos), tmp_path / "s", tmp_path / "t")
    data = ["doctor", "--data", str(tmp_path / "s"), "--test", str(tmp_path / "t")]
    assert main([*data, "--world-size", "2", "--batch", "4"]) == 0
    said = capsys.readouterr().out
    assert "2 ranks × 2 workers × batch 4: 6 batches per rank and epoch, 7 repeated" in said
    assert "nothing would go wrong" in said and len(said.splitlines()) < 20

    options = ["--batch", "8", "--world-size", "8", "--workers", "1", "--remainder", "drop"]
    assert main([*data[:3], *options, "--run", str(tmp_path / "run" / "one")]) == 2
    said = capsys.readouterr().out
    assert "wrong  41 samples are less than one batch of 8 on each of 8 ranks" in said
    assert "1 would go wrong" in said
    assert f"{tmp_path / 'run' / 'one'} has" in said and "GB for checkpoints" in said

    shard = tmp_path / "s" / "pairs-000002.tar"
    shard.write_bytes(shard.read_bytes()[:2000])
    assert main(data) == 2
    assert "pairs-000002.tar has 2000 bytes" in capsys.readouterr().out
    assert main(["doctor"]) == 2
    capsys.readouterr()
    assert main(["doctor", "--config", "face.yaml", "few.yaml", "--world-size", "8"]) == 2
    assert "run `python -m trainer.doctor --config face.yaml few.yaml`" in capsys.readouterr().err
