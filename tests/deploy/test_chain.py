"""Models in a row give what they give one by one: in batches, with inputs of later steps from the sample."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy import pictures
from deploy.batch.open_pairs import open_pairs
from deploy.batch.run import run
from deploy.chain import Arrays, Chain, Function, Model
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput


def inverted(values: Arrays) -> Arrays:
    return {"image": -values["image"]}


def beside_the_exemplar(values: Arrays) -> Arrays:
    return {"image": (values["image"] + values["exemplar"]) / 2}


INVERT = Function(inverted, ("image",), "invert")
BLEND = Function(beside_the_exemplar, ("image", "exemplar"), "blend with the exemplar")


@pytest.fixture(scope="module")
def session(model: Path) -> Session:
    return Session(model)


@pytest.fixture(scope="module")
def loaded(session: Session, packed: Path) -> list[dict[str, Array]]:
    """The samples of the shards, as files hold them."""
    return [job.load() for job in open_pairs(packed / "test", session.schema, session.inputs).jobs(lambda *_: True)]


def batch_of(chain: Chain, samples: list[dict[str, Array]]) -> Arrays:
    each = [chain.tensors(sample, 0, "") for sample in samples]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def test_a_chain_of_one_is_its_model(session: Session, loaded: list[dict[str, Array]]) -> None:
    chain = Chain.of(session)
    assert chain.inputs == session.inputs
    feeds = batch_of(chain, loaded[:3])
    assert feeds.keys() == set(session.inputs)
    np.testing.assert_array_equal(chain.run(feeds), session.run(**feeds))


@pytest.mark.parametrize("step", [INVERT, BLEND])
def test_a_model_and_a_function_are_both_by_hand(
    step: Function, session: Session, loaded: list[dict[str, Array]]
) -> None:
    chain = Chain(Model(session), step)
    assert chain.inputs == session.inputs
    feeds = batch_of(chain, loaded[:3])
    image = session.run(**feeds)
    wanted = step.function({"image": image, "exemplar": feeds["exemplar"]})["image"]
    assert not np.array_equal(wanted, image)
    np.testing.assert_array_equal(chain.run(feeds), wanted)


def test_what_only_a_function_reads_is_read_of_the_sample_too(session: Session, loaded: list[dict[str, Array]]) -> None:
    chain = Chain(
        Model(session),
        Function(lambda values: {"image": values["style"] * values["image"]}, ("image", "style"), "fade"),
    )
    assert chain.inputs == (*session.inputs, "style")
    fade = np.full(1, 0.5, np.float32)
    feeds = batch_of(chain, [{**sample, "style": fade[:, None, None]} for sample in loaded[:2]])
    wanted = session.run(**{name: feeds[name] for name in session.inputs}) / 2
    np.testing.assert_array_equal(chain.run(feeds), wanted)


def test_a_second_model_paints_in_the_likeness_of_the_first_ones_picture(
    session: Session, loaded: list[dict[str, Array]]
) -> None:
    chain = Chain(Model(session), Model(session, {"exemplar": "image"}))
    assert chain.inputs == session.inputs
    feeds = batch_of(chain, loaded[:3])
    wanted = session.run(**{**feeds, "exemplar": session.run(**feeds)})
    np.testing.assert_array_equal(chain.run(feeds), wanted)


@pytest.mark.parametrize("size", [1, 3])
def test_batch_inference_runs_a_chain(size: int, session: Session, packed: Path, tmp_path: Path) -> None:
    chain = Chain(Model(session), BLEND, INVERT)
    pairs = open_pairs(packed / "test", session.schema, chain.inputs)
    run(chain, pairs, tmp_path / "out", size)
    jobs = list(pairs.jobs(lambda *_: True))
    assert len(jobs) == 8
    for job in jobs:
        tensors = {name: value[None] for name, value in session.tensors(job.load()).items()}
        blended = beside_the_exemplar({"image": session.run(**tensors), "exemplar": tensors["exemplar"]})
        wanted = pictures.to_picture(inverted(blended)["image"][0]).astype(int)
        picture = np.asarray(Image.open(tmp_path / "out" / job.output)).astype(int)
        # A batch of three may round otherwise than three batches of one.
        assert np.abs(picture - wanted).max() <= (0 if size == 1 else 1)
    with pytest.raises(BadInput, match="another chain of models"):
        run(Chain(Model(session), INVERT), pairs, tmp_path / "out", size)


def test_a_broken_model_is_named_and_not_the_step_after_it(
    session: Session, loaded: list[dict[str, Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(Model(session), INVERT)
    feeds = batch_of(chain, loaded[:1])
    image = np.full_like(session.run(**feeds), np.nan)
    monkeypatch.setattr(session, "run_unchecked", lambda feeds: image)
    with pytest.raises(BadInput, match=r"model\.onnx gave values that are not finite; the model is broken"):
        chain.run(feeds)


def test_what_does_not_fit_is_refused(session: Session, loaded: list[dict[str, Array]]) -> None:
    feeds = batch_of(Chain.of(session), loaded[:1])
    broken = Function(lambda values: {"image": values["image"] * np.float32(np.nan)}, ("image",), "break")
    with pytest.raises(BadInput, match="the step break gave values in image that are not finite"):
        Chain(Model(session), broken).run(feeds)
    with pytest.raises(BadInput, match=r"exemplar has values from .* takes \[-1, 1\]"):
        bright = Function(lambda values: {"image": values["image"] + 9}, ("image",), "brighten")
        Chain(Model(session), bright, Model(session, {"exemplar": "image"})).run(feeds)
    with pytest.raises(BadInput, match="the step fade reads image, style; give it style, too"):
        Chain(Model(session), Function(inverted, ("image", "style"), "fade")).run(feeds)
    with pytest.raises(BadInput, match="takes label, exemplar_label, exemplar, but label was given"):
        Chain.of(session).run({"label": feeds["label"]})
    with pytest.raises(ValueError, match="gives look, but no image"):
        Chain(Model(session), Function(inverted, ("image",), "look", ("look",)))
