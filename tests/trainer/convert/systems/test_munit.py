"""Published weights of MUNIT, converted: what they paint and how they judge."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.convert.published import (
    SKETCH,
    AutoEncoder,
    PhotoDiscriminators,
    agree,
    at,
    labels,
    network_of,
    numbers,
    painted,
    photos,
    saved,
    stirred,
)
from trainer.checkpoints.synthesis import load_for_synthesis


@pytest.mark.parametrize("letter", ["a", "b"])
def test_munit(letter: str, written: Callable[..., Path], tmp_path: Path) -> None:
    generators = {each: stirred(AutoEncoder(), seed) for seed, each in enumerate("ab")}
    judges = {each: stirred(PhotoDiscriminators(), seed) for seed, each in enumerate("ab", start=2)}
    files = [
        saved({each: network.state_dict() for each, network in networks.items()}, tmp_path / f"{name}_01000000.pt")
        for name, networks in (("gen", generators), ("dis", judges))
    ]
    out = written("munit", files[0], "--discriminator", files[1], "--labels", letter, *at("sketch"))
    label, photo = letter, "b" if letter == "a" else "a"
    drawn, exemplar, style = labels(SKETCH), photos(2), numbers(2, 8)
    content = generators[label].enc_content(drawn[:, :1].expand(-1, 3, -1, -1) * 2 - 1)

    guided = generators[photo].decode(content, generators[photo].enc_style(exemplar)).detach()
    agree(painted(load_for_synthesis(out), label=drawn, exemplar=exemplar), guided)
    random = generators[photo].decode(content, style).detach()
    agree(painted(load_for_synthesis(out, ("label", "style")), label=drawn, style=style), random)
    back = generators[label].decode(content, style).detach()
    ours = network_of(out, "label_decoder")(content, style).detach()
    agree(ours, back)
    for domain, each in (("label", label), ("photo", photo)):
        scores = network_of(out, f"{domain}_discriminator")(exemplar)
        for own, wanted in zip(scores, judges[each](exemplar), strict=True):
            agree(own.detach(), wanted.detach())
