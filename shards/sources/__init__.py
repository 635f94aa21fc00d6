"""Where photos come from: one file for each dataset, read from the layout that its publisher ships."""

from importlib import import_module
from pathlib import Path

from likeness.command import BadInput
from shards.sources.dataset import Dataset

SOURCES = {
    "videos": "a folder of videos, searched with its subfolders",
    "pictures": "a folder with images/, labels/ and, if there are any, instances/ and styles.csv",
    "picture-pairs": "a folder with images/, labels/ (pictures, too) and, if there is one, styles.csv",
    "photos": "a folder of photos, searched with its subfolders; packed square",
    "face-forensics": "FaceForensics++ or FaceForensics (2018): the real videos",
    "bdd100k": "BDD100K: the 10K segmentation maps with the attributes of weather and time of day",
    "cityscapes": "Cityscapes: leftImg8bit and gtFine, with its instance maps",
    "coco-stuff": "COCO-Stuff: 182 classes",
    "ade20k": "ADE20K: the 150 classes of the scene parsing challenge",
}


def find(dataset: str, root: Path) -> Dataset:
    """The files of a dataset under a folder. Raises BadInput when there is no such dataset, or not in that folder."""
    if dataset not in SOURCES:
        raise BadInput(f"no dataset {dataset!r}; choose one of {', '.join(SOURCES)}")
    module = import_module(f"shards.sources.{dataset.replace('-', '_')}")
    found: Dataset = module.find(Path(root))
    return found
