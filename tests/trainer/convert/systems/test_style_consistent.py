"""Published weights of the style-consistent method, converted: what they paint and how they judge."""

from collections.abc import Callable
from pathlib import Path

import torch

from likeness.checksums import sha256_of
from shards.labels import standard_schema
from shards.records import LabelSchema
from tests.trainer.convert.published import (
    SIDE,
    SKETCH,
    Discriminators,
    Global,
    agree,
    at,
    labels,
    network_of,
    painted,
    photos,
    saved,
    stirred,
)
from trainer.checkpoints.files import Checkpoint
from trainer.checkpoints.synthesis import load_for_synthesis


def test_style_consistent(written: Callable[..., Path], tmp_path: Path) -> None:
    theirs = stirred(Global(2 * SKETCH + 3))
    realism, style = (
        stirred(Discriminators(channels, scales=1, staged=staged), seed)
        for seed, (channels, staged) in enumerate([(SKETCH + 3, False), (6, True)], start=1)
    )
    files = {
        "G": saved(theirs.state_dict(), tmp_path / "latest_net_G.pth"),
        "D": saved(realism.state_dict(), tmp_path / "latest_net_D.pth"),
        "SD": saved(style.state_dict(), tmp_path / "latest_net_SD.pth"),
    }
    out = written(
        *("style-consistent", files["G"], "--discriminator", files["D"], "--style-discriminator", files["SD"]),
        *at("sketch"),
    )
    given = {"label": labels(SKETCH, 1), "exemplar_label": labels(SKETCH, 2), "exemplar": photos(3)}
    synthesis = load_for_synthesis(out)
    agree(painted(synthesis, **given), theirs(torch.cat(list(given.values()), 1)).detach())
    seen = torch.cat([given["label"], photos(4)], 1)
    agree(network_of(out, "realism")(seen).detach(), realism(seen)[0].detach())
    seen = torch.cat([photos(4), photos(5)], 1)
    agree(network_of(out, "style")(seen).detach(), style(seen)[0].detach())
    state = Checkpoint(out).state
    assert state.images == 0 and synthesis.images_seen == 0
    assert state.converted == {str(file): sha256_of(file) for file in files.values()}
    assert LabelSchema.from_json(state.schema) == standard_schema("sketch", SIDE, SIDE)
