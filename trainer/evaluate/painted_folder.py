"""The pictures that are judged: one file for each pair."""

from pathlib import Path

from likeness.array import Array
from likeness.command import BadInput
from likeness.folders import Unused, visible_files
from likeness.names import file_called
from trainer.evaluate.judged_pairs import FORMATS, read_photo


def painted_in(folder: Path, unused: Unused) -> dict[str, Path]:
    """The pictures of a folder, by the keys of their pairs: their names in it without the ending.

    It is walked as packing walks folders, see `likeness.folders`; what is no picture is counted in `unused`.
    Raises BadInput when two are of one pair.
    """
    pictures: dict[str, Path] = {}
    for name, path in visible_files(folder, unused).items():
        if path.suffix.lower() not in FORMATS:
            unused.add("that are no pictures", name)
            continue
        key = name[: -len(path.suffix)]
        if key in pictures:
            raise BadInput(f"{path} and {pictures[key].name} are pictures of one pair; keep one of them")
        pictures[key] = path
    return pictures


class PaintedFolder:
    """A folder of painted pictures, one per pair, named by the pair's key."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput when there is no such folder."""
        self.folder = folder
        if not folder.is_dir():
            raise BadInput(f"there is no folder {folder} of painted pictures")

    def file(self, key: str) -> Path:
        """Raises BadInput when the picture is missing."""
        for ending in FORMATS:
            file = file_called(self.folder, f"{key}{ending}")
            if file.is_file():
                return file
        raise BadInput(
            f"{self.folder / key}.png is missing (nor is there a {', '.join(FORMATS[1:])}): every pair needs its "
            "picture, named by the pair's key as `python -m deploy batch` does"
        )

    def read(self, key: str, shape: tuple[int, ...]) -> Array:
        """The picture of a pair whose target has this shape. Raises BadInput when it is missing, broken or other."""
        file = self.file(key)
        picture = read_photo(file)
        if picture.shape != shape:
            ours, theirs = (f"{each[1]}×{each[0]}" for each in (picture.shape, shape))
            raise BadInput(f"{file} is {ours}, but its pair's photos are {theirs}; paint it at their size")
        return picture
