"""Files that come with the commands, by the names that the documents give them."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def shipped(name: Path | str) -> Path:
    """The file, or, where there is none, the one that is called so in a clone and lies beside the installed code.

    `trainer/configs/face.yaml` is thereby found from any folder, and after an installation without a clone.
    """
    file = Path(name)
    if file.is_absolute() or ".." in file.parts or file.exists() or not (own := _ROOT / file).is_file():
        return file
    return own
