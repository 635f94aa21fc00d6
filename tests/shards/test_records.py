"""Manifests and records of wrong types and sizes are refused in one line, and so are judgements of other photos."""

import json
from pathlib import Path
from typing import Any

import pytest

from likeness.command import BadInput
from shards.packing.write import pack
from shards.records import Pair, parse_manifest
from shards.worlds.sidecar import sidecar_of, sidecar_path
from tests.shards.packing.small_shards import packed, packing

HUGE = 10**4000
"""Of more digits than anything here needs, and fewer than Python refuses to write."""
FRAME = {"source": "a.mp4", "number": 0, "seconds": 0.0, "style": "s", "landmarks": [[1, 2]] * 68}
PAIR: dict[str, Any] = {"key": "0", "s": 1} | dict.fromkeys(("target", "exemplar", "consistent", "inconsistent"), FRAME)


def put(data: Any, member: str, value: Any) -> str:
    """The JSON of `data` with another value at a place such as `shards.0.samples`."""
    changed = json.loads(json.dumps(data))
    *way, last = (int(part) if part.isdigit() else part for part in member.split("."))
    inner = changed
    for part in way:
        inner = inner[part]
    inner[last] = value
    return json.dumps(changed)


@pytest.mark.parametrize("value", [None, "x", -1, 1e308, float("nan"), HUGE, 2**63, [1], True])
@pytest.mark.parametrize("member", ["shards.0.samples", "shards.0.bytes", "schema.height", "schema.colours.0.0"])
def test_a_manifest_of_wrong_numbers_is_refused(tmp_path: Path, member: str, value: Any) -> None:
    text = packed(tmp_path / "s", pairs=3).dumps()
    with pytest.raises(BadInput, match=rf"^here is not a manifest: {member} is .*pack the shards again$") as refused:
        parse_manifest(put(json.loads(text), member, value), "here")
    assert len(str(refused.value)) < 300


def test_an_unknown_kind_and_endless_depth_are_refused(tmp_path: Path) -> None:
    text = packed(tmp_path / "s", pairs=3).dumps()
    with pytest.raises(BadInput, match="kind is '/etc/passwd'"):
        parse_manifest(put(json.loads(text), "schema.kind", "/etc/passwd"), "here")
    with pytest.raises(BadInput, match="recursion limit"):
        parse_manifest("[" * 100_000, "here")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("key", 5),
        ("s", 2),
        ("target.style", [1]),
        ("target.seconds", float("inf")),
        ("exemplar.number", -1),
        ("target.landmarks.0.0", 1e308),
        ("target.landmarks.0.0", 2**31),
        ("target.landmarks.0.0", HUGE),
        ("consistent", None),
    ],
)
def test_a_record_of_wrong_types_is_refused(member: str, value: Any) -> None:
    assert Pair.from_json(json.dumps(PAIR)).same_style is True
    with pytest.raises(BadInput, match=f"not a pair record: {member} is ") as refused:
        Pair.from_json(put(PAIR, member, value))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("points", [[[1, 2]] * 67, ["ab"] * 68, [[1, None]] * 68, [[1, 1e308]] * 68, [[1, HUGE]] * 68])
def test_points_that_cannot_be_drawn_are_refused_before_packing(videos: Path, tmp_path: Path, points: Any) -> None:
    text = sidecar_path(videos / "video-0001.mp4").read_text()
    (tmp_path / "v.json").write_text(put(json.loads(text), "frames.2.landmarks", points))
    with pytest.raises(BadInput, match=r"v\.json is not a world's sidecar: frame 2 has landmarks"):
        sidecar_of(tmp_path / "v.mp4")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("no.jpg,0,nor.jpg,0,consistent,r,1.0,2026-01-01T00:00:00", "judges no.jpg, which is not in"),
        (f"a,{'9' * 5000},b,0,consistent,r,1.0,2026-01-01T00:00:00", "line 2: one_frame is '9"),
        ("a,²,b,0,consistent,r,1.0,2026-01-01T00:00:00", "line 2: one_frame is '²'"),
    ],
)
def test_judgements_of_other_photos_are_refused(videos: Path, tmp_path: Path, row: str, words: str) -> None:
    file = tmp_path / "judged.csv"
    header = "one,one_frame,other,other_frame,judgement,rater,seconds,answered_at"
    file.write_text(f"{header}\n{row}\n", encoding="utf-8")
    with pytest.raises(BadInput, match=words):
        pack(packing(videos, judged=file), tmp_path / "out")
