"""Published weights of the style-consistent method, converted: what they paint and how they judge."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
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


@pytest.mark.parametrize(
    ("channels", "ways"),
    [
        (49, ("poses with DensePose pictures", "shards pack --labels pose --openpose DIR --densepose DIR")),
        (87, ("the classes 0 to 40 and 255", "--classes shards/sources/pix2pixsc-street-classes.json")),
        (33, ("--label sketch",)),
    ],
)
def test_published_weights_of_every_task_are_told_their_labels(
    channels: int, ways: tuple[str, ...], refused: Callable[..., str], tmp_path: Path
) -> None:
    file = saved(Global(channels).state_dict(), tmp_path / "latest_net_G.pth")
    error = refused("style-consistent", file, *at("pose"))
    assert f"reads {channels} channels" in error and all(way in error for way in ways), error


@pytest.mark.parametrize(
    "schema",
    [
        standard_schema("pose", SIDE, SIDE, with_densepose=True),
        LabelSchema(
            kind="classes",
            channels=42,
            height=SIDE,
            width=SIDE,
            names=tuple(f"class {number}" for number in (*range(41), 255)),
            colours=tuple((number, 0, 0) for number in range(42)),
            ids=(*range(41), 255),
        ),
    ],
    ids=["dance", "street"],
)
def test_shards_like_the_published_ones_take_the_published_weights(
    schema: LabelSchema, packed: Path, written: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = json.loads((packed / "test" / "manifest.json").read_text())
    manifest["schema"] = schema.to_json()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    file = saved(Global(2 * schema.channels + 3).state_dict(), tmp_path / "latest_net_G.pth")
    out = written("style-consistent", file, "--schema", tmp_path)
    assert LabelSchema.from_json(Checkpoint(out).state.schema) == schema


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
