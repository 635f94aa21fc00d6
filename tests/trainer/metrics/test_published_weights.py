"""Published weights: known by the hash in their name, fetched once, and nothing else passes for them."""

import shutil
from pathlib import Path

import pytest
import torch

from likeness.checksums import sha256_of
from likeness.command import BadInput
from trainer.metrics.published_weights import published_file


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A published file: its name carries the first eight digits of its SHA-256."""
    torch.save({"weight": torch.arange(3.0)}, tmp_path / "made.pth")
    (tmp_path / "site").mkdir()
    return (tmp_path / "made.pth").rename(tmp_path / "site" / f"net-{sha256_of(tmp_path / 'made.pth')[:8]}.pth")


def test_a_path_under_any_name(source: Path, tmp_path: Path) -> None:
    shutil.copy(source, tmp_path / "mine.pth")
    assert published_file(str(tmp_path / "mine.pth"), source.as_uri()) == tmp_path / "mine.pth"


def test_another_file_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(source.read_bytes() + b"x")
    with pytest.raises(BadInput, match=rf"mine\.pth is not the published file {source.name}"):
        published_file(str(tmp_path / "mine.pth"), source.as_uri())
    with pytest.raises(BadInput, match=r"no weights at .*none\.pth; fetch file:"):
        published_file(str(tmp_path / "none.pth"), source.as_uri())


def test_download_fetches_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    url = source.as_uri()
    fetched = published_file("download", url)
    assert fetched.is_relative_to(tmp_path / "home")
    assert fetched.read_bytes() == source.read_bytes()
    source.unlink()
    assert published_file("download", url) == fetched
    fetched.unlink()
    with pytest.raises(BadInput, match="cannot fetch file:"):
        published_file("download", url)


def test_a_download_that_is_another_file_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    source.write_bytes(b"a login page")
    with pytest.raises(BadInput, match="invalid hash"):
        published_file("download", source.as_uri())
    assert not list((tmp_path / "home").rglob("*.pth")), "no broken file stays behind"
