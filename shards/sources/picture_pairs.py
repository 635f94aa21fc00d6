"""Anybody's pairs of pictures, one of which is the other's label: drawings, renderings, maps, another season.

    images/**/NAME.{jpg,jpeg,png,webp}     what is to be made
    labels/**/NAME.png                     what it is to be made of, in colours: images/park/1.jpg has labels/park/1.png
    styles.csv                             optional; as of the dataset `pictures`

Both have one size. There is no split. Pairs are packed in the shape of the label pictures if all have the same, and
square if not, of the largest part in the middle. For label pictures of class ids there is the dataset `pictures`.
"""

from pathlib import Path

from likeness.folders import Unused
from shards.sources.dataset import STILLS, Dataset
from shards.sources.layout import chosen, files, paired
from shards.sources.pictures import count_others, labelled


def find(root: Path) -> Dataset:
    """The pictures of `images` with those of `labels`.

    Raises BadInput when a folder is missing, when a picture has no label or the other way round, and when styles.csv
    does not name just the pictures that are there.
    """
    root = Path(root)
    chosen(root, "a dataset of pairs of pictures", (("images", "labels"),))
    labels, unused = root / "labels", Unused()
    count_others(root, ("images", "labels", "styles.csv"), unused)
    pairs = paired(files(root / "images", unused, *STILLS), files(labels, unused, ".png"), labels, ".png")
    return labelled(root, pairs, unused)
