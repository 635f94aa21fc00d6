"""Style, factors and swaps land where they must for pictures whose quality is known.

The truth is best; the exemplar copied has perfect style and no semantics; noise is worst.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from likeness.array import Array
from likeness.command import BadInput
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.reading import samples
from shards.records import load_manifest
from shards.worlds import WORLDS, render
from shards.worlds.film import film
from trainer.metrics.factors import FACTORS, factor_metric
from trainer.metrics.metric import Judged, Metric, stacked
from trainer.metrics.style_truth import style_metric
from trainer.metrics.swaps import swap_metric, swap_metric_without_truth
from trainer.metrics.truth import Truth, distance, distractors, styles_of

DISTRACTORS = 5


@dataclass(frozen=True)
class World:
    """Held-out pairs of the faces world at 64×64, and what is known of them."""

    truth: Truth
    decoded: list[samples.Sample]

    def judged(self, place: int, picture: Array, other_label: Array | None, other_exemplar: Array | None) -> Judged:
        one, partner = self.decoded[place], self.partner(place)
        return Judged(
            one.pair, picture, one.photos["target"], one.photos["exemplar"], None, other_label, other_exemplar,
            partner.pair, partner.pair,
        )  # fmt: skip

    def partner(self, place: int) -> samples.Sample:
        return self.decoded[(place + 1) % len(self.decoded)]

    def metrics(self, seed: int = 0) -> list[Metric]:
        styles = [one.pair.exemplar for one in self.decoded]
        return [
            style_metric(self.truth, styles, k=DISTRACTORS, seed=seed),
            factor_metric(self.truth, styles, seed),
            swap_metric(self.truth),
        ]

    def figures(self, judged: list[Judged]) -> dict[str, float]:
        figures = {}
        for metric in self.metrics():
            columns = metric.measure(judged)
            figures |= {name: figure.compute(columns) for name, figure in metric.figures.items()}
        return figures


class PatientTruth(Truth):
    """Remembers every picture, because the tests ask for the same ones again and again."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.paint = cache(super().paint)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("faces")
    film("faces", folder / "videos", videos=10, seconds=1, size=64, seed=5)
    packing = Packing(folder / "videos", preset("default"), pairs=1, size=64, test_pairs=12, test_fraction=0.8)
    pack(packing, folder / "train", folder / "test")
    manifest, shards = load_manifest(folder / "test")
    decoded = [
        samples.decode(members, manifest.schema, ("target", "exemplar"), ())
        for _, members in samples.iter_samples(shards, manifest)
    ]
    return World(PatientTruth(folder / "videos", manifest.schema), decoded)


@pytest.fixture(scope="module")
def figures(world: World) -> dict[str, dict[str, float]]:
    """All figures of pictures of several kinds."""
    truth, decoded = world.truth, world.decoded
    mean = np.mean([one.photos["target"] for one in decoded], axis=0).round().astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (3, len(decoded), *mean.shape), dtype=np.uint8)

    def right(place: int) -> Judged:
        pair, partner = decoded[place].pair, world.partner(place).pair
        pictures = [
            truth.draw(label.target, style.exemplar)
            for label, style in ((pair, pair), (partner, pair), (pair, partner))
        ]
        return world.judged(place, *pictures)

    def copied(place: int) -> Judged:
        own, other = decoded[place].photos["exemplar"], world.partner(place).photos["exemplar"]
        return world.judged(place, own, own, other)

    def blind_to_style(place: int) -> Judged:
        """Paints everything in the style of one video."""
        style = decoded[0].pair.exemplar
        own, other = (truth.draw(one.pair.target, style) for one in (decoded[place], world.partner(place)))
        return world.judged(place, own, other, own)

    kinds: dict[str, Callable[[int], Judged]] = {
        "truth": right,
        "copy": copied,
        "blind": blind_to_style,
        "mean": lambda place: world.judged(place, mean, mean, mean),
        "noise": lambda place: world.judged(place, *noise[:, place]),
    }
    return {kind: world.figures([make(place) for place in range(len(decoded))]) for kind, make in kinds.items()}


def test_the_truth_is_perfect_in_everything(figures: dict[str, dict[str, float]]) -> None:
    for name, value in figures["truth"].items():
        last = name.rpartition("/")[2]
        best = 100 if last in ("hit", "top1", "palette_top1") or last.endswith(("hits", "follows")) else 0
        assert value == (1 if last.endswith("change") else best), name


def test_the_exemplar_copied_has_perfect_style_and_no_semantics(figures: dict[str, dict[str, float]]) -> None:
    copy = figures["copy"]
    assert copy["style/top1"] == copy["style/palette_top1"] == 100
    assert copy["factors/colour_hits"] > 97
    assert copy["factors/shape_hits"] > 97
    assert copy["factors/colour_error"] < 5  # H.264 and JPEG, not style
    assert copy["swap/exemplar_follows"] == 100
    assert copy["swap/exemplar_change"] == pytest.approx(1, abs=0.4)
    assert copy["truth/exemplar_copy"] == 1
    assert copy["swap/label_change"] == 0
    assert copy["swap/label_follows"] < 85
    assert copy["truth/distance"] > 10
    assert copy["factors/placed_hits"] < 90
    assert copy["factors/placed_colour_error"] > 10


def test_a_generator_that_paints_one_style_follows_labels_alone(figures: dict[str, dict[str, float]]) -> None:
    blind = figures["blind"]
    assert blind["style/top1"] < 50
    assert 25 < blind["factors/colour_hits"] < 75
    assert blind["swap/exemplar_change"] == 0
    assert 0.5 < blind["swap/label_change"] < 2


def test_noise_is_worst(figures: dict[str, dict[str, float]]) -> None:
    noise = figures["noise"]
    for name in ("truth/distance", "swap/label_change"):
        assert noise[name] == max(each[name] for each in figures.values()), name
    for kind in ("truth", "copy"):
        for name in ("style/top1", "style/palette_top1", "factors/colour_hits", "factors/shape_hits"):
            assert noise[name] < figures[kind][name] - 20, name
        assert noise["factors/colour_error"] > figures[kind]["factors/colour_error"] + 10
    assert noise["style/ratio"] == pytest.approx(1, abs=0.15)
    assert noise["truth/exemplar_copy"] == pytest.approx(0.5, abs=0.1)
    assert figures["mean"]["truth/distance"] < noise["truth/distance"]


@pytest.mark.parametrize("name", ["skin", "backdrop_colour", "hair_shape"])
def test_a_wrong_factor_is_found_where_it_is(world: World, name: str) -> None:
    styles = styles_of([one.pair.exemplar for one in world.decoded])
    judged = []
    for place, one in enumerate(world.decoded):
        style = world.truth.style(one.pair.exemplar)
        other = world.truth.style(distractors(styles, one.pair, 1, 0)[0])
        wrong = replace(style, **{field: getattr(other, field) for field in FACTORS["faces"][name].fields})
        judged.append(world.judged(place, world.truth.paint(one.pair.target, wrong), None, None))
    figures = world.figures(judged)
    hits = {key.split("/")[1]: value for key, value in figures.items() if key.endswith("/hit")}
    assert hits.pop(name) < 35  # now and then the exemplar's place happens to fit
    # Where a beard or glasses could be, skin is seen: a wrong skin counts against these, too.
    assert np.nanmean(list(hits.values())) > 85
    assert figures[f"factor/{name}/colour"] > 3


def test_any_split_over_processes_measures_the_same(world: World) -> None:
    judged = [
        world.judged(place, one.photos["exemplar"], one.photos["target"], None)
        for place, one in enumerate(world.decoded)
    ]
    for whole, parts in zip(world.metrics(), world.metrics(), strict=True):
        columns = whole.measure(judged)
        split = stacked([parts.measure(judged[:1]), parts.measure(judged[1:])])
        assert list(columns) == list(split)
        for name, values in columns.items():
            np.testing.assert_array_equal(values, split[name], err_msg=name)


def test_swaps_that_nobody_painted_are_not_measured(world: World) -> None:
    judged = [world.judged(0, world.decoded[0].photos["target"], None, None)]
    for metric in (swap_metric(world.truth), swap_metric_without_truth()):
        columns = metric.measure(judged)
        assert all(np.isnan(values).all() for values in columns.values())
        assert all(np.isnan(figure.compute(columns)) for figure in metric.figures.values())


def test_a_swap_for_the_same_is_not_measured(world: World) -> None:
    one = world.decoded[0]
    picture = one.photos["target"]
    judged = replace(world.judged(0, picture, picture, picture), label_from=one.pair, exemplar_from=one.pair)
    assert np.isnan(swap_metric(world.truth).measure([judged])["swap/label_follows"]).all()


def test_without_truth_changes_are_counted_in_steps_of_255(world: World) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    metric = swap_metric_without_truth()
    columns = metric.measure([world.judged(0, picture, picture + 3, picture + 200)])
    assert [metric.figures[f"swap/{what}_changed"].compute(columns) for what in ("label", "exemplar")] == [3, 200]


def test_the_style_must_be_nearest_not_nearer_than_most(world: World) -> None:
    """Each other style's truth is a picture that one style is nearer to than the exemplar's, and that is a miss."""
    pair = world.decoded[0].pair
    styles = styles_of([one.pair.exemplar for one in world.decoded])
    own = world.truth.draw(pair.target, pair.exemplar)
    others = [world.truth.draw(pair.target, frame) for frame in distractors(styles, pair, DISTRACTORS, 0)]
    nearest = min(others, key=lambda other: distance(own, other))
    # Between the two, a little nearer to the other one: far nearer to the exemplar's than the mean of all others is.
    blend = (0.45 * own + 0.55 * nearest).round().astype(np.uint8)
    assert distance(blend, own) < np.mean([distance(blend, other) for other in others])
    columns = world.metrics()[0].measure([world.judged(0, blend, None, None)])
    assert columns["style/top1"] == 0


def test_too_few_styles_are_refused(world: World) -> None:
    one = world.decoded[0]
    metric = style_metric(world.truth, [each.pair.exemplar for each in world.decoded], k=100)
    with pytest.raises(BadInput, match="fewer than 100; pack more videos"):
        metric.measure([world.judged(0, one.photos["target"], None, None)])


@pytest.mark.parametrize("name", WORLDS)
def test_each_factor_shows_and_none_is_forgotten(name: str) -> None:
    module, rng = WORLDS[name], np.random.default_rng(0)
    grouped = [field for factor in FACTORS[name].values() for field in factor.fields]
    assert sorted(grouped) == sorted(field.name for field in fields(module.Style))
    state = module.sample_states(rng, 2, 1.0)[0]
    looks = [module.sample_style(rng) for _ in range(16)]
    pictures = [render(name, state, look, 64) for look in looks]
    for factor, group in FACTORS[name].items():
        swapped = (
            replace(one, **{field: getattr(other, field) for field in group.fields}) for one, other in pairwise(looks)
        )
        assert any(
            distance(picture, render(name, state, look, 64)) > 0
            for picture, look in zip(pictures, swapped, strict=False)
        ), factor
