"""Every network's size and arithmetic, as its specification has them; and that a wrong one would be seen."""

import json
from dataclasses import replace

import pytest

from trainer import counts


def test_every_figure_is_the_specifications(capsys: pytest.CaptureFixture[str]) -> None:
    assert counts.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["system"] for row in rows} == {"style-consistent", "SPADE", "pix2pixHD", "MUNIT"}
    told = counts.table([counts.Row(**row) for row in rows])
    assert "DIFFERENT" not in told and "182,537,347" in told
    # Two formulas of the specifications, counted here.
    generators = [row for row in rows if row["network"] == "generator" and row["size"] is None]
    assert all(row["ours"] == 182_433_859 + 3_136 * row["channels"] for row in generators)
    squares = [row for row in rows if row["network"] == "generator" and row["size"] == "256×256"]
    assert squares and all(row["ours"] == 53_766_782_976 + 205_520_896 * row["channels"] for row in squares)


def test_a_figure_that_differs_is_pointed_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = next(each for each in counts.published()["pix2pixHD"] if each.network == "feature encoder")
    for wrong in (replace(encoder, parameters=encoder.parameters + 1), replace(encoder, macs={(256, 256): 1})):
        monkeypatch.setattr(counts, "published", lambda wrong=wrong: {"pix2pixHD": (wrong,)})
        assert counts.main([]) == counts.DIFFERENT
        assert capsys.readouterr().out.count("DIFFERENT") == 1
        monkeypatch.undo()
