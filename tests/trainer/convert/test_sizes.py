"""Networks of any size that the authors' options make are converted, and compute what theirs compute."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shards.labels import standard_schema
from tests.trainer.convert.published import (
    AutoEncoder,
    Discriminators,
    Enhanced,
    Global,
    PhotoDiscriminators,
    agree,
    numbers,
    saved,
    stirred,
)
from trainer import methods
from trainer.convert import __main__ as convert
from trainer.convert import systems

SIDE = 64
CHANNELS = 3
Networks = dict[str, nn.Module]
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.integers(1, 3)


def networks_of(command: list[str | Path]) -> Networks:
    """The networks that the command would write, with their weights."""
    arguments = convert._parser().parse_args([*map(str, command), "--label", "classes", "--out", "none"])
    schema = standard_schema("classes", SIDE, SIDE)
    plan = systems.find(arguments.system).plan(arguments, schema)
    kind = methods.find(plan.method)
    method = kind(kind.options_type.model_validate(plan.options), schema)
    tensors, _ = convert._tensors(plan, method)
    for name, state in tensors.items():
        method.networks[name].load_state_dict(state)
    return {name: method.networks[name].eval() for name in tensors}


def of_picture(channels: int) -> Tensor:
    return numbers(1, channels, SIDE, SIDE, seed=7)


@few
@given(
    base=sizes,
    down=sizes,
    blocks=st.integers(0, 2),
    own_blocks=st.integers(0, 2),
    enhanced=st.booleans(),
    instances=st.booleans(),
    features=st.integers(0, 4),
    encoder=st.tuples(sizes, st.integers(1, 4)),
    judges=st.tuples(sizes, st.integers(1, 3), st.booleans(), st.integers(1, 4)),
)
def test_pix2pixhd(
    base: int,
    down: int,
    blocks: int,
    own_blocks: int,
    enhanced: bool,
    instances: bool,
    features: int,
    encoder: tuple[int, int],
    judges: tuple[int, int, bool, int],
    tmp_path: Path,
) -> None:
    channels = 20 + instances + features
    generator = Enhanced(channels, base, down, blocks, own_blocks) if enhanced else Global(channels, base, down, blocks)
    judge = stirred(Discriminators(20 + instances + 3, *judges))
    command = ["pix2pixhd", saved(stirred(generator).state_dict(), tmp_path / "G.pth")]
    command += ["--discriminator", saved(judge.state_dict(), tmp_path / "D.pth")]
    if features:
        looks = stirred(Global(3, *encoder, blocks=0))
        looks.model[-2] = nn.Conv2d(encoder[0], features, 7)
        command += ["--encoder", saved(looks.state_dict(), tmp_path / "E.pth")]
    ours = networks_of(command)
    with torch.inference_mode():
        x = of_picture(channels)
        if enhanced:
            coarse = ours["generator"](nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
            painted = ours["enhancer"](x, coarse)
        else:
            painted = ours["generator"](x)
        torch.testing.assert_close(painted, generator(x), atol=1e-5, rtol=0)
        if features:
            torch.testing.assert_close(ours["encoder"](of_picture(3)), looks(of_picture(3)), atol=1e-5, rtol=0)
        seen = of_picture(20 + instances + 3)
        scores = []
        for name in ("fine_discriminator", "discriminator"):
            if name in ours:
                scores += [scale[-1] for scale in ours[name](seen)]
                seen = nn.functional.avg_pool2d(seen, 3, 2, 1, count_include_pad=False)
        for own, wanted in zip(scores, judge(of_picture(20 + instances + 3)), strict=True):
            torch.testing.assert_close(own, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("base", [64, 128, 300])
def test_discriminators_are_never_wider_than_512(base: int) -> None:
    """Their shapes alone: in full they would take seconds."""
    with torch.device("meta"):
        theirs = Discriminators(6, base, scales=1, layers=4).state_dict()
        kind = methods.find("pix2pixhd")
        options = kind.options_type.model_validate(
            {"discriminator_base": base, "discriminator_layers": 4, "discriminator_scales": 1}
        )
        ours = kind(options, standard_schema("picture", SIDE, SIDE)).networks["discriminator"].state_dict()
    assert sorted(tuple(value.shape) for value in ours.values()) == sorted(
        tuple(value.shape) for value in theirs.values()
    )


@few
@given(
    base=sizes,
    blocks=sizes,
    down=sizes,
    code=st.integers(1, 9),
    hidden=st.integers(1, 9),
    judges=st.tuples(sizes, st.integers(1, 2), st.integers(1, 5)),
)
def test_munit(
    base: int,
    blocks: int,
    down: int,
    code: int,
    hidden: int,
    judges: tuple[int, int, int],
    tmp_path: Path,
) -> None:
    theirs = {each: stirred(AutoEncoder(base, blocks, down, code, hidden), seed) for seed, each in enumerate("ab")}
    judge = {each: stirred(PhotoDiscriminators(*judges), seed) for seed, each in enumerate("ab")}
    generators, discriminators = (
        saved({each: network.state_dict() for each, network in networks.items()}, tmp_path / name)
        for networks, name in ((theirs, "gen.pt"), (judge, "dis.pt"))
    )
    ours = networks_of(["munit", generators, "--discriminator", discriminators])
    with torch.inference_mode():
        x = of_picture(3)
        content = ours["label_content"](x)
        torch.testing.assert_close(content, theirs["a"].enc_content(x), atol=1e-5, rtol=0)
        style = ours["photo_style"](x)
        torch.testing.assert_close(style, theirs["b"].enc_style(x).flatten(1), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            ours["photo_decoder"](content, style), theirs["b"].decode(content, style), atol=1e-4, rtol=0
        )
        for own, wanted in zip(ours["photo_discriminator"](x), judge["b"](x), strict=True):
            torch.testing.assert_close(own, wanted, atol=1e-5, rtol=0)


@few
@given(base=sizes, down=sizes, blocks=st.integers(0, 2), judges=st.tuples(sizes, st.booleans(), st.integers(1, 4)))
def test_style_consistent(base: int, down: int, blocks: int, judges: tuple[int, bool, int], tmp_path: Path) -> None:
    generator = stirred(Global(43, base, down, blocks))
    width, staged, layers = judges
    realism, style = (stirred(Discriminators(channels, width, 1, staged, layers)) for channels in (23, 6))
    ours = networks_of(
        [
            *("style-consistent", saved(generator.state_dict(), tmp_path / "G.pth")),
            *("--discriminator", saved(realism.state_dict(), tmp_path / "D.pth")),
            *("--style-discriminator", saved(style.state_dict(), tmp_path / "SD.pth")),
        ]
    )
    with torch.inference_mode():
        x = of_picture(43)
        torch.testing.assert_close(ours["generator"](*x.split([20, 20, 3], 1)), generator(x), atol=1e-5, rtol=0)
        torch.testing.assert_close(ours["realism"](x[:, :23]), realism(x[:, :23])[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours["style"](x[:, :6]), style(x[:, :6])[0], atol=1e-5, rtol=0)


def test_networks_of_these_sizes_tell_apart() -> None:
    """That the comparison above can fail: two networks of one size and other weights differ."""
    x = of_picture(3)
    with torch.inference_mode(), pytest.raises(AssertionError):
        agree(stirred(Global(3, 2, 1, 1), 1)(x), stirred(Global(3, 2, 1, 1), 2)(x))
