"""cxjyxxme/pix2pixSC: the style-consistent method's generator, D_R and D_SC."""

import argparse
from pathlib import Path
from typing import Any

from likeness.command import BadInput
from shards.labels.kinds import kind_of
from shards.records import LabelSchema
from trainer.convert import official_names as official
from trainer.convert.official_options import OfficialOptions, read_options
from trainer.convert.official_weights import Weights, read_weights
from trainer.convert.plan import RGB, Plan, System, check_channels, check_painted, labels_in_words

PACKED = {
    15: "sketches of faces: give --label sketch, or pack shards by `python -m shards pack --labels face-landmarks "
    "--source VIDEOS --out SHARDS`",
    23: "poses with DensePose pictures: pack shards by `python -m shards pack --labels pose --openpose DIR "
    "--densepose DIR --source VIDEOS --out SHARDS`",
    42: "the classes 0 to 40 and 255: pack shards by `python -m shards pack --dataset bdd100k --classes "
    "shards/sources/pix2pixsc-street-classes.json --source BDD100K --out SHARDS`",
}
"""By channels of a label map, the published faces', dances' and streets': what they are, and how to pack them."""
SELF_VGG = 20
"""The factor of the second VGG term of the authors' scripts: our weighting `official`."""
STYLE_CHANNELS = 2 * RGB
"""What a style discriminator reads: a candidate and the exemplar."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--style-discriminator",
        type=Path,
        metavar="FILE",
        help="latest_net_SD.pth: D_SC, which judges whether two photos share a style",
    )


def _plan(arguments: argparse.Namespace, schema: LabelSchema) -> Plan:
    weights = read_weights(arguments.weights, official.GENERATOR)
    if official.enhancers(weights):
        raise BadInput(f"{weights.file} has a local enhancer (netG local), which the style-consistent method has not")
    told = read_options(arguments.config)
    told.must_be("norm", "instance", "networks")
    # They add edges of the background and leave out lines of faces, in channels that are there either way.
    drawn = kind_of(schema).points is not None
    if drawn:
        told.must_be("no_canny_edge", True, "labels")
        told.must_be("remove_face_labels", False, "labels")
    sizes = official.generator_sizes(weights)
    for name, seen_in in (("ngf", sizes.base), ("n_downsample_global", sizes.downsamplings)):
        told.agrees(name, seen_in, weights.file)
    told.agrees("n_blocks_global", sizes.blocks, weights.file)
    check_painted(weights, sizes.painted)
    _check_labels(weights, sizes.channels, schema)
    options = sizes.options
    sources = [(weights, official.global_generator(sizes, "generator.body"))]
    summary = [f"reads {labels_in_words(schema)} twice, and an exemplar", sizes.in_words()]
    judges: list[str] = []
    discriminators = (
        (arguments.discriminator, "realism", schema.channels + RGB, "label channels and a photo"),
        (arguments.style_discriminator, "style", STYLE_CHANNELS, "two photos (a run with --no_D_label)"),
    )
    for file, network, channels, what in discriminators:
        if not file:
            continue
        discriminator = read_weights(file, *official.PATCHGAN)
        seen = official.patchgan_sizes(discriminator)
        if seen.scales > 1:
            raise BadInput(f"{file} has {seen.scales} scales; the method's {network} discriminator has one (num_D 1)")
        check_channels(discriminator, seen.channels, channels, what)
        told.agrees("n_layers_D", seen.layers, file)
        if known := [f"{seen.in_words()} instead of {other}" for other in judges if other != seen.in_words()]:
            raise BadInput(f"{file} is of {known[0]}: this release has both discriminators of the same sizes; give one")
        judges.append(seen.in_words())
        options |= seen.options
        sources.append((discriminator, official.patchgan(0, seen, network)))
        summary.append(f"the {network} discriminator ({seen.in_words()})")
    if judges:
        told.must_be("no_lsgan", False, "discriminators and losses")
    options |= _losses(told)
    return Plan("style_consistent", options, sources, "; ".join(summary), told)


def _check_labels(weights: Weights, channels: int, schema: LabelSchema) -> None:
    """Raises BadInput for label maps of another number of channels, with the way to those that the authors had."""
    wanted = 2 * schema.channels + RGB
    labels, rest = divmod(channels - RGB, 2)
    if channels != wanted and not rest and labels in PACKED:
        raise BadInput(
            f"{weights.file} reads {channels} channels: an exemplar and twice label maps of {labels}, "
            f"{PACKED[labels]}, then give --schema to that folder; {labels_in_words(schema)} are not these"
        )
    check_channels(weights, channels, wanted, "two label maps and an exemplar", schema)


def _losses(told: OfficialOptions) -> dict[str, Any]:
    """Options of our losses: the paper's where nothing is said, which are not those that the authors' scripts have."""
    if told.file is None:
        told.assumed.append("the paper's losses, not the scripts' (weighting official)")
    losses: dict[str, Any] = {}
    if (weight := told.number("SD_mul")) is not None:
        losses["style_weight"] = weight
    if told.values.get("use_self_loss"):
        if told.number("self_vgg_mul") == SELF_VGG:
            losses["weighting"] = "official"
        else:
            told.notes.append(f"self_vgg_mul {told.values.get('self_vgg_mul')}: training goes on with the paper's")
    return losses


SYSTEM = System(
    files="latest_net_G.pth of cxjyxxme/pix2pixSC; _D and _SD",
    examples=("latest_net_G.pth --label sketch --out checkpoint-face",),
    weights="latest_net_G.pth: the generator",
    discriminator="latest_net_D.pth: D_R, which judges whether a photo is real",
    config="opt.txt of the training, which lies beside the weights",
    add_arguments=_add_arguments,
    plan=_plan,
)
