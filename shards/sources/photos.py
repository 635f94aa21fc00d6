"""A folder of photographs: every picture file under it, at any depth, such as a camera leaves them.

    **/NAME.{jpg,jpeg,png,webp}
    styles.csv                  optional; columns picture and style, pictures as paths here: anna/1.jpg,anna

Without styles.csv no photo has a style key, so that exemplars are found by retrieval, unless the photos of a folder are
taken as one style. There is no split, and nothing else lies beside a photo: labels are made of it, edges or a face's
landmarks for instance.
"""

from pathlib import Path

from likeness.command import BadInput
from likeness.folders import Unused, once_each
from likeness.names import name_of
from shards.sources.dataset import STILLS, Dataset, Item
from shards.sources.layout import files
from shards.sources.pictures import STYLES_CSV, styles_of


def find(root: Path) -> Dataset:
    """The photos under a folder, in the order of their paths.

    Raises BadInput when there is no such folder, or no picture in it, when two files differ only in their endings, and
    when styles.csv does not name just the photos that are there.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; give a folder of photos")
    unused = Unused()
    paths = once_each(files(root, unused, *STILLS, besides=(STYLES_CSV,)), unused).values()
    named = {name_of(path, root): path for path in paths}
    listed = root / STYLES_CSV
    styles = styles_of(listed, named) if listed.is_file() else {}
    items = (Item(name, path, styles.get(name, name)) for name, path in named.items())
    ordered = tuple(sorted(items, key=lambda item: item.source))
    return Dataset(ordered, styled=bool(styles), split_by_style=bool(styles), notes=unused.notes())
