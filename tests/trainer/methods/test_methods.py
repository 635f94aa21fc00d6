"""One test over all methods: whatever lies in trainer/methods/ keeps the contract."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from shards.labels import standard_schema
from trainer import methods
from trainer.method import Batch, Method, Synthesizer
from trainer.perceptual import load_vgg19

SCHEMA = standard_schema("sketch", 32, 32)
GOLDEN = Path(__file__).parents[2] / "golden" / "first_losses.json"


def make(name: str, options: dict[str, int]) -> Method:
    torch.manual_seed(0)
    kind = methods.find(name)
    method = kind(kind.options_type(**options), SCHEMA)
    if kind.needs_perceptual:
        method.perceptual = load_vgg19("random:0", divisor=16, resize_below=0)
    return method


def batch(method: Method, count: int = 2) -> Batch:
    torch.manual_seed(1)
    photos = [torch.rand(count, 3, 32, 32) * 2 - 1 for _ in range(4)]
    labels = [torch.rand(count, SCHEMA.channels, 32, 32) for _ in range(2)]
    return Batch(
        label=labels[0],
        target=photos[0],
        exemplar_label=labels[1],
        exemplar=photos[1],
        consistent=photos[2],
        inconsistent=photos[3],
        same_style=torch.arange(count) % 2 == 0,
        instances=torch.randint(0, 3, (count, 8, 8), dtype=torch.int32).repeat_interleave(4, 1).repeat_interleave(4, 2),
        noise=torch.randn(count, method.noise),
    )


@pytest.fixture(params=methods.available())
def method(request: pytest.FixtureRequest, tiny_options: Callable[[str], dict[str, int]]) -> Method:
    return make(request.param, tiny_options(request.param))


def test_published_systems_are_found() -> None:
    assert {"style_consistent", "pix2pixhd", "munit", "paired_munit"} <= set(methods.available())


def test_pictures_have_the_labels_size_and_range(method: Method) -> None:
    one = batch(method)
    image = Synthesizer(method, method.networks, 0).paint(one)
    assert image.shape == one.target.shape
    assert image.abs().max() < 1
    assert torch.isfinite(image).all()


def test_each_player_gets_every_gradient_and_nobody_else_any(method: Method) -> None:
    given = batch(method)
    for tensor in (given.target, given.exemplar, given.consistent, given.inconsistent, given.label):
        tensor.requires_grad_(False)
    plays = method.play(given, images=10**9)
    for player, names in method.players.items():
        for name, network in method.networks.items():
            network.requires_grad_(name in names)
        played, losses = next(plays)
        assert played == player
        assert all(torch.isfinite(loss) and loss >= 0 for loss in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        for name, network in method.networks.items():
            for parameter in network.parameters():
                assert (parameter.grad is not None) == (name in names)
                parameter.grad = None
    assert next(plays, None) is None, "as many turns as players"
    if method.perceptual is not None:
        assert all(parameter.grad is None for parameter in method.perceptual.parameters())


def test_first_losses_are_those_on_record(method: Method, request: pytest.FixtureRequest) -> None:
    """A change of any of them is a change of what every run trains on, and is made on purpose.

    The numbers are ours; that they are right, test_parity and each system's own tests say. They were drawn on a CPU,
    which computes them anew to a few digits fewer than it prints.
    """
    name = request.node.callspec.params["method"]
    losses = {
        f"{player}/{term}": value.item()
        for player, terms in method.play(batch(method), images=10**9)
        for term, value in terms.items()
    }
    golden = json.loads(GOLDEN.read_text())
    assert losses == pytest.approx(golden[name], rel=1e-4, abs=1e-7), json.dumps({name: losses}, indent=1)


def test_samples_of_a_batch_do_not_mix(method: Method) -> None:
    together = [loss for _, losses in make_plays(method, batch(method)) for loss in losses.values()]
    alone = [
        [loss for _, losses in make_plays(method, one) for loss in losses.values()]
        for one in (batch(method).first(1), _second(batch(method)))
    ]
    for both, first, second in zip(together, *alone, strict=True):
        torch.testing.assert_close(both, (first + second) / 2, rtol=1e-4, atol=1e-6)


def make_plays(method: Method, given: Batch) -> list[tuple[str, dict[str, torch.Tensor]]]:
    return list(method.play(given, images=10**9))


def _second(given: Batch) -> Batch:
    return Batch(**{field.name: getattr(given, field.name)[1:2] for field in fields(given)})
