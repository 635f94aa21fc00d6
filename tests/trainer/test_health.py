"""Known illnesses of these GANs are seen in what is logged anyway, and health is not."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shards.labels import standard_schema
from trainer import methods
from trainer.config import Config
from trainer.health import EVALUATIONS, PATIENCE, Detectors, Skipped, signs
from trainer.losses import least_squares
from trainer.method import Method
from trainer.ranks.delayed_metrics import Iteration


@pytest.fixture
def method() -> Method:
    """One that says signs of its own."""
    kind = methods.find("style_consistent")
    with torch.device("meta"):
        return kind(kind.options_type(), standard_schema("sketch", 32, 32))


def style_terms(consistent: float, fake: float, inconsistent: float) -> dict[str, float]:
    """What D_SC logs when it gives these scores everywhere."""
    wanted = {"consistent": (consistent, 1.0), "fake": (fake, 0.0), "inconsistent": (inconsistent, 0.0)}
    return {
        f"style/{name}": (least_squares(torch.full((2, 1, 3, 3), score), goal) / 2).item()
        for name, (score, goal) in wanted.items()
    }


def test_negative_losses_are_not_taken_for_saturation() -> None:
    """A Wasserstein critic's have no sign, and are far from 0 when it is right."""
    assert "critic is saturated" not in signs({"critic/real": -5.0, "critic/fake": -3.0, "critic/total": -8.0})
    assert "critic is saturated" in signs({"critic/real": -1e-5, "critic/fake": 1e-5, "critic/total": 0.0})


def test_a_discriminator_that_sees_no_difference_is_uninformed(method: Method) -> None:
    """It settles at 1/3, with a total of 1/3 (specification 9.3)."""
    terms = style_terms(1 / 3, 1 / 3, 1 / 3)
    assert sum(terms.values()) == pytest.approx(1 / 3)
    assert list(method.signs(terms)) == ["style is uninformed"]
    assert signs(terms) == {}, "it is no sign of every GAN"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(consistent=st.floats(0.4, 1.0), others=st.floats(0.0, 0.28))
def test_one_that_tells_them_apart_is_not(method: Method, consistent: float, others: float) -> None:
    assert "style is uninformed" not in method.signs(style_terms(consistent, others, others))


def test_a_discriminator_that_is_always_right_is_saturated() -> None:
    assert list(signs({"realism/real": 4e-5, "realism/fake": 2e-4, "realism/total": 2.4e-4})) == [
        "realism is saturated"
    ]
    assert signs({"realism/real": 0.12, "realism/fake": 0.1, "realism/total": 0.22}) == {}


def test_evaluations_show_copies_and_blobs() -> None:
    ill = {"held_out/exemplar_copy": 0.93, "held_out/saturated": 0.1}
    assert list(signs(ill)) == ["held_out/exemplar_copy is high", "held_out/saturated is high"]
    assert signs({"held_out/exemplar_copy": 0.35, "held_out/saturated": -0.01}) == {}


def test_a_sign_is_said_once_when_it_lasts_and_once_when_it_is_over(method: Method) -> None:
    detectors = Detectors(method.signs)
    ill, well = style_terms(1 / 3, 1 / 3, 1 / 3), style_terms(0.8, 0.2, 0.1)
    said = [detectors.look(ill) for _ in range(3 * PATIENCE)]
    assert [number for number, lines in enumerate(said, start=1) if lines] == [PATIENCE]
    assert said[PATIENCE - 1][0].startswith("style is uninformed: it gives every pair the score 1/3")
    # An evaluation says nothing about a discriminator.
    assert detectors.look({"held_out/saturated": 0.0}) == []
    assert detectors.look(well) == ["style is uninformed: over"]
    assert detectors.look(well) == []
    blobs = [detectors.look({"held_out/saturated": 0.5}) for _ in range(4)]
    assert [bool(lines) for lines in blobs] == [number == EVALUATIONS for number in (1, 2, 3, 4)]


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 5))
def test_skipped_iterations_are_counted(flags: list[bool], most: int) -> None:
    skipped = Skipped(most)
    answers = [skipped.too_many(Iteration(n, {}, flag, False, ())) for n, flag in enumerate(flags)]
    assert skipped.total == sum(flags)
    assert answers == [sum(flags[: n + 1]) > most for n in range(len(flags))]


def test_only_the_last_thousand_count() -> None:
    skipped = Skipped(2)
    for number in range(5000):
        assert not skipped.too_many(Iteration(number, {}, number % 400 == 0 and number % 1200 != 0, False, ()))
    assert skipped.total > 2


def test_a_method_logs_the_terms_that_are_looked_at(small_config: Callable[..., Config]) -> None:
    from tests.trainer.test_faults import fake_batch
    from trainer.methods.style_consistent import UNINFORMED
    from trainer.training import Training

    config = small_config("style_consistent")
    training = Training(config, config.data.label_schema, None)
    figures, _ = training.step(fake_batch(2, training.schema.channels))
    terms = {name.split("/")[1] for name in figures if name.startswith("style/")} - {"total"}
    assert terms == UNINFORMED.keys()
