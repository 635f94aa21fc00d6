"""`python -m trainer.convert`: weights that a published system's own code trained, as a checkpoint of ours."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
import yaml
from torch import Tensor

from likeness import atomic
from likeness.arguments import Help, count
from likeness.checksums import sha256_of
from likeness.command import BadInput, run_command
from shards.labels import standard_schema
from shards.labels.instance_features import FILE
from shards.labels.kinds import KINDS, Kind, kind_of
from shards.reading.stream import open_shards
from shards.records import LabelKind, LabelSchema
from trainer import config as configs
from trainer import methods
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints.files import Snapshot, State
from trainer.config import Config
from trainer.convert import systems
from trainer.convert.plan import Plan
from trainer.method import Method

DEFAULT_SIDE = 256
CONFIG = "config.yaml"
"""In the checkpoint's folder: settings of a run that begins with it."""

HELP = """\
Makes a checkpoint of weights that a published system's own code trained, to export, evaluate, and train on from:

{systems}

Sizes are read off the tensors' shapes. Every tensor must have a place: one that is missing, left over or of another
shape is named. Files are read without running anything that they bring; .safetensors files of the same names are taken,
too. Nothing is trained: the checkpoint has no optimizers, and is to begin a run with (start), not to go on from.

What the channels of a label map mean does not stand in such files. Say it by --schema (shards that have the very label
maps) or --label (our standard label maps). Their number is checked; whether they are drawn the same way, in the same
order, you have to know. Labels that are pictures themselves are refused: the authors' code reads them in another range.
"""
EPILOG = """\
examples:
{examples}
exit codes: 0 done, 2 bad input
"""


def _parser() -> argparse.ArgumentParser:
    known = {name: systems.find(name) for name in systems.available()}
    lines = [f"  {name:<19}{system.files}" for name, system in known.items()]
    examples = [
        f"  python -m trainer.convert {name} {each}" for name, system in known.items() for each in system.examples
    ]
    parser = argparse.ArgumentParser(
        prog="python -m trainer.convert",
        description=HELP.format(systems="\n".join(lines)),
        epilog=EPILOG.format(examples="\n".join(examples)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    choices = parser.add_subparsers(
        dest="system", required=True, metavar="SYSTEM", help=" | ".join(known) + ", each with its own --help"
    )
    for name, system in known.items():
        each = choices.add_parser(name, formatter_class=Help, allow_abbrev=False)
        each.add_argument("weights", type=Path, help=system.weights)
        each.add_argument("--discriminator", type=Path, metavar="FILE", help=system.discriminator)
        each.add_argument("--config", type=Path, metavar="FILE", help=f"{system.config}: options that weights hide")
        system.add_arguments(each)
        _add_common(each)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """What every system takes behind its own arguments: where to write, and what its label maps mean."""
    parser.add_argument("--out", type=Path, required=True, metavar="CHECKPOINT", help="the folder to write")
    schema = parser.add_mutually_exclusive_group(required=True)
    schema.add_argument("--schema", metavar="SHARDS", help="shards, or their manifest, whose label maps it reads")
    schema.add_argument("--label", choices=get_args(LabelKind), help="our standard label maps of this kind")
    for side in ("height", "width"):
        parser.add_argument(
            f"--{side}",
            type=count,
            metavar="N",
            help=f"of pictures, with --label, in pixels (default: {DEFAULT_SIDE})",
        )


def _command(command_line: Sequence[str] | None) -> None:
    arguments = _parser().parse_args(command_line)
    if arguments.out.exists():
        raise BadInput(f"{arguments.out} exists already; choose another --out")
    schema, data = _schema(arguments)
    plan = systems.find(arguments.system).plan(arguments, schema)
    config = configs.validate(
        {"method": plan.method, "run": str(arguments.out.parent), "data": data, "options": plan.options},
        str(arguments.weights),
    )
    with torch.device("meta"):
        method = methods.find(config.method)(config.options, schema)
    tensors, left_out = _tensors(plan, method)
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
    checkpoints.write(arguments.out, Snapshot(state, tensors | averages, {}))
    digest = checkpoints.Checkpoint(arguments.out).state.digest
    if plan.centres:
        atomic.write_text(arguments.out / FILE, replace(plan.centres, checkpoint=digest).dumps())
    atomic.write_text(arguments.out / CONFIG, _to_go_on(config, arguments))
    _say(arguments, plan, tensors, left_out, bool(method.encoders and schema.ids and not plan.centres))


def _to_go_on(config: Config, arguments: argparse.Namespace) -> str:
    """The config of a run that begins with the checkpoint: what it must have to take its networks over."""
    said = config.model_dump(mode="json")
    data = {name: said["data"][name] for name in ("train", "test", "label", "height", "width") if said["data"][name]}
    if arguments.schema is None:
        # A folder of that name would have to be there; the command names it.
        del data["train"]
    settings = {
        "method": config.method,
        "run": f"{arguments.out}-trained",
        "start": str(arguments.out),
        "data": data,
        "options": said["options"],
    }
    head = "# What a run has to set that begins with the converted weights beside it; all else is as ever.\n"
    return head + str(yaml.safe_dump(settings, sort_keys=False))


def _tensors(plan: Plan, method: Method) -> tuple[dict[str, dict[str, Tensor]], int]:
    """The files' tensors by our networks and names, and how many statistics of norms were left out."""
    ours = {
        f"{name}.{key}": value
        for name, network in method.networks.items()
        for key, value in network.state_dict().items()
    }
    tensors: dict[str, dict[str, Tensor]] = {}
    left_out = 0
    for weights, names in plan.sources:
        taken, statistics = weights.take(names, ours)
        left_out += len(statistics)
        for full, value in taken.items():
            network, _, key = full.partition(".")
            tensors.setdefault(network, {})[key] = value
    for name, named in tensors.items():
        assert named.keys() == method.networks[name].state_dict().keys(), f"{name}'s names are not complete"
    return tensors, left_out


def _schema(arguments: argparse.Namespace) -> tuple[LabelSchema, dict[str, Any]]:
    """The label schema, and the config's section `data` for it."""
    if arguments.schema is not None:
        if arguments.height or arguments.width:
            raise BadInput("--height and --width go with --label; the shards of --schema have a size")
        with open_shards(arguments.schema) as (manifest, _):
            schema, split = manifest.schema, manifest.split
        shards: dict[str, Any] = {"train": arguments.schema, "test": arguments.schema if split == "test" else None}
    else:
        schema = standard_schema(arguments.label, arguments.height or DEFAULT_SIDE, arguments.width or DEFAULT_SIDE)
        shards = {"train": "none (converted weights)"}
    _check_kind(schema)
    return schema, {**shards, "label": schema.kind, "height": schema.height, "width": schema.width}


def _check_kind(schema: LabelSchema) -> None:
    """Raises BadInput for label maps that are pictures themselves: their channels fit, their values do not."""
    if _is_picture(kind_of(schema)):
        others = [name for name, kind in KINDS.items() if not _is_picture(kind)]
        raise BadInput(
            f"label maps of kind {schema.kind} are not converted: the authors' code reads label pictures in [-1, 1], "
            "ours are in [0, 1], and it would paint other pictures without a word; give weights that read "
            f"{', '.join(others)} (--label or --schema), or train on these label maps with trainer.run"
        )


def _is_picture(kind: Kind) -> bool:
    """Whether its label maps are neither drawn from points nor made of class ids."""
    return kind.points is None and not kind.ids


def _say(
    arguments: argparse.Namespace, plan: Plan, tensors: dict[str, dict[str, Tensor]], left_out: int, lacks_centres: bool
) -> None:
    """Prints what was read, what was left out, what was assumed, and what to type next."""
    print(f"{arguments.weights.name}: {plan.summary}")
    for name, named in tensors.items():
        print(f"  {name:<20} {sum(value.numel() for value in named.values()):>13,} parameters")
    if left_out:
        print(f"left out: {left_out} running statistics; these norms take theirs from each picture")
    out, shards = shlex.quote(str(arguments.out)), shlex.quote(arguments.schema or "SHARDS")
    train = "" if arguments.schema else " --data.train SHARDS"
    for line in [note for weights, _ in plan.sources for note in weights.notes]:
        print(line)
    for note in plan.told.notes:
        print(f"not taken over: {note}")
    if plan.told.assumed:
        print(f"assumed, as weights do not show it: {', '.join(plan.told.assumed)}")
        print(f"  say it by --config FILE: {systems.find(arguments.system).config}")
    print(f"{arguments.out}\nnext:")
    if lacks_centres:
        print(f"  python -m trainer.feature_centres --checkpoint {out} --data {shards}")
    print(f"  python -m export --checkpoint {out} --samples {shards} --out {out}.onnx")
    print(f"  python -m trainer.evaluate --checkpoint {out} --data {shards} --out {out}-judged")
    print(f"  accelerate launch trainer/run.py --config {out}/{CONFIG}{train}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
