"""Configs: presets load, overrides apply, mistakes are named with the nearest right key."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from likeness.command import BadInput, run_command
from trainer import run
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


def test_later_files_override_earlier_ones_key_by_key(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.yaml", tmp_path / "theirs.yaml"
    ours.write_text("images: 7\noptions: {style_weight: 3, style_phases: [[0, 1.0]]}\ndata: {train: elsewhere}\n")
    theirs.write_text("images: 8\noptions: {semantic_weight: 4}\n")
    config = load([FACE, ours, theirs], ["--options.semantic_weight", "5"])
    assert (config.images, config.data.train, config.data.test) == (8, "elsewhere", "data/face/test")
    options = config.options.model_dump()
    assert (options["style_weight"], options["semantic_weight"]) == (3, 5), "the command line has the last word"
    assert options["style_phases"] == [(0, 1.0)], "lists are replaced, not joined"
    assert load([FACE]) == load(FACE)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("options: {stile_weight: 2}", r"^\S*layer\.yaml: unknown key 'options\.stile_weight'; did you mean"),
        ("data: {worker: 2}", r"^\S*layer\.yaml: unknown key 'data\.worker'; did you mean 'workers'"),
        ("batch: {size: 2}", r"^\S*layer\.yaml: batch = "),
        ("data: 5", r"^\S*layer\.yaml: data = 5"),
        ("options: {style_phases: [[5, 1]]}", r"^\S*layer\.yaml: options\.style_phases = .*begin at image 0"),
        ("optimizer: {betas: [a, 1]}", r"^\S*layer\.yaml: optimizer\.betas\.0 = 'a'"),
        ("method: stylegan", r"^\S*layer\.yaml: method 'stylegan' is unknown"),
        ("method: pix2pixhd", r"^\S*face\.yaml: unknown key 'options\.style_phases'"),
        ("tracking: {uri: 'https://ann:hushhush@example.org'}", r"^\S*layer\.yaml: tracking\.uri"),
        ("accumulate: 2", r"^\S*face\.yaml \+ \S*layer\.yaml: batch 1 cannot be cut"),
    ],
)
def test_a_mistake_is_said_with_the_file_it_stands_in(layer: str, message: str, tmp_path: Path) -> None:
    file, after = tmp_path / "layer.yaml", tmp_path / "after.yaml"
    file.write_text(layer)
    after.write_text("seed: 4\n")
    with pytest.raises(BadInput, match=message) as caught:
        load([FACE, file, after] if "accumulate" not in layer else [FACE, file])
    assert "\n" not in str(caught.value)


def test_a_mistake_on_the_command_line_is_said_to_be_there() -> None:
    with pytest.raises(BadInput, match=r"^the command line: unknown key 'data\.worker'"):
        load(FACE, ["--data.worker", "2"])


def test_a_file_of_a_few_settings_does_not_stand_alone() -> None:
    with pytest.raises(BadInput, match=r"official\.yaml: 'method' is missing; .* behind a whole config"):
        load(CONFIGS / "ablations" / "official.yaml")


def test_a_dry_run_prints_what_several_files_and_the_command_line_come_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run.py", "--config", CONFIGS / "demo.yaml", CONFIGS / "ablations" / "without_style_adversary.yaml"]
    command += ["--dry-run", "--seed", "7", "--config", CONFIGS / "ablations" / "without_ema.yaml"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    assert run.main() == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["options"]["style_weight"], printed["optimizer"]["ema"], printed["seed"]) == (0, 0, 7)
    assert (printed["options"]["semantic_weight"], printed["method"]) == (1, "style_consistent")


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


def test_a_player_may_have_settings_of_its_own() -> None:
    overrides = ["--optimizer.players.realism.learning_rate", "4e-4", "--optimizer.players.style.betas", "[0, 0.9]"]
    optimizer = load(FACE, overrides).optimizer
    assert (optimizer.of("realism").learning_rate, optimizer.of("realism").betas) == (4e-4, optimizer.betas)
    assert (optimizer.of("style").learning_rate, optimizer.of("style").betas) == (optimizer.learning_rate, (0, 0.9))
    assert optimizer.of("generator").model_dump() == optimizer.model_dump()
    names = [name for name, _, _ in describe(Config)]
    assert {"optimizer.players.NAME.learning_rate", "optimizer.players.NAME.betas"} <= set(names)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("realist.learning_rate", "unknown player 'optimizer.players.realist'; did you mean 'realism'"),
        (
            "critic.learning_rate",
            "unknown player 'optimizer.players.critic'; style_consistent has generator, realism, style",
        ),
        ("style.learning_rat", "unknown key 'optimizer.players.style.learning_rat'; did you mean 'learning_rate'"),
    ],
)
def test_settings_of_a_player_that_there_is_not_are_named(
    setting: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run.py", "--config", str(FACE), f"--optimizer.players.{setting}", "2e-4"]
    monkeypatch.setattr(sys, "argv", command)
    assert run_command(run.main) == 2
    assert f"error: the command line: {message}" in capsys.readouterr().err


def test_a_dry_run_says_what_players_have_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run.py", "--config", str(CONFIGS / "demo.yaml"), "--dry-run"]
    monkeypatch.setattr(sys, "argv", [*command, "--optimizer.players.realism.learning_rate", "4e-4"])
    assert run.main() == 0
    printed = capsys.readouterr().out
    assert "realism: learning rate 0.0004, betas 0.5 and 0.999" in printed
    assert yaml.safe_load(printed)["optimizer"]["players"] == {"realism": {"learning_rate": 0.0004, "betas": None}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_config_in_any_unicode_is_read(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text("# größer\ndata: {train: größer}\n", encoding=encoding)
    assert load([FACE, file]).data.train == "größer"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# größer\nseed: 1\n".encode("latin-1"), r"no text in UTF-8 .*save it as UTF-8"),
        (b"seed: 0x_\n", r"takes something for a number or a date .*put text in quotes"),
        (b"run: 2024-13-45\n", r"takes something for a number or a date .*put text in quotes"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", r"refers to another place as \*a; write the value out"),
        (b"[" * 5000, r"nested too deeply|not YAML"),
    ],
)
def test_a_config_that_cannot_be_read_is_said_to_be_so(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=rf"ours\.yaml.* {message}|ours\.yaml.*({message})") as caught:
        load([FACE, file])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2024-05-01", "date"),
        ("2024-05-01 12:00:00", "time"),
        ("0777", "number"),
        ("1_000", "number"),
        ("12:30:45", "number"),
        ("12.5", "number"),
        ("yes", "truth value"),
    ],
)
@pytest.mark.parametrize("key", ["run", "data.train", "tracking.experiment"])
def test_what_yaml_takes_for_something_else_can_be_quoted(key: str, text: str, taken: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    section, _, name = key.rpartition(".")

    def write(value: str) -> None:
        file.write_text(f"{section}: {{{name}: {value}}}\n" if section else f"{name}: {value}\n", encoding="utf-8")

    write(text)
    with pytest.raises(BadInput, match=rf'{key} = .* takes this for a {taken}; put it in quotes: {name}: "…"'):
        load([FACE, file])
    write(f'"{text}"')
    config: Any = load([FACE, file])
    for part in key.split("."):
        config = getattr(config, part)
    assert str(config) == text
    assert f"{load(FACE, [f'--{key}', chr(34) + text + chr(34)])}".count(text)


def test_words_of_the_command_line_are_no_numbers_that_overflow() -> None:
    for text in ("12e4567", "nan", "infinity"):
        assert str(load(FACE, ["--run", text]).run) == text
