"""Finds the folders of a published dataset and pairs its pictures with their labels, or says what is missing."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from likeness.command import BadInput
from likeness.folders import Unused, visible_files

Shape = tuple[str, ...]


def chosen(root: Path, dataset: str, shapes: Sequence[Shape]) -> Shape:
    """The first of several layouts that lies under `root`: every folder that it names is there.

    Raises BadInput when none fits: names the first folder that is missing from the layout that fits best, and, where
    the dataset lies in a folder of `root` or a few levels above it, the folder to give instead.
    """
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; give the folder of {dataset}")
    if shape := _fitting(root, shapes):
        return shape
    for other in (*_folders(root), *root.absolute().parents[:4]):
        if _fitting(other, shapes):
            raise BadInput(f"{root} is not the top folder of {dataset}; give {other}")
    best = max(shapes, key=lambda shape: sum((root / part).is_dir() for part in shape))
    missing = next(part for part in best if not (root / part).is_dir())
    ways = "; or ".join(", ".join(shape) for shape in shapes)
    raise BadInput(f"{root} is not {dataset}: there is no folder {root / missing}; expected the folders {ways}")


def _fitting(root: Path, shapes: Sequence[Shape]) -> Shape | None:
    return next((shape for shape in shapes if all((root / part).is_dir() for part in shape)), None)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def files(folder: Path, unused: Unused, *endings: str, besides: Collection[str] = ()) -> dict[str, Path]:
    """The files under a folder, at any depth, whose names end so (in either case); see `likeness.folders`.

    Keys are the names in `folder`, with forward slashes and without the ending; they are in order. The other files are
    counted in `unused`, but for those of `besides`, which somebody else reads.
    Raises BadInput when there is none, and when two files differ only in their endings.
    """
    found = files_if_any(folder, unused, *endings, besides=besides)
    if not found:
        raise BadInput(f"{folder} holds no files that end in {' or '.join(endings)}; unpack the dataset there")
    return found


def files_if_any(folder: Path, unused: Unused, *endings: str, besides: Collection[str] = ()) -> dict[str, Path]:
    """As `files`, but there may be none."""
    found: dict[str, Path] = {}
    for name, path in visible_files(folder, unused).items():
        ending = next((ending for ending in endings if name.lower().endswith(ending.lower())), None)
        if ending is None and name in besides:
            continue
        if ending is None:
            unused.add(f"of {folder.name} that do not end in {' or '.join(endings)}", name)
            continue
        key = name[: -len(ending)]
        if key in found:
            raise BadInput(f"{path} and {found[key].name} differ only in their endings; take one of them out")
        found[key] = path
    return dict(sorted(found.items()))


def paired(
    pictures: Mapping[str, Path], labels: Mapping[str, Path], folder: Path, ending: str
) -> dict[str, tuple[Path, Path]]:
    """Every picture with its label picture, by key. folder, ending: where the labels lie and how they end.

    Raises BadInput naming the first picture without a label, else the first label without a picture.
    """
    for key, picture in pictures.items():
        if key not in labels:
            raise BadInput(f"{picture}: its label {folder / (key + ending)} is missing; add it, or remove the picture")
    for key, label in labels.items():
        if key not in pictures:
            raise BadInput(f"{label} is the label of no picture; add the picture {key}, or remove the label")
    return {key: (picture, labels[key]) for key, picture in pictures.items()}
