"""`python -m deploy manipulate`: its options, and the picture before and after."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.model_arguments import add_model_arguments, open_session
from likeness.arguments import Help, whole
from likeness.command import BadInput

if TYPE_CHECKING:
    from deploy.manipulation.edit import Edit
    from deploy.runtime import Session

DESCRIPTION = """\
Gives one instance of a picture another class, or another look of its class, paints the picture before and after, and
says how much changed inside the instance, around it as far as the network reaches, and beyond. --out shows the new
label map with the instance outlined, both pictures, and their difference, side by side.

--pairs and --pair name the picture as `batch` does. Leave out --instance to see which instances it has: by number,
class and share of the picture. Of models that read no instance maps, each class is one instance. Numbers are those of
Cityscapes: below 1000 the class of a region that is not counted, else class · 1000 + n.
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "manipulate", help="give an instance another class or look", description=DESCRIPTION, formatter_class=Help
    )
    parser.set_defaults(command=manipulate)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--pairs", required=True, metavar="CSV|DIR|URL", help="what the picture is in, as for `batch`")
    add("--pair", metavar="NAME", help="the picture's name in `batch`: a key of shards")
    add("--instance", type=whole, metavar="N", help="its number in the instance map")
    becomes = parser.add_mutually_exclusive_group()
    becomes.add_argument("--class", dest="class_name", metavar="NAME", help="what it becomes")
    becomes.add_argument("--centre", type=whole, metavar="K", help="the centre of its class whose look it gets, from 0")
    add("--seed", type=whole, default=0, metavar="N", help="of the looks of all instances before")
    add("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")


def manipulate(options: argparse.Namespace) -> None:
    """Runs the command. Raises BadInput for what a person can mend."""
    # Imported here, so that help need not wait for ONNX Runtime.
    from deploy.manipulation import edit, scenes
    from likeness import atomic
    from shards.media.pictures import encode_picture

    if options.out.suffix.lower() != ".png":
        raise BadInput(f"--out {options.out} is no PNG; give a name that ends in .png")
    session = open_session(options)
    scenes.check(session)
    scene = scenes.scene_of(session, options.pairs, options.pair, options.seed)
    instance = edit.instance_of(scene, options.instance, session.schema)
    wanted = _edit_of(options, session, instance.number)
    before, after, changed = edit.edit(session, scene, [wanted])
    mask = scene.instances == instance.number
    panels = edit.panels(changed, before, after, mask, session.schema)
    atomic.write_bytes(options.out, encode_picture(panels))
    print(edit.outside(before, after, mask, session.metadata.reach).in_words())
    print(options.out)


def _edit_of(options: argparse.Namespace, session: "Session", instance: int) -> "Edit":
    """What becomes of an instance, by its number."""
    from deploy.manipulation.edit import NewClass, NewLook, class_named
    from shards.inputs import FEATURES_MAP

    if options.centre is not None and FEATURES_MAP.name not in session.inputs:
        raise BadInput(f"{session.path} reads no features, so that its instances have no looks; give a --class")
    if options.class_name is not None:
        return NewClass(instance, class_named(options.class_name, session.schema))
    if options.centre is not None:
        return NewLook(instance, options.centre)
    raise BadInput(f"say what becomes of instance {instance}: give a --class or a --centre")
