"""What `verify` refuses."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from likeness.command import BadInput
from shards.inspection.verify import verify
from shards.reading.samples import (
    KEY,
    Members,
)
from shards.records import LabelKind
from tests.shards.inspection.rewriting import png, rewrite, without
from tests.shards.packing.small_shards import HEIGHT, SOURCES, WIDTH, packed


def record(edit: Callable[[dict[str, Any]], None]) -> Callable[[Members], Members]:
    """A change of the json member."""

    def change(members: Members) -> Members:
        data = json.loads(members["json"])
        edit(data)
        return {**members, "json": json.dumps(data).encode()}

    return change


def jpg(height: int, width: int) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.zeros((height, width, 3), np.uint8)))


def point_less(data: dict[str, Any]) -> None:
    data["target"]["landmarks"].pop()


def other_flag(data: dict[str, Any]) -> None:
    data["s"] = 1 - data["s"]


def a_fifth_source(data: dict[str, Any]) -> None:
    data["inconsistent"]["source"] = "d.mp4"


VIOLATIONS: list[tuple[LabelKind, Callable[[Members], Members | None], str]] = [
    ("sketch", without("consistent.jpg"), "consistent.jpg is missing"),
    ("sketch", without("json"), "json is missing"),
    ("classes", without("exemplar.label.png"), r"exemplar\.label\.png is missing"),
    ("sketch", lambda m: {**m, "target.label.png": png(np.zeros((4, 4), np.uint8))}, "does not belong"),
    ("sketch", lambda m: {**m, "target.png": m["target.jpg"]}, r"target\.png stands beside target\.jpg"),
    ("sketch", lambda m: {**m, "target.jpg": jpg(16, 16)}, r"target\.jpg is 16×16 pixels, .* 48×32"),
    ("sketch", lambda m: {**m, "target.jpg": m["target.jpg"][:40]}, r"target\.jpg is no readable picture"),
    ("sketch", lambda m: {**m, "exemplar.jpg": b""}, r"exemplar\.jpg is no readable picture"),
    (
        "classes",
        lambda m: {**m, "target.label.png": png(np.full((HEIGHT, WIDTH), 77, np.uint8))},
        r"target\.label\.png: .*77.*schema",
    ),
    (
        "classes",
        lambda m: {**m, "target.label.png": png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))},
        "not an 8-bit grey PNG",
    ),
    ("classes", lambda m: {**m, "target.label.png": m["target.label.png"][:60]}, "no readable picture"),
    ("classes", lambda m: {**m, "target.label.png": b"GIF89a"}, "not a PNG file"),
    ("sketch", lambda m: {**m, "json": b"{"}, "json: "),
    ("sketch", lambda m: {**m, "json": b"[1]"}, "not a pair record"),
    ("sketch", record(lambda data: data.pop("exemplar")), "not a pair record"),
    ("sketch", record(lambda data: data.update(target="x")), "not a pair record"),
    ("sketch", record(lambda data: data.update(key="00000099")), "says key '00000099'"),
    ("sketch", record(other_flag), "says s = "),
    ("sketch", record(point_less), "target has 67 label points instead of 68"),
    ("pose", record(lambda data: data["exemplar"].pop("keypoints")), "exemplar has 0 label points instead of 18"),
    ("sketch", record(lambda data: data.update(consistent=data["exemplar"])), "consistent is the exemplar itself"),
    ("sketch", record(lambda data: data.update(consistent=data["inconsistent"])), "consistent has style"),
    ("sketch", record(lambda data: data.update(inconsistent=data["consistent"])), "inconsistent has the exemplar's"),
    ("sketch", record(a_fifth_source), r"inconsistent comes from d\.mp4, which is no train source"),
]


@pytest.mark.parametrize(("kind", "change", "words"), VIOLATIONS)
def test_verify_names_what_is_wrong(
    tmp_path: Path, kind: LabelKind, change: Callable[[Members], Members | None], words: str
) -> None:
    packed(tmp_path / "s", kind)
    key = rewrite(tmp_path / "s", change)
    with pytest.raises(BadInput, match=words) as error:
        verify(tmp_path / "s")
    assert f"pairs-000001.tar sample {key} member" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_untouched_rewrite_is_verified(tmp_path: Path) -> None:
    """The changes above are what `verify` refuses, not the rewriting itself."""
    packed(tmp_path / "s")
    rewrite(tmp_path / "s", lambda members: members)
    assert verify(tmp_path / "s").samples == 23


def test_verify_counts_samples_and_keys(tmp_path: Path) -> None:
    packed(tmp_path / "s")
    rewrite(tmp_path / "s", lambda members: None)
    with pytest.raises(BadInput, match=r"pairs-000001\.tar holds 9 samples, but the manifest says 10"):
        verify(tmp_path / "s")
    packed(tmp_path / "t")
    rewrite(tmp_path / "t", lambda members: {**members, KEY: b"00000003"})
    with pytest.raises(BadInput, match=r"pairs-000001\.tar holds the key 00000003 again"):
        verify(tmp_path / "t")


def test_verify_refuses_a_source_in_both_splits(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s")
    replace(manifest, sources={"train": SOURCES, "test": SOURCES[:1]}).save(tmp_path / "s")
    with pytest.raises(BadInput, match=r"a\.mp4 stands in train and in test"):
        verify(tmp_path / "s")
