"""Every input of a model: its forms agree with each other, and what is drawn is drawn the same everywhere."""

from dataclasses import replace

import numpy as np
import pytest

from deploy.metadata import Metadata
from likeness.array import Array
from likeness.command import BadInput
from shards.inputs import (
    EXEMPLAR,
    FEATURES_MAP,
    INPUTS,
    LABEL,
    STYLE,
    Drawing,
    Expansion,
    Input,
    Io,
    inputs_of,
    needed_among,
    needs_of,
    optional_among,
)
from shards.labels import expand, standard_schema
from shards.labels.instance_features import FeatureCentres
from shards.records import LabelKind

HEIGHT, WIDTH = 32, 48
KINDS: tuple[LabelKind, ...] = ("sketch", "pose", "classes")


def model(kind: LabelKind, io: Io = "float", style_length: int = 8) -> Metadata:
    return Metadata("any", standard_schema(kind, HEIGHT, WIDTH), "", None, 0, "", io=io, style_length=style_length)


def numpy_expansion(kind: LabelKind) -> Expansion:
    schema = standard_schema(kind, HEIGHT, WIDTH)
    return Expansion(
        photo=lambda photo: photo.transpose(2, 0, 1) / 127.5 - 1,
        label=lambda label: expand(schema, label),
        numbers=lambda numbers: numbers,
        values=lambda values: values,
    )


def loaded_of(each: Input, known: Metadata) -> Array:
    """Random values in the form in which shards and files hold an input: that of io "uint8"."""
    spec = each.spec(replace(known, io="uint8"))
    rng = np.random.default_rng(0)
    shape = tuple(side or 0 for side in spec.shape)
    values = rng.choice(spec.ids, shape) if spec.ids else rng.uniform(spec.low, spec.high, shape)
    return values.astype(spec.dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INPUTS)
def test_the_loaded_form_expands_to_what_the_network_takes(name: str, kind: LabelKind) -> None:
    each, known = INPUTS[name], model(kind, style_length=5)
    expanded = each.expand(loaded_of(each, known), numpy_expansion(kind))
    assert expanded.shape == each.network_shape(known.schema, 5, 3)
    assert each.example(np.random.default_rng(0), (2, *expanded.shape)).shape == (2, *expanded.shape)


@pytest.mark.parametrize("io", ["float", "uint8"])
@pytest.mark.parametrize("name", INPUTS)
def test_rows_and_columns_are_where_they_are_said_to_be(name: str, io: Io) -> None:
    each, known = INPUTS[name], model("sketch", io)
    batch = loaded_of(each, known)[None]
    if each.has_size:
        axis = each.height_axis(batch)
        assert batch.shape[axis : axis + 2] == (HEIGHT, WIDTH)
    dynamic = each.spec(replace(known, dynamic_size=True)).shape
    assert dynamic.count(None) == (2 if each.has_size else 0)


def test_what_is_read_follows_from_the_names() -> None:
    needs = needs_of(("label", "exemplar_label", "exemplar"))
    assert (needs.labels, needs.photos, needs.instances) == (("target", "exemplar"), ("exemplar",), False)
    assert needs_of(("label", "instances", "features")).instances
    assert needs_of(("label", "style")).photos == ()
    assert optional_among(("label", "instances", "features")) == ("features",)
    assert needed_among(("label", "style")) == ("label",)
    assert [each.name for each in inputs_of(INPUTS)] == list(INPUTS)


def test_a_style_is_as_long_as_the_model_says() -> None:
    known = model("sketch", style_length=256)
    assert STYLE.spec(known).shape == (256,)
    drawn = STYLE.draw(Drawing(None, 256, ""), {}, 3, "a")
    assert drawn.shape == (256,) and drawn.dtype == np.float32
    assert abs(drawn.mean()) < 6 / 16 and abs(drawn.std() - 1) < 6 / 22
    text = str(drawn.tolist()).encode()
    assert np.array_equal(STYLE.decode(text, "code.json", known.schema, 256), drawn)
    with pytest.raises(BadInput, match="a style code has 8 numbers"):
        STYLE.decode(text, "code.json", known.schema, 8)
    assert "256 numbers" in STYLE.file_in_words(known.schema, 256)["holds"]
    assert Metadata.from_props(known.to_props(), "m").style_length == 256
    assert "likeness.style_length" not in model("sketch").to_props(), "models of before say the same as ever"


def test_what_is_drawn_depends_on_seed_name_and_number_alone() -> None:
    source = Drawing(None, 8, "")
    first = STYLE.draw(source, {}, 1, "a", 1)
    assert np.array_equal(first, STYLE.draw(source, {}, 1, "a", 1))
    for other in ((2, "a", 1), (1, "b", 1), (1, "a", 2)):
        assert not np.array_equal(first, STYLE.draw(source, {}, *other))


def test_features_are_centres_of_the_regions_that_they_were_made_for() -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[:, 24:] = 7
    instances = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 200
    centres = {0: [[0.5, 0.0, 0.0]], 7: [[0.0, 0.25, 0.0]]}
    source = Drawing(FeatureCentres("", "classes", centres, {}), 8, "the model")
    drawn = FEATURES_MAP.draw(source, {"label": ids, "instances": instances}, 0, "a")
    assert (drawn[0] == np.where(ids == 0, 0.5, 0.0)).all() and (drawn[1] == np.where(ids == 7, 0.25, 0.0)).all()
    with pytest.raises(BadInput, match="the model reads features and has no centres"):
        FEATURES_MAP.draw(Drawing(None, 8, "the model"), {"label": ids}, 0, "a")


def test_what_must_be_given_is_never_drawn() -> None:
    for each in (LABEL, EXEMPLAR):
        with pytest.raises(RuntimeError, match="cannot be left out"):
            each.draw(Drawing(None, 8, ""), {}, 0, "a")


def test_a_cell_holds_a_code_or_a_path() -> None:
    assert STYLE.in_cell(" [1, 2]") and STYLE.in_cell('{"style": []}') and not STYLE.in_cell("code.json")
    assert not LABEL.in_cell("[1, 2]")
