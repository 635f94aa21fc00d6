"""Small videos for the tests of packing and inspection."""

from pathlib import Path

import pytest

from shards.worlds.film import film


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packing") / "videos"
    film("faces", folder, videos=8, seconds=1.5, size=64, seed=5)
    return folder
