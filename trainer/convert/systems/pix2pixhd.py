"""NVIDIA/pix2pixHD: its generator, global or with one local enhancer, its discriminators and its feature encoder."""

import argparse
from pathlib import Path
from typing import Any

from likeness.command import BadInput
from shards.labels.instance_features import FeatureCentres
from shards.records import LabelSchema
from trainer.convert import official_names as official
from trainer.convert.clustered import read_clustered
from trainer.convert.official_options import OfficialOptions, read_options
from trainer.convert.official_weights import Names, Weights, read_weights
from trainer.convert.plan import RGB, Plan, System, check_channels, check_painted, joined, labels_in_words


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder", type=Path, metavar="FILE", help="latest_net_E.pth: the encoder of instance features"
    )
    parser.add_argument(
        "--centres",
        type=Path,
        metavar="FILE",
        help="features_clustered_010.npy: the looks of each class's instances, in place of trainer.feature_centres",
    )
    parser.add_argument(
        "--features",
        choices=("instances", "classes"),
        help="what features are means over, where the generator reads features: classes for a run with --label_feat "
        "(default: what --config says, else instances)",
    )


def _plan(arguments: argparse.Namespace, schema: LabelSchema) -> Plan:
    weights = read_weights(arguments.weights, official.GENERATOR)
    told = read_options(arguments.config)
    told.must_be("norm", "instance", "networks")
    if told.values.get("label_nc") == 0:
        raise BadInput(f"{told.file}: label_nc is 0: it reads pictures, in [-1, 1], and cannot be converted")
    enhancers = official.enhancers(weights)
    if len(enhancers) > 1:
        raise BadInput(f"{weights.file} has {len(enhancers)} local enhancers; this release has networks of at most one")
    sizes = official.generator_sizes(weights, picture=not enhancers)
    check_painted(weights, sizes.painted)
    encoder = _encoder(arguments.encoder) if arguments.encoder else None
    depth = encoder[0].painted if encoder else RGB
    instances, features = _conditions(arguments, weights, sizes.channels, schema, depth)
    if features != "none" and instances:
        features = _regions(arguments.features, told)
    options = sizes.options | {"instances": instances, "features": features}
    names = official.global_generator(sizes, "generator", picture=not enhancers)
    summary = [f"reads {_conditions_in_words(schema, instances, features)}", sizes.in_words()]
    if enhancers:
        blocks = official.enhancer_blocks(weights)
        options |= {"enhancer": True, "enhancer_blocks": blocks}
        names |= official.local_enhancer(blocks, "enhancer")
        summary.append(f"a local enhancer of {blocks} blocks")
    sources = [(weights, names)]
    for name, seen_in in (
        ("ngf", sizes.base // 2 if enhancers else sizes.base),
        ("n_downsample_global", sizes.downsamplings),
        ("n_blocks_global", sizes.blocks),
        ("no_instance", not instances),
    ):
        told.agrees(name, seen_in, weights.file)
    options |= _losses(told)
    if arguments.discriminator:
        seen, source = _discriminators(arguments.discriminator, schema.channels + instances, bool(enhancers))
        told.must_be("no_lsgan", False, "discriminators and losses")
        for name, seen_in in (("ndf", seen.base), ("n_layers_D", seen.layers), ("num_D", seen.scales)):
            told.agrees(name, seen_in, arguments.discriminator)
        if not seen.staged:
            # Without feature matching they are stored whole.
            options["feature_weight"] = 0.0
        options |= seen.options | {"discriminator_scales": seen.scales}
        sources.append(source)
        summary.append(f"{seen.scales} discriminators ({seen.in_words()})")
    if encoder:
        looks, source = encoder
        options |= {"encoder_base": looks.base, "encoder_downsamplings": looks.downsamplings}
        options["feature_channels"] = looks.painted
        for name, seen_in in (("nef", looks.base), ("n_downsample_E", looks.downsamplings)):
            told.agrees(name, seen_in, arguments.encoder)
        sources.append(source)
        summary.append(f"an encoder of {looks.in_words()}, {looks.painted} features")
    return Plan("pix2pixhd", options, sources, "; ".join(summary), told, _centres(arguments, schema, options))


def _conditions(
    arguments: argparse.Namespace, weights: Weights, channels: int, schema: LabelSchema, depth: int
) -> tuple[bool, str]:
    """Whether the generator reads boundaries between instances, and which features, as the channel count tells.

    depth: how many channels features have. Of two readings the one with features counts where an encoder is given.
    Raises BadInput when the count tells neither, and when features and the given encoder do not go together.
    """
    known = {0: (False, False), 1: (True, False)}
    with_features = {depth: (False, True), depth + 1: (True, True)}
    known = {**known, **with_features} if arguments.encoder else {**with_features, **known}
    more = channels - schema.channels
    if more not in known:
        raise BadInput(
            f"{weights.file} reads {channels} channels, but {labels_in_words(schema)}, with boundaries and "
            f"features or without, are {', '.join(str(schema.channels + each) for each in sorted(known))}; give the "
            "label maps that it was trained on, by --schema SHARDS (label_nc 0 reads pictures, in [-1, 1]: it cannot "
            "be converted)"
        )
    instances, encoded = known[more]
    if encoded and not arguments.encoder:
        raise BadInput(
            f"{weights.file} reads {more} channels beside the {schema.channels} of its label maps: {depth} of them are "
            "features; give their encoder by --encoder latest_net_E.pth, or other label maps by --schema SHARDS"
        )
    if arguments.encoder and not encoded:
        raise BadInput(
            f"--encoder {arguments.encoder} makes features, but {weights.file} reads {channels} channels and none of "
            f"them is a feature beside {labels_in_words(schema)}; leave --encoder out"
        )
    # Without instance maps there is nothing else to take means over.
    return instances, ("none" if not encoded else "instances" if instances else "classes")


def _centres(arguments: argparse.Namespace, schema: LabelSchema, options: dict[str, Any]) -> FeatureCentres | None:
    if arguments.centres is None:
        return None
    if options["features"] == "none" or not schema.ids:
        raise BadInput(
            f"--centres {arguments.centres} is for generators that read features, and label maps of classes; leave "
            "it out"
        )
    return read_clustered(arguments.centres, schema, options["features"], options["feature_channels"])


def _regions(asked: str | None, told: OfficialOptions) -> str:
    """What features are means over, where there are instance maps and classes."""
    if asked:
        return asked
    if "label_feat" not in told.values:
        told.assumed.append("instance_feat, not label_feat (--features)")
    return "classes" if told.values.get("label_feat") else "instances"


def _losses(told: OfficialOptions) -> dict[str, Any]:
    """Options of our losses. lambda_feat weighs feature matching and the VGG loss alike."""
    losses: dict[str, Any] = {}
    weight = told.number("lambda_feat")
    for switch, ours in (("no_ganFeat_loss", "feature_weight"), ("no_vgg_loss", "perceptual_weight")):
        if told.values.get(switch):
            losses[ours] = 0.0
        elif weight is not None:
            losses[ours] = weight
    if told.number("pool_size"):
        losses["pool"] = int(told.values["pool_size"])
    if told.file is None:
        told.assumed.append("lambda_feat 10, with VGG loss, pool_size 0")
    if told.values.get("no_lsgan"):
        told.notes.append("no_lsgan: training goes on with least squares")
    return losses


def _discriminators(
    file: Path, conditions: int, enhanced: bool
) -> tuple[official.DiscriminatorSizes, tuple[Weights, Names]]:
    """The discriminators of all scales. conditions: channels that they read beside a photo."""
    weights = read_weights(file, *official.PATCHGAN)
    seen = official.patchgan_sizes(weights)
    check_channels(weights, seen.channels, conditions + RGB, "label channels, boundaries if any, and a photo")
    copies = [f"discriminator.copies.{scale}" for scale in range(seen.scales)]
    if enhanced:
        # Full size is the highest scale's: the one that a run with an enhancer adds.
        copies[-1] = "fine_discriminator.copies.0"
    return seen, (weights, joined([official.patchgan(k, seen, ours) for k, ours in enumerate(copies)]))


def _encoder(file: Path) -> tuple[official.GeneratorSizes, tuple[Weights, Names]]:
    """The feature encoder, and its sizes."""
    weights = read_weights(file, official.GENERATOR)
    sizes = official.generator_sizes(weights)
    check_channels(weights, sizes.channels, RGB, "a photo")
    return sizes, (weights, official.global_generator(sizes, "encoder"))


def _conditions_in_words(schema: LabelSchema, instances: bool, features: str) -> str:
    parts = [labels_in_words(schema)]
    parts += ["boundaries of instances"] if instances else []
    parts += [] if features == "none" else [f"features, means over {features}"]
    return ", ".join(parts)


SYSTEM = System(
    files="latest_net_G.pth of NVIDIA/pix2pixHD: global, or with one local enhancer (netG local); _D and _E",
    examples=(
        "latest_net_G.pth --schema data/cityscapes/test --out checkpoint-cityscapes",
        "G.pth --discriminator D.pth --encoder E.pth --schema data/test --out checkpoint-e",
    ),
    weights="latest_net_G.pth: the generator",
    discriminator="latest_net_D.pth: the discriminators of all scales",
    config="opt.txt of the training, which lies beside the weights",
    add_arguments=_add_arguments,
    plan=_plan,
)
