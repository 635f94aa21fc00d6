"""One test over all methods: whatever lies in trainer/methods/ keeps the contract."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from likeness.command import BadInput
from shards.labels import standard_schema
from tests.trainer.methods.record_losses import GOLDEN, LATE, batch, first_losses, make, record
from trainer import methods
from trainer.method import Batch, Method, Synthesizer
from trainer.networks.norms import BatchNorm2d, with_statistics

ITERATIONS = 16
"""Iterations in a row in which every player has to have had a turn."""


@pytest.fixture(params=methods.available())
def method(request: pytest.FixtureRequest) -> Method:
    return make(request.param)


def test_published_systems_are_found() -> None:
    assert {"style_consistent", "pix2pixhd", "munit", "paired_munit"} <= set(methods.available())


def test_pictures_have_the_labels_size_and_range(method: Method) -> None:
    one = batch(method)
    image = Synthesizer(method, method.networks, 0).paint(one)
    assert image.shape == one.target.shape
    assert image.abs().max() < 1
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 64)])
@pytest.mark.parametrize("name", methods.available())
def test_a_generator_too_deep_for_the_pictures_is_refused(name: str, height: int, width: int, depth: int) -> None:
    """What is begun, paints pictures of the labels' size: the smallest features have two values to a side."""
    sizes = {"generator_base": 2, "generator_blocks": 1, "generator_downsamplings": depth, "discriminator_base": 2}
    kind = methods.find(name)
    if not sizes.keys() <= kind.options_type.model_fields.keys():
        pytest.skip(f"{name} has other options")
    if "discriminator_scales" in kind.options_type.model_fields:
        sizes["discriminator_scales"] = 1
    options, schema = kind.options_type(**sizes), standard_schema("sketch", height, width)
    if height % 2**depth or width % 2**depth or height < 2 * 2**depth:
        refused = rf"options\.generator_downsamplings {depth} needs pictures whose sides .* not {width}×{height}; pack"
        with pytest.raises(BadInput, match=refused):
            kind(options, schema)
        return
    method = kind(options, schema)
    given = {
        "label": torch.rand(1, schema.channels, height, width),
        "exemplar_label": torch.rand(1, schema.channels, height, width),
        "exemplar": torch.rand(1, 3, height, width),
    }
    image = method.synthesize(method.networks, {each: given[each] for each in method.inputs})
    assert image.shape == (1, 3, height, width) and torch.isfinite(image).all()


def test_each_player_gets_every_gradient_and_nobody_else_any(method: Method) -> None:
    given = batch(method)
    for tensor in (given.target, given.exemplar, given.consistent, given.inconsistent, given.label):
        tensor.requires_grad_(False)
    played: set[str] = set()
    for turns, images in iterations(method).items():
        played |= set(turns)
        check_gradients(method, given, turns, images)
    assert played == set(method.stage(LATE).players)
    if method.perceptual is not None:
        assert all(parameter.grad is None for parameter in method.perceptual.parameters())


def iterations(method: Method) -> dict[tuple[str, ...], int]:
    """The turns that there are in `ITERATIONS` iterations of one image, and the images at which they first come."""
    found: dict[tuple[str, ...], int] = {}
    for images in range(LATE, LATE + ITERATIONS):
        found.setdefault(method.turns(images), images)
    return found


def check_gradients(method: Method, given: Batch, turns: tuple[str, ...], images: int) -> None:
    plays = method.play(given, images)
    players = method.stage(images).players
    for player in turns:
        names = players[player]
        for name, network in method.networks.items():
            network.requires_grad_(name in names)
        played, losses = next(plays)
        assert played == player
        assert all(torch.isfinite(loss) for loss in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        for name, network in method.networks.items():
            for parameter in network.parameters():
                assert (parameter.grad is not None) == (name in names)
                parameter.grad = None
    assert next(plays, None) is None, "as many yields as turns"


def test_first_losses_are_those_on_record(method: Method, request: pytest.FixtureRequest) -> None:
    """A change of any of them is a change of what every run trains on, and is made on purpose.

    The numbers are ours; that they are right, test_parity and each system's own tests say. They were drawn on a CPU,
    which computes them anew to a few digits fewer than it prints.
    """
    name = request.node.callspec.params["method"]
    losses = first_losses(method)
    golden = json.loads(GOLDEN.read_text())
    assert name in golden, f"a new method? python -m tests.trainer.methods.record_losses {name}"
    assert losses == pytest.approx(golden[name], rel=1e-4, abs=1e-7), json.dumps({name: losses}, indent=1)


def test_recording_changes_nothing_that_is_on_record(
    method: Method, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    name = request.node.callspec.params["method"]
    file = tmp_path / GOLDEN.name
    file.write_text(GOLDEN.read_text())
    record([name], file)
    ours, golden = json.loads(file.read_text()), json.loads(GOLDEN.read_text())
    assert ours.pop(name) == pytest.approx(golden.pop(name), rel=1e-4, abs=1e-7)
    assert ours == golden


def test_norms_measure_samples_apart_or_over_all_ranks(method: Method) -> None:
    for network in method.learning_networks().values():
        assert all(isinstance(norm, BatchNorm2d) for _, norm in with_statistics(network))


def test_samples_of_a_batch_do_not_mix(method: Method) -> None:
    if any(True for network in method.networks.values() for _ in with_statistics(network)):
        pytest.skip("batch norms mix them on purpose")
    together = [loss for _, losses in make_plays(method, batch(method)) for loss in losses.values()]
    alone = [
        [loss for _, losses in make_plays(method, one) for loss in losses.values()]
        for one in (batch(method).first(1), _second(batch(method)))
    ]
    for both, first, second in zip(together, *alone, strict=True):
        torch.testing.assert_close(both, (first + second) / 2, rtol=1e-4, atol=1e-6)


def make_plays(method: Method, given: Batch) -> list[tuple[str, dict[str, torch.Tensor]]]:
    return list(method.play(given, LATE))


def _second(given: Batch) -> Batch:
    return Batch(**{field.name: getattr(given, field.name)[1:2] for field in fields(given)})
