"""The papers' ablations: a few settings over any preset, which take out one term of the method and nothing else.

Those of the style-consistent method; SPADE's have a test at the end.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.trainer.methods.record_losses import batch
from trainer import methods
from trainer.checkpoints.files import BEST
from trainer.config import Config, load
from trainer.loop import train
from trainer.tracking.journal import read_journal
from trainer.training import Training

CONFIGS = Path(__file__).parents[3] / "trainer" / "configs"
FOLDER = CONFIGS / "ablations"
ABLATIONS = {each.config: FOLDER / f"{each.config}.yaml" for each in methods.find("style_consistent").ablations}
FULL = {"realism", "style", "semantic", "pixel"}
TERMS = {
    "without_semantic": FULL - {"semantic"},
    "without_pixel": FULL - {"pixel"},
    "without_semantic_and_pixel": FULL - {"semantic", "pixel"},
    "without_style_adversary": FULL - {"style"},
}
"""The generator's terms; of ablations that are not named, all."""
CHANGED = {
    "without_semantic": {"options.semantic_weight": 0},
    "without_pixel": {"options.pixel_weight": 0},
    "without_semantic_and_pixel": {"options.semantic_weight": 0, "options.pixel_weight": 0},
    "without_style_adversary": {"options.style_weight": 0},
    "without_adaptive_weights": {"options.weighting": "fixed"},
    "colour_aware": {"options.colour_aware": True},
    "official": {"options.weighting": "official"},
    "without_ema": {"optimizer.ema": 0},
}


def flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("base", ["face", "dance", "street", "demo"])
def test_an_ablation_changes_what_it_is_named_after_and_nothing_else(base: str) -> None:
    assert CHANGED.keys() == ABLATIONS.keys()
    full = dict(flat(load(CONFIGS / f"{base}.yaml").model_dump()))
    for name, file in ABLATIONS.items():
        ablated = dict(flat(load([CONFIGS / f"{base}.yaml", file]).model_dump()))
        assert ablated == full | CHANGED[name]


def test_only_the_colour_aware_variant_has_other_weights() -> None:
    shapes = {}
    for name in ("full", *ABLATIONS):
        config = load([CONFIGS / "face.yaml", *([ABLATIONS[name]] if name in ABLATIONS else [])])
        with torch.device("meta"):
            networks = methods.find(config.method)(config.options, config.data.label_schema).networks
        shapes[name] = {
            f"{network}.{key}": value.shape
            for network, module in networks.items()
            for key, value in module.state_dict().items()
        }
    for name in ABLATIONS:
        added = shapes[name].keys() - shapes["full"].keys()
        assert shapes["full"].items() <= shapes[name].items()
        assert all(key.startswith("generator.body.colour.") for key in added)
        assert bool(added) == (name == "colour_aware")


@pytest.fixture
def trained(small_config: Callable[..., Config], tmp_path: Path) -> Callable[[str], Path]:
    """Trains two steps of the full method, or of an ablation laid over it as a file; returns the run's folder."""
    options = {"style_phases": [(0, 1.0)], "pixel_weight": 1.0}
    base = small_config("style_consistent", images=4, evaluation__every=4)
    base = base.model_copy(update={"options": base.options.model_copy(update=options)})
    file = tmp_path / "base.yaml"
    file.write_text(yaml.safe_dump(base.model_dump(mode="json")))

    def run(name: str) -> Path:
        layers = [file, *([ABLATIONS[name]] if name in ABLATIONS else [])]
        config = load(layers, ["--run", str(tmp_path / name)])
        assert train(config) == 0
        return config.run

    return run


@pytest.mark.parametrize("name", ["full", *ABLATIONS])
def test_what_is_and_is_not_among_the_terms(name: str, trained: Callable[[str], Path]) -> None:
    run = trained(name)
    steps = [line for line in read_journal(run) if "generator/total" in line]
    assert [line["images"] for line in steps] == [2, 4]
    for line in steps:
        terms = {key for key in line if key.startswith(("generator/", "realism/", "style/"))}
        assert terms == {
            *(f"generator/{term}" for term in {*TERMS.get(name, FULL), "total"}),
            *("realism/real", "realism/fake", "realism/total"),
            # The style discriminator is played whether or not the generator hears of it (specification 9.4).
            *("style/consistent", "style/fake", "style/inconsistent", "style/total"),
        }
    (measured,) = [line["held_out/semantic"] for line in read_journal(run) if "held_out/semantic" in line]
    assert measured > 0, "held-out pairs are measured with the loss network, trained on it or not"
    best = (run / BEST).read_text().strip()
    assert best == "checkpoint-0000000004"
    weights, averaged = (load_file(run / best / f"generator{kind}.safetensors") for kind in ("", ".ema"))
    equal = all(torch.equal(weights[key], averaged[key]) for key in weights)
    assert equal == (name == "without_ema")


def test_the_weightings_differ_in_the_semantic_term_of_same_style_samples_alone(trained: Callable[[str], Path]) -> None:
    names = ("without_adaptive_weights", "full", "official")
    first = [next(line for line in read_journal(trained(name)) if "generator/total" in line) for name in names]
    fixed, adaptive, official = (line["generator/semantic"] for line in first)
    assert fixed < adaptive < official
    for term in ("realism", "style", "pixel"):
        assert len({line[f"generator/{term}"] for line in first}) == 1, "one seed: all else is one computation"


SPADE: dict[str, tuple[dict[str, Any], set[str]]] = {
    "spade_style": ({"options.style": True}, {"realism", "features", "perceptual", "prior"}),
    "spade_concatenation": ({"options.conditioning": "concatenation"}, {"realism", "features", "perceptual"}),
    "spade_label_kernel_1": ({"options.label_kernel": 1}, {"realism", "features", "perceptual"}),
    "spade_without_perceptual": ({"options.perceptual_weight": 0}, {"realism", "features"}),
    "spade_without_features": ({"options.feature_weight": 0}, {"realism", "perceptual"}),
}
"""Of each file: the settings that it changes, and the generator's terms that are left."""


def test_every_file_is_some_methods_ablation() -> None:
    named = {each.config for name in methods.available() for each in methods.find(name).ablations}
    assert {file.stem for file in FOLDER.glob("*.yaml")} == named
    assert {each.config for each in methods.find("spade").ablations} == SPADE.keys()


@pytest.mark.parametrize("name", SPADE)
def test_what_spades_ablations_change(name: str, small_config: Callable[..., Config], tmp_path: Path) -> None:
    changed, terms = SPADE[name]
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(small_config("spade").model_dump(mode="json")))
    config = load([base, FOLDER / f"{name}.yaml"])
    assert dict(flat(config.model_dump())) == dict(flat(load(base).model_dump())) | changed
    training = Training(config, config.data.label_schema, None)
    figures, skip = training.step(batch(training.method))
    assert not skip
    assert {key for key in figures if key.startswith("generator/")} == {
        f"generator/{term}" for term in terms | {"total"}
    }
