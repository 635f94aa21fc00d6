"""Published weights of pix2pixHD, converted: what they paint and how they judge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainer.convert.published import (
    CLASSES,
    SIDE,
    Discriminators,
    Enhanced,
    Global,
    agree,
    at,
    edges,
    half,
    labels,
    network_of,
    numbers,
    painted,
    photos,
    saved,
    stirred,
)
from trainer.checkpoints.synthesis import load_for_synthesis


@pytest.mark.parametrize("conditions", ["", "boundaries", "boundaries, features", "features"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["global", "enhanced"])
def test_pix2pixhd(
    conditions: str, enhanced: bool, written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boundaries, features = "boundaries" in conditions, "features" in conditions
    channels = CLASSES + boundaries + 3 * features
    theirs = stirred((Enhanced if enhanced else Global)(channels))
    # The two ways in which files differ: running statistics of older versions, and names of a parallel wrapper.
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    norms = 0
    for name, module in theirs.named_modules():
        if isinstance(module, nn.InstanceNorm2d):
            norms += 1
            state[f"module.{name}.running_mean"] = numbers(module.num_features, seed=norms)
            state[f"module.{name}.running_var"] = numbers(module.num_features, seed=norms).exp()
    arguments = ["pix2pixhd", saved(state, tmp_path / "latest_net_G.pth"), *at("classes")]
    encoder = stirred(Global(3, blocks=0), 1)
    if features:
        arguments += ["--encoder", saved(encoder.state_dict(), tmp_path / "latest_net_E.pth")]
    out = written(*arguments)
    synthesis = load_for_synthesis(out)
    given = {"label": labels(CLASSES)}
    read = [given["label"]]
    if boundaries:
        given["instances"] = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2, SIDE, SIDE), np.int32))
        read.append(edges(given["instances"]))
    if features:
        given["features"] = photos(6)
        read.append(given["features"])
        agree(synthesis.module.networks["encoder"](photos(7)).detach(), encoder(photos(7)).detach())
    assert synthesis.inputs == tuple(given)
    options = synthesis.config["options"]
    assert options["features"] == ("none" if not features else "instances" if boundaries else "classes")
    agree(painted(synthesis, **given), theirs(torch.cat(read, 1)).detach())
    assert f"left out: {2 * norms} running statistics" in capsys.readouterr().out


@pytest.mark.parametrize("staged", [True, False], ids=["by stage", "whole"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["global", "enhanced"])
def test_discriminators_of_pix2pixhd(
    enhanced: bool, staged: bool, written: Callable[..., Path], tmp_path: Path
) -> None:
    theirs = stirred(Discriminators(CLASSES + 1 + 3, scales=3, staged=staged))
    generator = stirred((Enhanced if enhanced else Global)(CLASSES + 1))
    file = saved(theirs.state_dict(), tmp_path / "D.pth")
    out = written(
        *("pix2pixhd", saved(generator.state_dict(), tmp_path / "G.pth"), "--discriminator", file, *at("classes"))
    )
    seen = torch.cat([labels(CLASSES + 1), photos(2)], 1)
    inputs, scores = seen, []
    if enhanced:
        scores += [scale[-1] for scale in network_of(out, "fine_discriminator")(inputs)]
        inputs = half(inputs)
    scores += [scale[-1] for scale in network_of(out, "discriminator")(inputs)]
    for ours, wanted in zip(scores, theirs(seen), strict=True):
        agree(ours.detach(), wanted.detach())
