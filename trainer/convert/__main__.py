"""`python -m trainer.convert`: weights that a published system's own code trained, as a checkpoint of ours."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from likeness.arguments import Help, count
from likeness.command import BadInput, run_command
from shards.labels import standard_schema
from shards.reading.stream import open_shards
from shards.records import LabelKind, LabelSchema, sha256_of
from trainer import config as configs
from trainer import methods
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints.files import Snapshot, State
from trainer.convert import official_names as official
from trainer.convert.official_weights import Names, Weights, read_weights

DEFAULT_SIDE = 256
RGB = 3
STYLE_CHANNELS = 2 * RGB
"""What a style discriminator reads: a candidate and the exemplar."""

HELP = """\
Makes a checkpoint of weights that a published system's own code trained, to export, evaluate, and train on from:

  pix2pixhd          latest_net_G.pth of NVIDIA/pix2pixHD: global, or with one local enhancer (netG local); _D and _E
  style-consistent   latest_net_G.pth of cxjyxxme/pix2pixSC; _D and _SD
  munit              gen_01000000.pt of NVlabs/MUNIT; dis_01000000.pt

Sizes are read off the tensors' shapes. Every tensor must have a place: one that is missing, left over or of another
shape is named. Files are read without running anything that they bring; .safetensors files of the same names are taken,
too. Nothing is trained: the checkpoint has no optimizers, and is to begin a run with (start), not to go on from.

What the channels of a label map mean does not stand in such files. Say it by --schema (shards that have the very label
maps) or --label (our standard label maps). Their number is checked; whether they are drawn the same way, in the same
order, you have to know.
"""
EPILOG = """\
examples:
  python -m trainer.convert pix2pixhd latest_net_G.pth --schema data/cityscapes/test --out checkpoint-cityscapes
  python -m trainer.convert pix2pixhd G.pth --discriminator D.pth --encoder E.pth --schema data/test --out checkpoint-e
  python -m trainer.convert style-consistent latest_net_G.pth --label sketch --out checkpoint-face
  python -m trainer.convert munit gen_01000000.pt --labels a --label classes --height 144 --out checkpoint-munit
exit codes: 0 done, 2 bad input
"""
WEIGHTS = {
    "pix2pixhd": "latest_net_G.pth: the generator",
    "style-consistent": "latest_net_G.pth: the generator",
    "munit": "gen_01000000.pt: the auto-encoders of both domains",
}
DISCRIMINATORS = {
    "pix2pixhd": "latest_net_D.pth: the discriminators of all scales",
    "style-consistent": "latest_net_D.pth: D_R, which judges whether a photo is real",
    "munit": "dis_01000000.pt: the discriminators of both domains",
}


@dataclass(frozen=True)
class Plan:
    """What a system's files hold.

    method, options: ours. sources: files, each with the names of its tensors. found: what was read off the shapes.
    """

    method: str
    options: dict[str, Any]
    sources: list[tuple[Weights, Names]]
    found: str


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.convert",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    systems = parser.add_subparsers(
        dest="system", required=True, metavar="SYSTEM", help=" | ".join(WEIGHTS) + ", each with its own --help"
    )
    for system, what in WEIGHTS.items():
        each = systems.add_parser(system, formatter_class=Help, allow_abbrev=False)
        each.add_argument("weights", type=Path, help=what)
        each.add_argument("--discriminator", type=Path, metavar="FILE", help=DISCRIMINATORS[system])
        if system == "pix2pixhd":
            each.add_argument(
                "--encoder", type=Path, metavar="FILE", help="latest_net_E.pth: the encoder of instance features"
            )
            each.add_argument(
                "--features",
                choices=("instances", "classes"),
                default="instances",
                help="what features are means over, where the generator reads features: classes for a run with "
                "--label_feat",
            )
        elif system == "style-consistent":
            each.add_argument(
                "--style-discriminator",
                type=Path,
                metavar="FILE",
                help="latest_net_SD.pth: D_SC, which judges whether two photos share a style",
            )
        else:
            each.add_argument(
                "--labels", choices=("a", "b"), default="a", help="the domain of label pictures; the other has photos"
            )
        each.add_argument("--out", type=Path, required=True, metavar="CHECKPOINT", help="the folder to write")
        schema = each.add_mutually_exclusive_group(required=True)
        schema.add_argument("--schema", metavar="SHARDS", help="shards, or their manifest, whose label maps it reads")
        schema.add_argument("--label", choices=get_args(LabelKind), help="our standard label maps of this kind")
        for side in ("height", "width"):
            each.add_argument(
                f"--{side}",
                type=count,
                metavar="N",
                help=f"of pictures, with --label, in pixels (default: {DEFAULT_SIDE})",
            )
    return parser


def _command(arguments: Sequence[str] | None) -> None:
    given = _parser().parse_args(arguments)
    if given.out.exists():
        raise BadInput(f"{given.out} exists already; choose another --out")
    schema, data = _schema(given)
    plan = {"pix2pixhd": _pix2pixhd, "style-consistent": _style_consistent, "munit": _munit}[given.system](
        given, schema
    )
    config = configs.validate(
        {"method": plan.method, "run": str(given.out.parent), "data": data, "options": plan.options},
        str(given.weights),
    )
    with torch.device("meta"):
        method = methods.find(config.method)(config.options, schema)
    ours = {
        f"{name}.{key}": value
        for name, network in method.networks.items()
        for key, value in network.state_dict().items()
    }
    tensors: dict[str, dict[str, Tensor]] = {}
    left = 0
    for weights, names in plan.sources:
        taken, statistics = weights.take(names, ours)
        left += len(statistics)
        for full, value in taken.items():
            network, _, key = full.partition(".")
            tensors.setdefault(network, {})[key] = value
    for name, named in tensors.items():
        assert named.keys() == method.networks[name].state_dict().keys(), f"{name}'s names are not complete"
    averages = {f"{name}.ema": tensors[name] for name in method.stage(0).synthesizers}
    state = State(
        images=0,
        steps=0,
        epoch=0,
        position=0,
        ranks=1,
        config=config.model_dump(mode="json"),
        schema=schema.to_json(),
        manifest="",
        run_id=None,
        files={},
        converted={str(weights.file): sha256_of(weights.file) for weights, _ in plan.sources},
    )
    checkpoints.write(given.out, Snapshot(state, tensors | averages, {}))
    _say(given, plan, tensors, left)


def _schema(given: argparse.Namespace) -> tuple[LabelSchema, dict[str, Any]]:
    """The label schema, and the config's section `data` for it."""
    if given.schema is not None:
        if given.height or given.width:
            raise BadInput("--height and --width go with --label; the shards of --schema have a size")
        with open_shards(given.schema) as (manifest, _):
            schema, split = manifest.schema, manifest.split
        shards: dict[str, Any] = {"train": given.schema, "test": given.schema if split == "test" else None}
    else:
        schema = standard_schema(given.label, given.height or DEFAULT_SIDE, given.width or DEFAULT_SIDE)
        shards = {"train": "none (converted weights)"}
    return schema, {**shards, "label": schema.kind, "height": schema.height, "width": schema.width}


def _pix2pixhd(given: argparse.Namespace, schema: LabelSchema) -> Plan:
    weights = read_weights(given.weights)
    enhancers = official.enhancers(weights)
    if len(enhancers) > 1:
        raise BadInput(f"{weights.file} has {len(enhancers)} local enhancers; this release has networks of at most one")
    sizes = official.generator_sizes(weights, picture=not enhancers)
    instances, features = _conditions(given, weights, sizes.channels, schema)
    options = _generator_options(sizes) | {"instances": instances, "features": features}
    names = official.global_generator(sizes, "generator", picture=not enhancers)
    found = [f"reads {_conditions_in_words(schema, instances, features)}", _generator_in_words(sizes)]
    if enhancers:
        blocks = official.enhancer_blocks(weights)
        options |= {"enhancer": True, "enhancer_blocks": blocks}
        names |= official.local_enhancer(blocks, "enhancer")
        found.append(f"a local enhancer of {blocks} blocks")
    sources = [(weights, names)]
    if given.discriminator:
        judges = read_weights(given.discriminator)
        seen = official.patchgan_sizes(judges)
        _check_channels(
            judges, seen.channels, schema.channels + instances + RGB, "label channels, boundaries if any, and a photo"
        )
        options |= {"discriminator_base": seen.base, "discriminator_scales": seen.scales}
        copies = [f"discriminator.copies.{scale}" for scale in range(seen.scales)]
        if enhancers:
            # Full size is the highest scale's: the one that a run with an enhancer adds.
            copies[-1] = "fine_discriminator.copies.0"
        sources.append((judges, _joined([official.patchgan(k, seen.staged, ours) for k, ours in enumerate(copies)])))
        found.append(f"{seen.scales} discriminators")
    if given.encoder:
        encoder = read_weights(given.encoder)
        inner = official.generator_sizes(encoder)
        _check_channels(encoder, inner.channels, RGB, "a photo")
        if inner.downsamplings != sizes.downsamplings:
            raise BadInput(
                f"{encoder.file} halves pictures {inner.downsamplings} times, but {weights.file.name} "
                f"{sizes.downsamplings} times; this release has encoders as deep as their generator"
            )
        options["encoder_base"] = inner.base
        sources.append((encoder, official.global_generator(inner, "encoder")))
        found.append(f"an encoder of base {inner.base}")
    return Plan("pix2pixhd", options, sources, "; ".join(found))


def _conditions(given: argparse.Namespace, weights: Weights, channels: int, schema: LabelSchema) -> tuple[bool, str]:
    """Whether the generator reads boundaries between instances, and which features, as the channel count tells.

    Raises BadInput when the count tells neither, and when features and the given encoder do not go together.
    """
    known = {0: (False, False), 1: (True, False), RGB: (False, True), RGB + 1: (True, True)}
    more = channels - schema.channels
    if more not in known:
        raise BadInput(
            f"{weights.file} reads {channels} channels, but {_labels_in_words(schema)}, with boundaries and "
            f"features or without, are {', '.join(str(schema.channels + each) for each in known)}; give the label maps "
            "that it was trained on, by --schema SHARDS (label_nc 0 is pictures, which are no label maps of ours)"
        )
    instances, encoded = known[more]
    if encoded and not given.encoder:
        raise BadInput(
            f"{weights.file} reads {more} channels beside the {schema.channels} of its label maps: {RGB} of them are "
            "features; give their encoder by --encoder latest_net_E.pth, or other label maps by --schema SHARDS"
        )
    if given.encoder and not encoded:
        raise BadInput(
            f"--encoder {given.encoder} makes features, but {weights.file} reads {channels} channels and none of them "
            f"is a feature beside {_labels_in_words(schema)}; leave --encoder out"
        )
    # Without instance maps there is nothing else to take means over.
    return instances, ("none" if not encoded else given.features if instances else "classes")


def _style_consistent(given: argparse.Namespace, schema: LabelSchema) -> Plan:
    weights = read_weights(given.weights)
    if official.enhancers(weights):
        raise BadInput(f"{weights.file} has a local enhancer (netG local), which the style-consistent method has not")
    sizes = official.generator_sizes(weights)
    _check_channels(weights, sizes.channels, 2 * schema.channels + RGB, "two label maps and an exemplar", schema)
    options = _generator_options(sizes)
    sources = [(weights, official.global_generator(sizes, "generator.body"))]
    found = [f"reads {_labels_in_words(schema)} twice, and an exemplar", _generator_in_words(sizes)]
    judges = (
        (given.discriminator, "realism", schema.channels + RGB, "label channels and a photo"),
        (given.style_discriminator, "style", STYLE_CHANNELS, "two photos (a run with --no_D_label)"),
    )
    for file, network, channels, what in judges:
        if not file:
            continue
        judge = read_weights(file)
        seen = official.patchgan_sizes(judge)
        if seen.scales > 1:
            raise BadInput(f"{file} has {seen.scales} scales; the method's {network} discriminator has one (num_D 1)")
        _check_channels(judge, seen.channels, channels, what)
        options["discriminator_base"] = seen.base
        sources.append((judge, official.patchgan(0, seen.staged, network)))
        found.append(f"the {network} discriminator")
    return Plan("style_consistent", options, sources, "; ".join(found))


def _munit(given: argparse.Namespace, schema: LabelSchema) -> Plan:
    weights = read_weights(given.weights)
    letters = {"label": given.labels, "photo": "b" if given.labels == "a" else "a"}
    sizes = {domain: official.munit_sizes(weights, letter) for domain, letter in letters.items()}
    for domain, letter in letters.items():
        _check_channels(weights, sizes[domain].channels, RGB, f"pictures (domain {letter})")
    label = sizes["label"]
    options = {
        "generator_base": label.base,
        "generator_downsamplings": label.downsamplings,
        "generator_blocks": label.blocks,
    }
    names = [official.munit_generator(label, domain).inside(f"{letter}.") for domain, letter in letters.items()]
    sources = [(weights, _joined(names))]
    found = [
        f"label pictures are domain {letters['label']}, photos domain {letters['photo']}",
        f"base {label.base}, {label.downsamplings} downsamplings, {label.blocks} blocks",
    ]
    if given.discriminator:
        judges = read_weights(given.discriminator)
        seen = official.munit_discriminator_sizes(judges, letters["label"])
        options |= {"discriminator_base": seen.base, "discriminator_scales": seen.scales}
        names = [
            official.munit_discriminator(seen.scales, f"{domain}_discriminator").inside(f"{letter}.")
            for domain, letter in letters.items()
        ]
        sources.append((judges, _joined(names)))
        found.append(f"{seen.scales} discriminators for each")
    return Plan("munit", options, sources, "; ".join(found))


def _check_channels(weights: Weights, channels: int, wanted: int, what: str, schema: LabelSchema | None = None) -> None:
    """Raises BadInput unless a network reads as many channels as it should."""
    if channels != wanted:
        labels = f" of {_labels_in_words(schema)}" if schema else ""
        raise BadInput(
            f"{weights.file} reads {channels} channels, but {what}{labels} are {wanted}; give the file and the label "
            "maps that belong together"
        )


def _generator_options(sizes: official.GeneratorSizes) -> dict[str, Any]:
    return {
        "generator_base": sizes.base,
        "generator_downsamplings": sizes.downsamplings,
        "generator_blocks": sizes.blocks,
    }


def _joined(names: Sequence[Names]) -> Names:
    joined = Names()
    for each in names:
        joined |= each
    return joined


def _labels_in_words(schema: LabelSchema) -> str:
    return f"label maps of {schema.channels} channels ({schema.kind})"


def _conditions_in_words(schema: LabelSchema, instances: bool, features: str) -> str:
    parts = [_labels_in_words(schema)]
    parts += ["boundaries of instances"] if instances else []
    parts += [] if features == "none" else [f"features, means over {features}"]
    return ", ".join(parts)


def _generator_in_words(sizes: official.GeneratorSizes) -> str:
    return f"base {sizes.base}, {sizes.downsamplings} downsamplings, {sizes.blocks} blocks"


def _say(given: argparse.Namespace, plan: Plan, tensors: dict[str, dict[str, Tensor]], left: int) -> None:
    """Prints what was found, what was left out, and what to type next."""
    print(f"{given.weights.name}: {plan.found}")
    for name, named in tensors.items():
        print(f"  {name:<20} {sum(value.numel() for value in named.values()):>13,} parameters")
    if left:
        print(f"left out: {left} running statistics; these norms take theirs from each picture")
    shards = given.schema or "SHARDS"
    print(f"{given.out}\nnext:")
    print(f"  python -m export --checkpoint {given.out} --samples {shards} --out {given.out}.onnx")
    print(f"  python -m trainer.evaluate --checkpoint {given.out} --data {shards} --out {given.out}-judged")
    options = " ".join(f"--options.{name} {value}" for name, value in _other_than_default(plan).items())
    print(f"  accelerate launch trainer/run.py --config CONFIG --start {given.out} {options}".rstrip())


def _other_than_default(plan: Plan) -> dict[str, Any]:
    """The options that a run which starts from it has to set."""
    fields = methods.find(plan.method).options_type.model_fields
    changed = {name: value for name, value in plan.options.items() if value != fields[name].default}
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in changed.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
