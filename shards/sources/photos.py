"""A folder of photographs: every picture file under it, at any depth, such as a camera leaves them.

No photo has a style key, so exemplars are found by retrieval; there is no split, and nothing lies beside a photo:
labels are made of it, edges for instance. Photos of any size are packed square, edges of the largest square in their
middle.
"""

from pathlib import Path

from likeness.command import BadInput
from likeness.folders import Unused, once_each
from likeness.names import name_of
from shards.sources.dataset import STILLS, Dataset, Item
from shards.sources.layout import files


def find(root: Path) -> Dataset:
    """The photos under a folder, in the order of their paths.

    Raises BadInput when there is no such folder, or no picture in it, and when two files differ only in their endings.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; give a folder of photos")
    unused = Unused()
    paths = once_each(files(root, unused, *STILLS), unused).values()
    items = (Item(name, path, name) for path in paths for name in (name_of(path, root),))
    return Dataset(tuple(sorted(items, key=lambda item: item.source)), styled=False, notes=unused.notes())
