"""What weights do not show: taken from the authors' options, refused for other networks, said where assumed."""

import pickle
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.command import BadInput
from shards.labels import standard_schema
from shards.labels.instance_features import FILE, parse_centres
from tests.trainer.convert.published import (
    CLASSES,
    SKETCH,
    AutoEncoder,
    Discriminators,
    Global,
    PhotoDiscriminators,
    at,
    saved,
    stirred,
)
from trainer import config as configs
from trainer.checkpoints.files import Checkpoint
from trainer.convert.clustered import read_clustered
from trainer.loop import train

MUNIT = """
gan_w: 2          # weight of adversarial loss
recon_x_w: 10
recon_s_w: 1
recon_c_w: 1
recon_x_cyc_w: 0
vgg_w: 1
gen: {dim: 4, mlp_dim: 16, style_dim: 8, activ: relu, n_downsample: 2, n_res: 2, pad_type: reflect}
dis: {dim: 4, norm: none, activ: lrelu, n_layer: 4, gan_type: lsgan, num_scales: 2, pad_type: reflect}
"""
OPT = """------------ Options -------------
dataroot: ./datasets/cityscapes/
gpu_ids: [0]
label_nc: 20
lambda_feat: 5.0
load_pretrain:
max_dataset_size: inf
ndf: 4
ngf: 4
no_instance: True
no_lsgan: False
no_vgg_loss: True
norm: instance
pool_size: 7
-------------- End ----------------
"""


@pytest.fixture
def munit(tmp_path: Path) -> list[str | Path]:
    generators = {each: AutoEncoder().state_dict() for each in "ab"}
    judges = {each: PhotoDiscriminators().state_dict() for each in "ab"}
    files = saved(generators, tmp_path / "gen.pt"), saved(judges, tmp_path / "dis.pt")
    return ["munit", files[0], "--discriminator", files[1], *at("sketch")]


@pytest.fixture
def pix2pixhd(tmp_path: Path) -> list[str | Path]:
    files = (
        saved(Global(CLASSES).state_dict(), tmp_path / "G.pth"),
        saved(Discriminators(CLASSES + 3).state_dict(), tmp_path / "D.pth"),
    )
    return ["pix2pixhd", files[0], "--discriminator", files[1], *at("classes")]


def written_to(tmp_path: Path, name: str, content: str) -> list[str | Path]:
    (tmp_path / name).write_text(content)
    return ["--config", tmp_path / name]


def options_of(checkpoint: Path) -> dict[str, Any]:
    options: dict[str, Any] = Checkpoint(checkpoint).state.config["options"]
    return options


def test_munit_is_told(
    munit: list[str | Path], written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_of(written(*munit, *written_to(tmp_path, "config.yaml", MUNIT)))
    assert (options["realism_weight"], options["cycle_weight"]) == (2, 0)
    said = capsys.readouterr().out
    assert "assumed" not in said and "not taken over: vgg_w 1" in said


def test_what_nothing_says_is_assumed_aloud(
    munit: list[str | Path], written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    written(*munit)
    said = capsys.readouterr().out
    for each in ("gen.activ relu", "gen.pad_type reflect", "dis.norm none", "dis.gan_type lsgan", "recon_x_cyc_w 10"):
        assert each in said
    assert "say it by --config FILE: config.yaml" in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("activ: relu", "activ: lrelu"),
        ("n_res: 2, pad_type: reflect", "n_res: 2, pad_type: zero"),
        ("norm: none", "norm: in"),
        ("activ: lrelu", "activ: selu"),
        ("num_scales: 2, pad_type: reflect", "num_scales: 2, pad_type: zero"),
        ("gan_type: lsgan", "gan_type: nsgan"),
    ],
)
def test_other_networks_of_munit_are_refused(
    old: str, new: str, munit: list[str | Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    error = refused(*munit, *written_to(tmp_path, "config.yaml", MUNIT.replace(old, new)))
    assert f"is {new.rpartition(' ')[2]!r}, but this release has" in error and "config.yaml" in error


@pytest.mark.parametrize("change", [("mlp_dim: 16", "mlp_dim: 256"), ("n_layer: 4", "n_layer: 3")])
def test_options_of_another_run_are_refused(
    change: tuple[str, str], munit: list[str | Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    error = refused(*munit, *written_to(tmp_path, "config.yaml", MUNIT.replace(*change)))
    assert "give the file of the run that wrote the weights" in error


def test_pix2pixhd_is_told(
    pix2pixhd: list[str | Path], written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_of(written(*pix2pixhd, *written_to(tmp_path, "opt.txt", OPT)))
    assert (options["feature_weight"], options["perceptual_weight"], options["pool"]) == (5, 0, 7)
    assert "assumed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("no_lsgan: False", "no_lsgan: True", "no_lsgan is 'True', but this release has discriminators and losses"),
        ("norm: instance", "norm: batch", "norm is 'batch'"),
        ("label_nc: 20", "label_nc: 0", "label_nc is 0: it reads pictures"),
        ("ngf: 4", "ngf: 64", "ngf is '64', but"),
        (OPT, "<html>", "holds no options"),
        ("pool_size: 7", "pool_size: many", "pool_size is 'many', not a number"),
    ],
)
def test_other_networks_of_pix2pixhd_are_refused(
    old: str, new: str, message: str, pix2pixhd: list[str | Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    assert message in refused(*pix2pixhd, *written_to(tmp_path, "opt.txt", OPT.replace(old, new)))


def test_discriminators_without_feature_matching_mean_none(written: Callable[..., Path], tmp_path: Path) -> None:
    """Files show it: they are stored whole."""
    generator = saved(Global(CLASSES).state_dict(), tmp_path / "G.pth")
    judge = saved(Discriminators(CLASSES + 3, staged=False).state_dict(), tmp_path / "D.pth")
    assert options_of(written("pix2pixhd", generator, "--discriminator", judge, *at("classes")))["feature_weight"] == 0


def test_labels_of_the_style_consistent_method_are_told(refused: Callable[..., str], tmp_path: Path) -> None:
    generator = saved(Global(2 * SKETCH + 3).state_dict(), tmp_path / "G.pth")
    file = written_to(tmp_path, "opt.txt", "no_canny_edge: False\n")
    assert "no_canny_edge is 'False'" in refused("style-consistent", generator, *file, *at("sketch"))


def features(tmp_path: Path) -> list[str | Path]:
    generator = saved(Global(CLASSES + 4).state_dict(), tmp_path / "G.pth")
    encoder = saved(Global(3, blocks=0).state_dict(), tmp_path / "E.pth")
    return ["pix2pixhd", generator, "--encoder", encoder, *at("classes")]


def test_regions_of_features_are_told_or_assumed(
    written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = written(*features(tmp_path), *written_to(tmp_path, "opt.txt", "label_feat: True\n"))
    assert options_of(out)["features"] == "classes"
    assert f"python -m trainer.feature_centres --checkpoint {out}" in capsys.readouterr().out


CENTRES = {0: np.array([[0.5, -0.25, 1.0]]), 3: np.linspace(-1, 1, 12).reshape(4, 3)}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_clustered_centres_are_taken(
    protocol: int, written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "features_clustered_010.npy"
    np.save(file, CENTRES, allow_pickle=True)  # type: ignore[arg-type]  # a dict, as the authors' code saves
    head = file.read_bytes()[: file.read_bytes().index(b"\n") + 1]
    file.write_bytes(head + pickle.dumps(np.array(CENTRES, dtype=object), protocol=protocol))
    out = written(*features(tmp_path), "--centres", file)
    stored = parse_centres((out / FILE).read_text(), out)
    assert stored.checkpoint == Checkpoint(out).state.digest and stored.regions == "instances"
    ids = standard_schema("classes", 32, 32).ids
    assert stored.centres == {ids[number]: rows.tolist() for number, rows in CENTRES.items()}
    assert "trainer.feature_centres" not in capsys.readouterr().out


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise AssertionError('it ran')",))


class Allocation:
    def __reduce__(self) -> tuple[Any, ...]:
        return (np.zeros, ((1 << 40,),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({0: Trap()}, r"it asks for builtins\.exec, which is not run"),
        ({0: Allocation()}, r"it asks for numpy\.zeros, which is not run"),
        ({0: np.array([Trap()])}, r"it asks for builtins\.exec"),
        ([1, 2], "holds an array of int64"),
        ({0: "text"}, "no dict of arrays of numbers"),
        ({0: np.zeros((2, 3), np.int64)}, "no dict of arrays of numbers"),
        ({20: np.zeros((2, 3))}, "centres of label 20, but there are 20 classes"),
        ({0: np.zeros((2, 4))}, r"of shape \(2, 4\), but features have 3"),
        ({0: np.full((2, 3), 2.0)}, r"not all in \[-1, 1\]"),
        ({0: np.full((2, 3), np.nan)}, r"not all in \[-1, 1\]"),
    ],
)
def test_other_arrays_are_refused_and_nothing_runs(content: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "features.npy"
    np.save(file, content, allow_pickle=True)
    with pytest.raises(BadInput, match=message):
        read_clustered(file, standard_schema("classes", 32, 32), "instances", 3)


def test_a_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "features.npy"
    np.save(file, CENTRES, allow_pickle=True)  # type: ignore[arg-type]
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="features_clustered"):
            read_clustered(file, standard_schema("classes", 32, 32), "instances", 3)


def test_the_command_that_it_prints_trains(
    packed: Path, tracked: Path, written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is printed, but for what makes it short."""
    generator = saved(stirred(Global(SKETCH, blocks=1)).state_dict(), tmp_path / "G.pth")
    judge = saved(stirred(Discriminators(SKETCH + 3, 5, layers=2)).state_dict(), tmp_path / "D.pth")
    out = written("pix2pixhd", generator, "--discriminator", judge, "--schema", packed / "train")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "trainer/run.py" in line]
    words = shlex.split(line)
    file = Path(words[words.index("--config") + 1])
    short = ["--images", "2", "--perceptual.weights", "random:0", "--perceptual.divisor", "16", "--data.workers", "0"]
    database = shutil.copyfile(tracked, tmp_path / "mlflow.db")
    short += ["--tracking.uri", f"sqlite:///{database}", "--optimizer.learning_rate", "1e-9"]
    config = configs.load([file], [*words[words.index("--config") + 2 :], *short])
    assert config.perceptual.resize_below == 0, "pix2pixHD's loss network sees pictures as they are"
    train(config)
    after = Checkpoint(config.run / "checkpoint-0000000002")
    for name in ("generator", "discriminator"):
        for key, value in Checkpoint(out).tensors(name).items():
            np.testing.assert_allclose(after.tensors(name)[key].numpy(), value.numpy(), atol=1e-6)
