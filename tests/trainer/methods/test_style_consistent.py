"""What is particular to the style-consistent method (specification 2.1, 3.4, 9.2 to 9.4)."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shards.labels import standard_schema
from trainer.method import Batch
from trainer.methods.style_consistent import METHOD, StyleConsistent
from trainer.perceptual import load_vgg19

SCHEMA = standard_schema("sketch", 32, 32)
SMALL: dict[str, Any] = {
    "generator_base": 8,
    "generator_downsamplings": 2,
    "generator_blocks": 1,
    "discriminator_base": 8,
}


def make(**options: Any) -> StyleConsistent:
    torch.manual_seed(0)
    method = METHOD(METHOD.options_type(**SMALL | options), SCHEMA)
    assert isinstance(method, StyleConsistent)
    method.perceptual = load_vgg19("random:0", divisor=16, resize_below=0)
    return method


def batch(count: int = 2) -> Batch:
    torch.manual_seed(1)
    photos = [torch.rand(count, 3, 32, 32) * 2 - 1 for _ in range(4)]
    labels = [torch.rand(count, 15, 32, 32) for _ in range(2)]
    return Batch(labels[0], photos[0], labels[1], *photos[1:], same_style=torch.tensor([1.0, 0.0])[:count])


def paint(method: StyleConsistent, given: Batch) -> Tensor:
    return method.synthesize(method.networks, method.inputs_of(method.networks, given))


def shifted(given: Batch) -> Batch:
    """The same exemplar in another colour cast."""
    return replace(given, exemplar=given.exemplar + torch.tensor([0.5, -0.3, 0.2]).view(3, 1, 1))


def train_colour(method: StyleConsistent) -> None:
    """A few steps: a fresh colour path starts as identity, so that it cannot be seen before the first."""
    given = batch()
    optimizer = torch.optim.Adam(method.networks["generator"].parameters(), 1e-2)
    for _ in range(5):
        (paint(method, given) - given.target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_the_published_generator_is_blind_to_the_exemplars_colour_cast() -> None:
    method, given = make(colour_aware=False), batch()
    train_colour(method)
    torch.testing.assert_close(paint(method, shifted(given)), paint(method, given), atol=1e-4, rtol=0)
    scores = [method._style(one, given.target)[0] for one in (given, shifted(given))]
    assert (scores[0] - scores[1]).abs().max() > 0.05, "D_SC does see it"


def test_the_colour_aware_generator_sees_the_cast() -> None:
    method, given = make(colour_aware=True), batch()
    train_colour(method)
    assert (paint(method, shifted(given)) - paint(method, given)).abs().max() > 0.05


def test_label_and_exemplar_label_are_not_interchangeable() -> None:
    method, given = make(), batch()
    swapped = replace(given, label=given.exemplar_label, exemplar_label=given.label)
    assert (paint(method, swapped) - paint(method, given)).abs().max() > 1e-3


def test_first_inputs_are_label_exemplar_label_exemplar() -> None:
    method, given = make(), batch()
    seen: list[Tensor] = []
    method.networks["generator"].body.first.register_forward_pre_hook(lambda _, args: seen.append(args[0]))  # type: ignore[union-attr]
    paint(method, given)
    assert torch.equal(seen[0], torch.cat([given.label, given.exemplar_label, given.exemplar], 1))


class Constant(nn.Module):
    """A discriminator that scores everything alike."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.score.expand(len(inputs), 1, 3, 3)


@pytest.mark.parametrize(
    ("score", "realism", "style", "generator"),
    [(0.0, 0.5, 0.5, 11), (0.5, 0.25, 0.375, 2.75), (1.0, 0.5, 1.0, 0), (1 / 3, 0.2778, 0.3333, 4.8889)],
)
def test_losses_on_constant_scores(score: float, realism: float, style: float, generator: float) -> None:
    method = make(semantic_weight=0)
    method.networks["realism"] = method.networks["style"] = Constant(score)
    totals = {player: sum(loss.item() for loss in losses.values()) for player, losses in method.play(batch(), 250_000)}
    assert totals == pytest.approx({"generator": generator, "realism": realism, "style": style}, abs=1e-4)


def test_the_style_term_waits_for_its_phase_but_its_discriminator_does_not() -> None:
    method = make()
    before, after = (dict(method.play(batch(), images)) for images in (249_999, 250_000))
    assert "style" not in before["generator"]
    assert after["generator"]["style"] > 0
    assert set(before["style"]) == {"consistent", "fake", "inconsistent"}


@pytest.mark.parametrize("weighting", ["adaptive", "official"])
def test_semantic_term_is_zero_for_a_perfect_picture_and_per_sample(weighting: str) -> None:
    method, given = make(weighting=weighting), batch()
    assert method._generator_losses(given, given.target, 1.0)["semantic"].item() == 0
    both = method._generator_losses(given, given.exemplar, 1.0)["semantic"]
    halves = []
    for index in (0, 1):
        one = Batch(*(getattr(given, name)[index : index + 1] for name in Batch.__dataclass_fields__))
        halves.append(method._generator_losses(one, one.exemplar, 1.0)["semantic"])
    torch.testing.assert_close(both, (halves[0] + halves[1]) / 2, rtol=1e-5, atol=0)


def test_the_style_discriminator_never_sees_labels() -> None:
    method, given = make(), batch()
    given.label.requires_grad_(True)
    given.exemplar_label.requires_grad_(True)
    given.exemplar.requires_grad_(True)
    plays = method.play(given, 0)
    next(plays), next(plays)
    _, losses = next(plays)
    torch.stack(list(losses.values())).sum().backward()
    assert given.label.grad is None and given.exemplar_label.grad is None
    assert given.exemplar.grad is not None


def test_a_style_phase_must_begin_at_the_start() -> None:
    with pytest.raises(ValueError, match="begin at image 0"):
        METHOD.options_type(style_phases=[(10, 1.0)])
