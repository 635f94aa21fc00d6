"""A person's own modules, which are called like ours or the standard library's."""

from pathlib import Path


def put_modules(folder: Path, *names: str) -> None:
    """Writes modules and packages that end whatever imports them."""
    for name in names:
        file = folder / f"{name}.py" if name == "queue" else folder / name / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise ImportError('theirs')", encoding="utf-8")
