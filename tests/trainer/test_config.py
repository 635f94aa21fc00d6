"""Configs: presets load, overrides apply, mistakes are named with the nearest right key."""

from pathlib import Path

import pytest

from shards.command import BadInput
from trainer.config import Config, describe, load

CONFIGS = Path(__file__).parents[2] / "trainer" / "configs"
FACE = CONFIGS / "face.yaml"


@pytest.mark.parametrize("preset", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_preset_loads_and_survives_a_round_trip(preset: Path) -> None:
    config = load(preset)
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(("preset", "channels"), [("face", 15), ("dance", 20), ("street", 20)])
def test_published_presets_follow_the_paper(preset: str, channels: int) -> None:
    config = load(CONFIGS / f"{preset}.yaml")
    assert config.data.label_schema.channels == channels
    assert config.optimizer.learning_rate == 2e-4
    assert config.optimizer.betas == (0.5, 0.999)
    options = config.options.model_dump()
    assert (options["style_weight"], options["semantic_weight"], options["realism_weight"]) == (10, 10, 1)
    assert options["pixel_weight"] == 0
    assert options["weighting"] == "adaptive"
    assert options["colour_aware"] is False
    assert (options["generator_base"], options["generator_downsamplings"], options["generator_blocks"]) == (64, 4, 9)
    assert config.images == config.optimizer.constant_images + config.optimizer.decay_images


def test_the_demo_sees_colours_and_says_its_loss_network_is_random() -> None:
    config = load(CONFIGS / "demo.yaml")
    assert config.options.model_dump()["colour_aware"] is True
    assert config.perceptual.weights.startswith("random:")


def test_overrides_in_both_spellings() -> None:
    config = load(FACE, ["--data.workers", "5", "--options.weighting=official", "--optimizer.learning_rate", "1e-3"])
    assert config.data.workers == 5
    assert config.options.model_dump()["weighting"] == "official"
    assert config.optimizer.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--data.worker", "2"], "unknown key 'data.worker'; did you mean 'workers'"),
        (["--imagess", "2"], "unknown key 'imagess'; did you mean 'images'"),
        (["--options.stile_weight", "2"], "unknown key 'options.stile_weight'; did you mean 'style_weight'"),
        (["--batch", "0"], "batch = 0"),
        (["--batch"], "--batch needs a value"),
        (["batch"], "unexpected argument 'batch'"),
        (["--method", "stylegan"], "known methods: .*pix2pixhd.*style_consistent"),
        (["--options.style_phases", "[[5, 1]]"], "begin at image 0"),
        (["--batch.size", "3"], "batch is a value, not a section"),
    ],
)
def test_mistakes_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        load(FACE, overrides)
    assert "\n" not in str(caught.value)


def test_a_size_that_is_no_multiple_of_16_is_refused() -> None:
    with pytest.raises(BadInput, match="width 250 is not a multiple of 16"):
        _ = load(FACE, ["--data.width", "250"]).data.label_schema


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"presets: .*face\.yaml"):
        load(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("method: [")
    with pytest.raises(BadInput, match="not YAML"):
        load(broken)


def test_every_setting_has_a_description() -> None:
    assert all(text for _, _, text in describe(Config))


def test_secrets_in_urls_are_refused_and_not_repeated() -> None:
    assert load(FACE, ["--data.train", "s3://bucket/face/train"]).data.train == "s3://bucket/face/train"
    for url in ("https://ann:hushhush@example.org/face", "https://example.org/face?X-Amz-Signature=hushhush"):
        with pytest.raises(BadInput, match="put credentials into the environment") as error:
            load(FACE, ["--data.train", url])
        assert "hushhush" not in str(error.value)
        with pytest.raises(BadInput, match=r"tracking\.uri .* \(MLFLOW_TRACKING_USERNAME") as error:
            load(FACE, ["--tracking.uri", url])
        assert "hushhush" not in str(error.value)
