"""What `inspect` shows of shards."""

from pathlib import Path

import cv2
import numpy as np

from shards import labels
from shards.inspection.sheet import contact_sheet, overview
from shards.reading.samples import (
    decode,
    iter_samples,
)
from tests.shards.packing.small_shards import HEIGHT, WIDTH, packed


def test_the_contact_sheet_shows_the_photos(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s", "classes", "png")
    contact_sheet(tmp_path / "s", tmp_path / "sheet.png", rows=23)
    drawn = cv2.imread(str(tmp_path / "sheet.png"))
    assert drawn is not None
    sheet = drawn[..., ::-1]
    for position, (_, members) in enumerate(iter_samples(tmp_path / "s", manifest)):
        sample = decode(members, manifest.schema)
        height, width = HEIGHT * 4, WIDTH * 4
        top = 30 + position * (height + 26)
        shown = [sheet[top : top + height : 4, 34 + n * (width + 6) :][:, :width:4] for n in range(7)]
        assert np.array_equal(shown[0], labels.picture(manifest.schema, sample.labels["target"]))
        assert np.array_equal(shown[3], labels.picture(manifest.schema, sample.labels["exemplar"]))
        both = (shown[0].astype(int) + shown[1]) / 2
        assert np.abs(shown[2] - both).mean() < 60, "label over photo"
        for place, side in ((1, "target"), (4, "exemplar"), (5, "consistent"), (6, "inconsistent")):
            assert np.array_equal(shown[place], sample.photos[side])


def test_the_overview_counts_what_is_there(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s")
    pairs = [decode(members, manifest.schema, (), ()).pair for _, members in iter_samples(tmp_path / "s", manifest)]
    seen = overview(tmp_path / "s")
    assert seen.same_style == sum(pair.same_style for pair in pairs)
    assert seen.styles == 3
    assert "23" in seen.table() and "sketch, 15 channels" in seen.table()
