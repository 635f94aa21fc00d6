"""Averages of weights against the sum that they stand for."""

import pytest
import torch
from torch import nn

from trainer.players.ema import MovingAverages


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_averages_are_weighted_sums_of_what_weights_were(decay: float) -> None:
    """Early on the decay is (1 + n) / (10 + n), so that the random start is soon forgotten; buffers are the newest."""
    network = nn.BatchNorm2d(1)
    averages = MovingAverages({"network": network}, decay)
    average, expected = averages.networks["network"], network.weight.item()
    assert not average.training and not any(each.requires_grad for each in average.parameters())
    for step in range(1, 30):
        with torch.no_grad():
            network.weight.fill_(float(step))
            network.running_mean.fill_(float(step))  # type: ignore[union-attr, operator]
        averages.update({"network": network}, {"network": step})
        forgotten = min(decay, (1 + step) / (10 + step))
        expected = forgotten * expected + (1 - forgotten) * step
        assert average.weight.item() == pytest.approx(expected, rel=1e-5)
        assert average.running_mean.item() == step  # type: ignore[union-attr, operator]
