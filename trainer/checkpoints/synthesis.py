"""The painter of a checkpoint: what export and evaluation need of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from likeness.command import BadInput
from shards.inputs import STYLE_LENGTH
from shards.labels.instance_features import CHANNELS
from shards.records import SIZE_MULTIPLE, LabelSchema
from trainer import config as configs
from trainer import methods
from trainer.checkpoints.files import STATE, Checkpoint, State, find
from trainer.method import Method, Regions, Synthesizer
from trainer.tracking.state import tracked_run

FINISHED = 10**12
"""More images than any run sees: networks without weights are those of a method's last stage."""


@dataclass(frozen=True)
class Synthesis:
    """A generator ready to make pictures: what export and evaluation need of a checkpoint."""

    module: nn.Module
    """Takes the tensors named in `inputs`, in order, and gives (N, 3, H, W) in (-1, 1); on the CPU, in eval mode, with
    averaged weights, whose norms have settled where the method has them settle."""
    inputs: tuple[str, ...]
    """What the module takes, in order."""
    schema: LabelSchema
    """Of the label maps that it was trained on."""
    method: str
    """The method's name."""
    config: dict[str, Any]
    """The run's settings, as JSON has them."""
    images_seen: int
    """When the weights were as they are; 0 for untrained ones."""
    sha256: str
    """The checkpoint's digest, "untrained" without one."""
    run_id: str | None
    """Of the MLflow run, None without one."""
    tracking_uri: str | None
    """Where that run is tracked, None without a checkpoint."""
    test_shards: str | None
    """Folder or URL of the run's held-out shards, None without any."""
    perceptual: str
    """The weights of the loss network that it was trained with."""
    folder: Path | None = None
    """The checkpoint's, None without one."""
    size_multiple: int = SIZE_MULTIPLE
    """See `trainer.method.Method`."""
    style_length: int = STYLE_LENGTH
    """See `trainer.method.Method`."""
    feature_channels: int = CHANNELS
    """See `trainer.method.Method`."""
    reach: int | None = None
    """See `trainer.method.Method`."""
    regions: Regions = "instances"
    """See `trainer.method.Method`."""


def load_for_synthesis(path: Path, inputs: tuple[str, ...] | None = None) -> Synthesis:
    """Reads the averaged generator of a checkpoint, or of a run's latest one.

    inputs: one of the sets that the method synthesizes from; None for its first.
    Raises BadInput when there is no checkpoint at `path`, when it is damaged, or for other inputs.
    """
    folder = find(path)
    if folder is None:
        raise BadInput(f"no checkpoint at {path}; give a run's folder or one of its checkpoint-… folders")
    checkpoint = Checkpoint(folder)
    config = configs.validate(checkpoint.state.config, str(folder / STATE))
    # A checkpoint may be older than its run's id, which a server gives when it can.
    run_id = tracked_run(folder.parent, config.tracking.uri) or checkpoint.state.run_id
    state = replace(checkpoint.state, run_id=run_id)
    synthesis = replace(_synthesis(config, LabelSchema.from_json(state.schema), state, inputs), folder=folder)
    networks = synthesis.module.networks
    assert isinstance(networks, nn.ModuleDict)
    for name, network in networks.items():
        network.load_state_dict(checkpoint.tensors(f"{name}.ema"))
    return synthesis


def untrained(
    files: Path | Sequence[Path], overrides: Sequence[str] = (), inputs: tuple[str, ...] | None = None
) -> Synthesis:
    """A config's generator with random weights, to measure an architecture before anybody trained it.

    inputs: as those of `load_for_synthesis`.
    """
    config = configs.load(files, overrides)
    torch.manual_seed(config.seed)
    return _synthesis(config, config.data.label_schema, None, inputs)


def architecture(
    method: str, options: Mapping[str, Any], schema: LabelSchema, images: int | None, inputs: tuple[str, ...]
) -> Synthesis:
    """The network of a method's options and a label schema, with random weights: as large and as slow as trained.

    images: seen when it was exported, None for an untrained one. inputs: as those of `load_for_synthesis`.
    Raises BadInput for a method or an option that this release does not know.
    """
    kind = methods.find(method)
    try:
        built = kind(kind.options_type.model_validate(options), schema)
    except ValidationError as error:
        raise BadInput(f"{method} has other options in this release ({error.errors()[0]['msg']})") from error
    return Synthesis(
        module=_painter(built, FINISHED if images is None else images, inputs),
        inputs=inputs,
        schema=schema,
        method=method,
        config={"options": dict(options)},
        images_seen=0,
        sha256="untrained",
        run_id=None,
        tracking_uri=None,
        test_shards=None,
        perceptual="none",
        size_multiple=built.size_multiple,
        style_length=built.style_length,
        feature_channels=built.feature_channels,
        reach=built.reach(),
        regions=built.regions,
    )


def _painter(method: Method, images: int, inputs: tuple[str, ...]) -> Synthesizer:
    """The networks that paint after so many images, and no others: discriminators and pools may be far larger."""
    painter = Synthesizer(method, method.networks, images, inputs)
    method.networks = dict(painter.networks.items())
    return painter.eval().requires_grad_(False)


def _synthesis(
    config: configs.Config, schema: LabelSchema, state: State | None, inputs: tuple[str, ...] | None
) -> Synthesis:
    method = methods.find(config.method)(config.options, schema)
    known = (method.inputs, *method.ways)
    if inputs is not None and inputs not in known:
        sets = " | ".join(" ".join(names) for names in known)
        raise BadInput(f"{config.method} makes no pictures from the inputs {' '.join(inputs)}; it does from: {sets}")
    inputs = inputs or method.inputs
    return Synthesis(
        module=_painter(method, state.images if state else FINISHED, inputs),
        inputs=inputs,
        schema=schema,
        method=config.method,
        config=config.model_dump(mode="json"),
        images_seen=state.images if state else 0,
        sha256=state.digest if state else "untrained",
        run_id=state.run_id if state else None,
        tracking_uri=config.tracking.uri if state else None,
        test_shards=config.data.test if state else None,
        perceptual=config.perceptual.weights,
        size_multiple=method.size_multiple,
        style_length=method.style_length,
        feature_channels=method.feature_channels,
        reach=method.reach(),
        regions=method.regions,
    )
