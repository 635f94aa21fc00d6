"""Files of ours go by their names in the documents, from any folder; a person's own come first."""

from pathlib import Path

import pytest

from likeness.shipped import shipped

ROOT = Path(__file__).parents[2]
PRESET = "trainer/configs/demo.yaml"


def test_a_preset_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped(PRESET) == ROOT / PRESET
    assert shipped("trainer/configs/nothing.yaml") == Path("trainer/configs/nothing.yaml")
    assert shipped("../pyproject.toml") == Path("../pyproject.toml")
    assert shipped(tmp_path / PRESET) == tmp_path / PRESET
    (tmp_path / PRESET).parent.mkdir(parents=True)
    (tmp_path / PRESET).touch()
    assert shipped(PRESET) == Path(PRESET)
