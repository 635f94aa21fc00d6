"""Who plays when, at which rate, and what norms with statistics and frozen networks come to: on the example."""

import importlib
import inspect
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn.modules._functions import SyncBatchNorm

from likeness.command import BadInput
from tests.trainer.methods.record_losses import batch
from tests.trainer.methods.with_example import EXAMPLE
from trainer import methods
from trainer.config import Config
from trainer.estimate import estimate
from trainer.method import Batch
from trainer.networks.norms import BatchNorm2d
from trainer.players import norm_statistics
from trainer.training import Training

MakeConfig = Callable[..., Config]
Make = Callable[..., Training]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, small_config: MakeConfig) -> Iterator[Make]:
    """Makes a training of the example, with turns of the test's choice."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(EXAMPLE)])

    def training(*turns: str, **changes: object) -> Training:
        config = small_config("paired_vae", **changes)
        made = Training(config, config.data.label_schema, None)
        if turns:
            made.method.turns = lambda images: turns  # type: ignore[method-assign]
        return made

    yield training


def parameters(training: Training, name: str) -> dict[str, torch.Tensor]:
    network = training.method.networks[name]
    return {key: value.detach().clone() for key, value in network.named_parameters()}


def moments(training: Training, player: str) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in training.engines[player].state().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_player_without_a_turn_keeps_weights_and_moments(make: Make) -> None:
    training = make()
    training.step(batch(training.method))
    before, then = parameters(training, "discriminator"), moments(training, "discriminator")
    own = parameters(training, "generator")
    training.method.play = only_generator(training)  # type: ignore[method-assign]
    training.method.turns = lambda images: ("generator",)  # type: ignore[method-assign]
    figures, skip = training.step(batch(training.method))
    assert not skip
    assert {name.split("/")[0] for name in figures} == {"generator", "gradient"}
    assert equal(before, parameters(training, "discriminator"))
    assert equal(then, moments(training, "discriminator"))
    assert not equal(own, parameters(training, "generator"))


def only_generator(training: Training) -> Callable[..., Iterator[object]]:
    whole = training.method.play

    def play(part: Batch, images: int) -> Iterator[object]:
        return ((player, losses) for player, losses in whole(part, images) if player == "generator")

    return play  # type: ignore[return-value]


def test_figures_of_repeated_turns_are_their_means(make: Make) -> None:
    training = make()
    whole = training.method.play
    totals: list[float] = []

    def play(part: Batch, images: int) -> Iterator[object]:
        for player, losses in whole(part, images):
            if player == "discriminator":
                totals.append(sum(loss.item() for loss in losses.values()))
            yield player, losses

    training.method.play = play  # type: ignore[assignment, method-assign]
    figures, _ = training.step(batch(training.method))
    assert len(totals) == 2 and totals[0] != totals[1]
    assert figures["discriminator/total"].item() == pytest.approx(sum(totals) / 2, rel=1e-6)
    assert moments(training, "discriminator")["discriminator.last.weight/step"] == 2
    assert moments(training, "generator")["generator.last.weight/step"] == 1


def test_every_player_has_its_rate_and_betas(make: Make) -> None:
    """Adam's first step moves every weight by the rate, in the direction of its gradient."""
    players = {"discriminator": {"learning_rate": 4e-4, "betas": [0.5, 0.9]}}
    training = make(optimizer={"learning_rate": 1e-4, "players": players}, options__rest_every=1)
    before = {name: parameters(training, name) for name in ("discriminator", "generator")}
    training.step(batch(training.method))
    for name, rate in (("discriminator", 4e-4), ("generator", 1e-4)):
        after = parameters(training, name)
        moved = max((after[key] - value).abs().max().item() for key, value in before[name].items())
        assert moved == pytest.approx(rate, rel=1e-2)
    # After one step the moments are (1 - 0.5) g and (1 - 0.9) g², which torch's own betas (0.9, 0.999) do not give.
    state = moments(training, "discriminator")
    first, second = (state[f"discriminator.last.weight/{key}"] for key in ("exp_avg", "exp_avg_sq"))
    torch.testing.assert_close((first / 0.5).square() * 0.1, second)


def test_rates_fall_as_the_method_says(make: Make) -> None:
    """The schedule's end: the generator stands still, the discriminator's rate never falls."""
    training = make(optimizer={"constant_images": 0, "decay_images": 1})
    training.images = 10
    before = {name: parameters(training, name) for name in ("discriminator", "generator")}
    training.step(batch(training.method))
    assert equal(before["generator"], parameters(training, "generator"))
    assert not equal(before["discriminator"], parameters(training, "discriminator"))


def test_turns_that_are_not_played_are_a_defect(make: Make) -> None:
    with pytest.raises(RuntimeError, match="has no player 'critic' now; there are discriminator, generator"):
        make("critic").step(batch(make().method))
    with pytest.raises(RuntimeError, match="yields 'discriminator' where its turns say 'generator'"):
        make("generator").step(batch(make().method))
    with pytest.raises(RuntimeError, match="yields None where its turns say 'generator'"):
        make("discriminator", "generator", "discriminator", "generator").step(batch(make().method))


def test_what_is_played_after_the_last_turn_is_a_defect(make: Make) -> None:
    training = make()
    whole = training.method.play

    def play(part: Batch, images: int) -> Iterator[object]:
        yield from whole(part, images)
        yield "generator", {"forgotten": torch.zeros(())}

    training.method.play = play  # type: ignore[assignment, method-assign]
    turns = "discriminator, generator, discriminator"
    with pytest.raises(RuntimeError, match=f"paired_vae yields 'generator' after the last of its turns, {turns}$"):
        training.step(batch(training.method))


def statistics(training: Training) -> list[torch.Tensor]:
    return [buffer.clone() for buffer in norm_statistics.buffers_of(training.method.networks)]


def test_a_skipped_iteration_leaves_no_trace_in_statistics(make: Make) -> None:
    training = make()
    training.step(batch(training.method))
    before = statistics(training)
    bad = batch(training.method)
    bad.target[0, 0, 0, 0] = torch.nan
    _, skip = training.step(bad)
    assert skip
    assert before and all(map(torch.equal, before, statistics(training)))
    training.step(batch(training.method))
    assert not any(map(torch.equal, before, statistics(training)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 2}, "accumulate 2 would give the batch norms of paired_vae's encoder statistics of each part"),
        ({"speed": {"recompute": True}}, "speed.recompute would have the batch norms .* count every batch twice"),
    ],
)
def test_what_does_not_go_with_statistics_is_refused(changes: dict[str, object], message: str, make: Make) -> None:
    with pytest.raises(BadInput, match=message):
        make(**changes)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)])
def test_norms_whose_statistics_are_each_ranks_own_are_refused(norm: nn.Module, small_config: MakeConfig) -> None:
    with pytest.raises(BadInput, match=r"generator\.0 is a .*Norm2d, whose .* trainer\.networks\.norms\.BatchNorm2d"):
        norm_statistics.check({"generator": nn.Sequential(norm)}, small_config("pix2pixhd"))
    norm_statistics.check({"generator": nn.Sequential(nn.InstanceNorm2d(4))}, small_config("pix2pixhd"))


def test_averages_settle_on_statistics_of_their_own(make: Make) -> None:
    training = make(optimizer={"learning_rate": 0.1})
    for _ in range(3):
        training.step(batch(training.method))
    assert not training.settled
    average, own = training.averages.networks["generator"], training.method.networks["generator"]
    samples = batch(training.method, 8)
    halves = samples.parts(2)
    before = statistics(training)
    training.settle(halves)
    assert training.settled and all(map(torch.equal, before, statistics(training)))
    norm = average.get_submodule("first.1")
    with torch.no_grad():
        seen = [average.get_submodule("first.0")(half.label) for half in halves]
    wanted = torch.stack([each.mean((0, 2, 3)) for each in seen]).mean(0)
    spread = torch.stack([each.var((0, 2, 3)) for each in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, wanted)
    torch.testing.assert_close(norm.running_var, spread)
    assert not torch.allclose(norm.running_var, own.get_submodule("first.1").running_var)
    assert not any(module.training for network in training.averages.networks.values() for module in network.modules())
    assert (norm.momentum, norm.alone) == (0.1, False)
    training.settle([])
    torch.testing.assert_close(norm.running_mean, wanted)
    training.step(samples)
    assert not training.settled


def test_frozen_networks_paint_and_stay_as_they_are(make: Make) -> None:
    training = make(optimizer={"learning_rate": 0.1})
    palette = training.method.networks["palette"]
    before = palette.mix.weight.clone()
    for _ in range(3):
        training.step(batch(training.method))
    assert torch.equal(palette.mix.weight, before) and not palette.training
    assert torch.equal(training.averages.networks["palette"].mix.weight, before)
    assert "palette" in training.synthesizer().networks
    snapshot = training.snapshot("manifest", {})
    assert snapshot is not None and {"palette", "palette.ema"} <= snapshot.tensors.keys()


class NormedPalette(nn.Module):
    """A frozen network as others publish theirs: with torch's own batch norm, in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.mix(channels))


def test_frozen_networks_may_have_any_norms(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    example = importlib.import_module("trainer.methods.paired_vae")
    monkeypatch.setattr(example, "Palette", NormedPalette)
    training = make()
    before = {key: value.clone() for key, value in training.method.networks["palette"].state_dict().items()}
    own = parameters(training, "generator")
    _, skip = training.step(batch(training.method))
    assert not skip and not equal(own, parameters(training, "generator"))
    assert equal(before, training.method.networks["palette"].state_dict())
    costs = estimate(training.config, training.schema)
    assert costs.parameters["palette"] == 3 * 3 + 3 + 2 * 3


def test_batch_norm_of_one_process_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm2d(4), nn.BatchNorm2d(4)
    features = torch.randn(3, 4, 5, 5)
    assert torch.equal(ours(features), theirs(features))
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert torch.equal(ours.eval()(features), theirs.eval()(features))
    rough = ours(features.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough, theirs(features.bfloat16().float()).bfloat16(), rtol=0, atol=0)


def test_torchs_synchronised_norm_takes_what_ours_hands_it() -> None:
    """It runs on GPUs only; here at least the order of its arguments is seen."""
    wanted = "input weight bias running_mean running_var eps momentum process_group world_size"
    assert [*inspect.signature(SyncBatchNorm.forward).parameters][1:] == wanted.split()
