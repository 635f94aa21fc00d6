"""The command that converts published checkpoints: sizes, refusals, and what the result is good for."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deploy.batch.open_pairs import open_pairs
from deploy.runtime import Session
from export.__main__ import main as export
from shards.labels import standard_schema
from shards.records import LabelSchema, load_manifest
from tests.trainer.convert.published import (
    BLOCKS,
    CLASSES,
    SIDE,
    SKETCH,
    AutoEncoder,
    Discriminators,
    Enhanced,
    Global,
    PhotoDiscriminators,
    at,
    saved,
    stirred,
)
from trainer import methods
from trainer.checkpoints.files import Checkpoint
from trainer.checkpoints.synthesis import load_for_synthesis
from trainer.config import Config
from trainer.convert import __main__ as convert
from trainer.convert import official_names as official
from trainer.convert import systems
from trainer.convert.official_weights import Names, Weights
from trainer.convert.systems import munit as munit_names
from trainer.loop import train

MakeConfig = Callable[..., Config]


def taken(names: Names, network: nn.Module, prefix: str, theirs: nn.Module, letter: str = "") -> int:
    """How many numbers a network takes of a full-size one; every name and shape has to fit."""
    ours = {f"{prefix}.{key}": value for key, value in network.state_dict().items()}
    state = {f"{letter}{key}": value for key, value in theirs.state_dict().items()}
    tensors, _ = Weights(Path("full"), state).take(names, ours)
    assert tensors.keys() == ours.keys()
    return sum(tensor.numel() for tensor in tensors.values())


def test_full_size() -> None:
    """Every published count (pix2pixHD 2, style-consistent 2, MUNIT 2), without a number computed."""
    schema = standard_schema("sketch", 256, 256)

    def of(method: str, **options: Any) -> dict[str, nn.Module]:
        kind = methods.find(method)
        return kind(kind.options_type.model_validate(options), schema).networks

    with torch.device("meta"):
        generator = Global(33, 64, 4, 9)
        weights = Weights(Path("full"), generator.state_dict())
        names = official.global_generator(official.generator_sizes(weights), "generator.body")
        assert taken(names, of("style_consistent")["generator"], "generator", generator) == 182_537_347

        boundaries = of("pix2pixhd", instances=True, enhancer=True, discriminator_scales=3)
        enhanced = Enhanced(SKETCH + 1, 32, 4, 9, 3)
        sizes = official.generator_sizes(Weights(Path("full"), enhanced.state_dict()), picture=False)
        assert (sizes.base, sizes.downsamplings, sizes.blocks) == (64, 4, 9)
        names = official.global_generator(sizes, "all.generator", picture=False)
        both = nn.ModuleDict({name: boundaries[name] for name in ("generator", "enhancer")})
        names |= official.local_enhancer(3, "all.enhancer")
        # 182,857,059 at 36 channels; each channel is read by 64 and by 32 filters of 7×7.
        assert taken(names, both, "all", enhanced) == 182_857_059 - 20 * 49 * (64 + 32)

        encoder = Global(3, 16, 4, 0)
        sizes = official.generator_sizes(Weights(Path("full"), encoder.state_dict()))
        featured = of("pix2pixhd", instances=True, features="instances", discriminator_scales=3)
        names = official.global_generator(sizes, "encoder")
        assert taken(names, featured["encoder"], "encoder", encoder) == 788_803

        judges = Discriminators(SKETCH + 4, 64, 3)
        names = Names()
        sizes_of_judges = official.patchgan_sizes(Weights(Path("full"), judges.state_dict()))
        for scale in range(3):
            names |= official.patchgan(scale, sizes_of_judges, f"discriminator.copies.{scale}")
        count = taken(names, featured["discriminator"], "discriminator", judges)
        assert count == 8_404_803 - 3 * 20 * 1_024

        domain = AutoEncoder(64, 4)
        munit = nn.ModuleDict({name: each for name, each in of("munit").items() if name.startswith("photo")})
        weights = Weights(Path("full"), {f"b.{name}": value for name, value in domain.state_dict().items()})
        names = munit_names.auto_encoder(munit_names.auto_encoder_sizes(weights, "b"), "all.photo").inside("b.")
        judge = munit.pop("photo_discriminator")
        assert taken(names, munit, "all", domain, "b.") == 15_026_187
        theirs = PhotoDiscriminators(64, 3)
        weights = Weights(Path("full"), {f"b.{name}": value for name, value in theirs.state_dict().items()})
        names = munit_names.discriminators(munit_names.discriminator_sizes(weights, "b"), "photo_discriminator")
        assert taken(names, judge, "photo_discriminator", theirs) == 8_271_171


State = dict[str, Tensor]


def without(name: str) -> Callable[[State], None]:
    def change(state: State) -> None:
        del state[name]

    return change


def with_tensor(name: str, *shape: int) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[name] = torch.zeros(shape)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model.7.bias"), r"G\.pth has no tensor model\.7\.bias \(our generator\.body\.down\.1\.0\.bias\)"),
        (without("model.1.weight"), r"has no tensor model\.1\.weight; it holds model\.1\.bias, "),
        (
            with_tensor("model.11.conv_block.5.weight", 16, 16, 1, 1),
            r"model\.11\.conv_block\.5\.weight \(our generator\.body\.trunk\.1\.body\.5\.weight\) has shape "
            r"\(16, 16, 1, 1\) instead of \(16, 16, 3, 3\)",
        ),
        (with_tensor("extra.weight", 3), r"has a tensor extra\.weight, of shape \(3,\), which our networks have not"),
        (with_tensor("model.2.weight", 4), r"tensor model\.2\.weight.*norms with parameters \(--norm batch\)"),
        (with_tensor("model.2.running_mean", 5), r"model\.2\.running_mean has shape \(5,\) instead of \(4,\)"),
        (with_tensor("model.3.running_mean", 4), r"has a tensor model\.3\.running_mean"),
        (with_tensor("model2_1.1.weight", 4), r"has a local enhancer"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[[State], None], message: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    state = dict(Global(2 * SKETCH + 3).state_dict())
    change(state)
    error = refused("style-consistent", saved(state, tmp_path / "latest_net_G.pth"), *at("sketch"))
    assert re.search(message, error), error


class Foreign:
    """What a file may bring that is not a tensor."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": Foreign()}, "holds more than tensors, and is not read"),
        ({"epoch": 3}, "epoch is a int, not a tensor"),
        ([torch.zeros(3)], "holds a list, not a state dict"),
    ],
)
def test_files_of_anything_else_are_refused(
    content: Any, message: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "latest_net_G.pth"
    torch.save(content, file)
    assert message in refused("pix2pixhd", file, *at("classes"))


def test_broken_and_missing_files_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "does not exist" in refused("pix2pixhd", tmp_path / "none.pth", *at("classes"))
    whole = saved(Global(CLASSES).state_dict(), tmp_path / "whole.pth").read_bytes()
    for name in ("cut.pth", "cut.safetensors"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert "is not a whole" in refused("pix2pixhd", tmp_path / name, *at("classes"))


def test_channels_have_to_be_those_of_the_labels(refused: Callable[..., str], tmp_path: Path) -> None:
    def file(name: str, network: nn.Module) -> Path:
        return saved(network.state_dict(), tmp_path / f"{name}.pth")

    rgb, plain = file("rgb", Global(3)), file("plain", Global(CLASSES))
    error = refused("pix2pixhd", rgb, *at("classes"))
    assert "rgb.pth reads 3 channels, but label maps of 20 channels (classes)" in error and "label_nc 0" in error
    error = refused("pix2pixhd", file("features", Global(CLASSES + 4)), *at("classes"))
    assert "reads 4 channels beside the 20 of its label maps: 3 of them are features; give their encoder" in error
    error = refused("pix2pixhd", plain, "--encoder", file("e", Global(3, blocks=0)), *at("classes"))
    assert "none of them is a feature" in error
    error = refused("pix2pixhd", plain, "--discriminator", file("d", Discriminators(CLASSES + 4)), *at("classes"))
    assert "d.pth reads 24 channels, but label channels, boundaries if any, and a photo are 23" in error
    error = refused("style-consistent", file("no_label", Global(SKETCH + 3)), *at("sketch"))
    assert "reads 18 channels, but two label maps and an exemplar of label maps of 15 channels (sketch) are 33" in error
    three = file("three", Discriminators(SKETCH + 3, scales=3))
    right = file("right", Global(2 * SKETCH + 3))
    assert "three.pth has 3 scales" in refused("style-consistent", right, "--discriminator", three, *at("sketch"))


@pytest.mark.parametrize("kind", ["picture", "edges"])
@pytest.mark.parametrize("system", systems.available())
def test_labels_that_are_pictures_are_refused(
    system: str, kind: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    """Their channels fit, as pix2pixHD's `label_nc 0` has them: only the range of values is another."""
    channels = standard_schema(kind, SIDE, SIDE).channels
    networks = {"pix2pixhd": Global(channels), "style-consistent": Global(2 * channels + 3)}
    state = networks[system].state_dict() if system in networks else {"a": AutoEncoder().state_dict()}
    error = refused(system, saved(state, tmp_path / "latest_net_G.pth"), *at(kind))
    assert f"label maps of kind {kind} are not converted" in error and "[-1, 1], ours are in [0, 1]" in error
    assert "sketch, pose, classes (--label or --schema)" in error


def test_shards_of_pictures_are_refused(packed: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    manifest = json.loads((packed / "test" / "manifest.json").read_text())
    manifest["schema"] = standard_schema("picture", SIDE, SIDE).to_json()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    file = saved(Global(3).state_dict(), tmp_path / "latest_net_G.pth")
    assert "label maps of kind picture" in refused("pix2pixhd", file, "--schema", tmp_path)


def test_a_label_schema_of_shards(packed: Path, written: Callable[..., Path], tmp_path: Path) -> None:
    file = saved(Global(SKETCH).state_dict(), tmp_path / "G.pth")
    out = written("pix2pixhd", file, "--schema", packed / "test")
    state = Checkpoint(out).state
    assert LabelSchema.from_json(state.schema) == load_manifest(packed / "test")[0].schema
    assert load_for_synthesis(out).test_shards == str(packed / "test")


def test_what_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(Global(CLASSES).state_dict(), tmp_path / "G.pth")
    assert convert.main(["pix2pixhd", str(file), *at("classes"), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.fixture
def face(packed: Path, written: Callable[..., Path], tmp_path: Path) -> Path:
    """A converted style-consistent generator for the shards at hand, without its discriminators."""
    file = saved(stirred(Global(2 * SKETCH + 3)).state_dict(), tmp_path / "latest_net_G.pth")
    return written("style-consistent", file, "--schema", packed / "test")


def test_it_is_to_begin_with_and_not_to_resume(face: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config(
        "style_consistent",
        images=4,
        start=str(face),
        options__generator_blocks=BLOCKS,
        optimizer__learning_rate=1e-9,
    )
    with pytest.raises(ValueError, match=r"converted from .*latest_net_G\.pth and has no optimizers .*--start "):
        train(config, resume=str(face))
    train(config)
    after = Checkpoint(config.run / "checkpoint-0000000004")
    assert after.state.steps == 2 and not after.state.converted
    for name in ("generator", "generator.ema"):
        before = Checkpoint(face).tensors(name)
        for key, tensor in after.tensors(name).items():
            torch.testing.assert_close(tensor, before[key], atol=1e-6, rtol=0)


def test_a_network_that_was_never_given_is_not_damaged(face: Path) -> None:
    with pytest.raises(ValueError, match=r"was written without realism\.safetensors; it has generator, generator\.ema"):
        Checkpoint(face).tensors("realism")
    (face / "generator.safetensors").unlink()
    with pytest.raises(ValueError, match="is damaged"):
        Checkpoint(face).tensors("generator")


def test_it_is_exported_and_served(face: Path, packed: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    assert export(["--checkpoint", str(face), "--out", str(model)]) == 0
    command = [sys.executable, "-m", "deploy", "batch", "--model", model, "--pairs", packed / "test"]
    done = subprocess.run([*command, "--out", tmp_path / "pictures"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == load_manifest(packed / "test")[0].samples


@pytest.mark.parametrize("system", ["pix2pixhd", "munit"])
def test_the_baselines_are_exported_and_run(
    system: str, packed: Path, written: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = [system, tmp_path / "weights.pth", "--schema", packed / "test"]
    if system == "munit":
        saved({each: stirred(AutoEncoder()).state_dict() for each in "ab"}, tmp_path / "weights.pth")
        judges = {each: stirred(PhotoDiscriminators()).state_dict() for each in "ab"}
        arguments += ["--discriminator", saved(judges, tmp_path / "dis.pth")]
    else:
        saved(stirred(Global(SKETCH)).state_dict(), tmp_path / "weights.pth")
    out = written(*arguments)
    model = tmp_path / "model.onnx"
    assert export(["--checkpoint", str(out), "--out", str(model), "--samples", str(packed / "test")]) == 0
    session = Session(model)
    assert session.method == system
    pairs = open_pairs(packed / "test", session.schema, session.inputs)
    loaded = next(iter(pairs.jobs(lambda *_: True))).load()
    image = session.run(**{name: value[None] for name, value in session.tensors(loaded).items()})
    assert image.shape == (1, 3, 32, 32) and np.isfinite(image).all() and image.std() > 0
