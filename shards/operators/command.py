"""`python -m shards label`: photos cut and labelled as pack would, as files to look at, to mend and to paint from."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from likeness import atomic
from likeness.command import BadInput
from likeness.names import name_of
from likeness.subcommands import Subcommands, subcommand
from shards.operators.arguments import OPERATOR_OPTIONS, add_operator_arguments

LABEL = """\
Cuts and labels photos as `pack` does, and writes for each
  NAME.png        the picture of the model's size
  NAME.json       the landmarks or keypoints, for kinds that are drawn from points; to be corrected by hand, if need be
  NAME.label.png  the label map: ids, edges, or, of points, what is drawn from them, to look at
`python -m deploy batch`, the service and the page take these files, and take photos as they are, too: they do the same.

--like takes size, crop and kind from shards (or their manifest.json); without it faces are cut out, 256 pixels wide.
"""


def add_label(commands: Subcommands) -> None:
    """Adds the command `label`."""
    add = subcommand(commands, "label", label, "cut and label photos, as files", LABEL).add_argument
    add("photos", type=Path, nargs="+", metavar="PHOTO", help="PNG, JPEG or WebP files, or folders of them")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    add("--like", type=Path, metavar="DIR", help="shards whose pictures these shall be like")
    add_operator_arguments(add)


def label(options: argparse.Namespace) -> None:
    """Runs the command. Raises BadInput where a photo cannot be read, or nothing is found in it."""
    # Imported here, so that help need not wait for them.
    from tqdm import tqdm

    from shards import labels
    from shards.labels.kinds import SKETCH, kind_of
    from shards.media.pictures import encode_picture, read_picture
    from shards.operators.labelling import Labelling
    from shards.operators.photos import photo_of, prepared_for_any
    from shards.preparation import Preparation
    from shards.records import load_manifest

    photos = _photos(options.photos)
    if options.like is not None:
        schema = load_manifest(options.like)[0].schema
    else:
        schema = replace(SKETCH.standard(256, 256), preparation=Preparation("aligned"))
    kind = kind_of(schema)
    given = {name: getattr(options, name) for name in OPERATOR_OPTIONS}
    labelling = prepared_for_any(str(options.photos[0]), Labelling("auto", schema, **given))
    with atomic.new_folder(options.out) as folder:
        for name, path in tqdm(photos.items(), desc="labelling", unit="photo"):
            photo = photo_of(read_picture(path), str(path), labelling)
            loaded = labels.load(schema, photo.frame, photo.label_picture)
            stem = folder / name
            stem.parent.mkdir(parents=True, exist_ok=True)
            stem.with_name(f"{stem.name}.png").write_bytes(encode_picture(photo.image))
            if kind.points is not None:
                points = {kind.points.member: getattr(photo.frame, kind.points.member)}
                stem.with_name(f"{stem.name}.json").write_text(json.dumps(points) + "\n", encoding="utf-8")
                drawn = kind.paint(schema, loaded)
            else:
                drawn = photo.label_picture if photo.label_picture is not None else kind.paint(schema, loaded)
            stem.with_name(f"{stem.name}.label.png").write_bytes(encode_picture(np.ascontiguousarray(drawn)))
    print(f"{options.out}: {len(photos):,} photos")


def _photos(given: list[Path]) -> dict[str, Path]:
    """The photos by the name that their files get, without an ending. Raises BadInput where two have one."""
    from likeness.folders import Unused
    from shards.sources.dataset import STILLS
    from shards.sources.layout import files

    found: dict[str, Path] = {}
    unused = Unused()
    for path in given:
        if not path.exists():
            raise BadInput(f"{path}: there is no such photo")
        within = files(path, unused, *STILLS) if path.is_dir() else {name_of(path, path.parent): path}
        for name, photo in within.items():
            key = name if path.is_dir() else Path(name).stem
            if key in found:
                raise BadInput(f"{photo} and {found[key]} have one name; label them into two folders")
            found[key] = photo
    for note in unused.notes():
        print(note)
    return found
