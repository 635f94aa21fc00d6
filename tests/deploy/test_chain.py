"""Models in a row give what they give one by one: in batches, with inputs of later steps from the sample."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy import pictures
from deploy.batch.open_pairs import open_pairs
from deploy.batch.run import run
from deploy.chain import Arrays, Chain, Function, Model
from deploy.runtime import Session
from deploy.service.app import Limits, Service
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


def test_what_may_be_left_out_is_drawn_under_its_other_name_too(styled: Path) -> None:
    session = Session(styled)
    assert session.inputs == ("label", "style")
    chain = Chain(Model(session), INVERT, Model(session, {"style": "second_style"}))
    assert chain.inputs == ("label", "style", "second_style")
    assert (chain.needed, chain.optional) == (("label",), ("style", "second_style"))
    assert chain.sample_inputs() == ("label", "style"), "no file is called by the other name"
    label = np.full((session.schema.height, session.schema.width), session.schema.ids[0], np.uint8)
    tensors = chain.tensors({"label": label}, 3, "name")
    full = session.tensors(session.completed({"label": label}, 3, "name"))
    assert {*tensors} == {*chain.inputs}
    np.testing.assert_array_equal(tensors["second_style"], full["style"])
    wanted = session.run(**{name: value[None] for name, value in full.items()})
    np.testing.assert_array_equal(chain.run({name: value[None] for name, value in tensors.items()}), wanted)


def test_what_a_step_gives_is_not_drawn(styled: Path, instanced: Path) -> None:
    session = Session(styled)
    flat = Function(
        lambda values: {"flat": np.zeros((len(values["image"]), 8), np.float32)}, ("image",), "flatten", ("flat",)
    )
    label = np.full((session.schema.height, session.schema.width), session.schema.ids[0], np.uint8)
    chain = Chain(Model(session), flat, Model(session, {"style": "flat"}))
    assert chain.optional == ("style",)
    tensors = {name: value[None] for name, value in chain.tensors({"label": label}, 0, "").items()}
    assert {*tensors} == {"label", "style"}
    wanted = session.run(label=tensors["label"], style=np.zeros((1, 8), np.float32))
    np.testing.assert_array_equal(chain.run(tensors), wanted)

    reader = Session(instanced)
    reader.metadata = replace(reader.metadata, feature_centres=None)
    looks = Function(lambda values: {"features": values["image"]}, ("image",), "looks", ("features",))
    chain = Chain(Model(session), looks, Model(reader))
    assert chain.optional == ("style",)
    tensors = chain.tensors({"label": label, "instances": label.astype(np.uint16)}, 0, "")
    assert "features" not in tensors, "nothing is drawn, so that no centres are missed"


@pytest.mark.parametrize("number", [1, 2])
def test_trial_inputs_run_a_whole_chain(number: int, model: Path, styled: Path) -> None:
    first, second = Session(model), Session(styled)
    fitted = Function(lambda values: {"tone": values["image"].mean((2, 3))}, ("image", "exemplar"), "tone", ("tone",))
    last = Function(
        lambda values: {"image": values["image"] * values["instances"][:, None].astype(np.float32)},
        ("image", "instances", "tone"),
        "last",
    )
    for chain in (
        Chain(Model(second), Model(second, {"style": "second_style"})),
        Chain(Model(first), fitted, last),
    ):
        feeds = chain.trial(number)
        assert {*feeds} == {*chain.inputs}
        assert len(chain.run(feeds)) == number


def test_the_service_runs_a_chain_whose_later_steps_read_more(model: Path, styled: Path) -> None:
    second = Session(styled)
    service = Service(Chain(Model(second), Model(second, {"style": "second_style"})), Limits(max_batch=2))
    try:
        service.warm_up()
        assert service.ready
        assert [*service.description()["inputs"]] == ["label", "style", "seed"]
        assert "-F label=@label.png -F seed=1 " in service.example("http://here/")
    finally:
        service.close(5)
    first = Session(model)
    unknown = Chain(Model(first), Function(inverted, ("image", "strength"), "fade"))
    assert unknown.needed == (*first.inputs, "strength")
    with pytest.raises(BadInput, match="read strength, which no file or request holds"):
        Service(unknown, Limits())
    with pytest.raises(BadInput, match="read strength, which no file or request holds"):
        unknown.trial(1)


def test_a_name_that_only_steps_know_is_no_input(session: Session, loaded: list[dict[str, Array]]) -> None:
    dark = Function(lambda values: {"dark": values["image"] / 2}, ("image",), "darken", ("dark",))
    chain = Chain(Model(session), dark, Model(session, {"exemplar": "dark"}))
    assert chain.inputs == chain.needed == chain.sample_inputs() == session.inputs
    feeds = batch_of(chain, loaded[:2])
    wanted = session.run(**{**feeds, "exemplar": session.run(**feeds) / 2})
    np.testing.assert_array_equal(chain.run(feeds), wanted)
