"""Runs of the command that converts published weights."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.convert import __main__ as convert


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Runs the command, which must succeed: arguments without `--out`; gives the checkpoint's folder."""

    def run(*arguments: str | Path) -> Path:
        out = tmp_path / "checkpoint-converted"
        assert convert.main([*map(str, arguments), "--out", str(out)]) == 0
        return out

    return run


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command, which must refuse in one line and write nothing; gives the line."""

    def run(*arguments: str | Path) -> str:
        out = tmp_path / "refused"
        assert convert.main([*map(str, arguments), "--out", str(out)]) == 2
        assert not out.exists()
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    return run
