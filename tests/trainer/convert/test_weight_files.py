"""What people give in place of weights: each is named for what it is, and what can be read is read."""

import io
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from likeness.command import BadInput
from tests.trainer.convert.published import Global
from trainer.convert.official_names import GENERATOR
from trainer.convert.official_weights import read_weights

State = dict[str, Tensor]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21460cc8d6\nsize 729997\n"
PAGE = b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"


@pytest.fixture(scope="module")
def state() -> State:
    return dict(Global(3, 2, 1, 1).state_dict())


def saved(content: Any, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"0")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("latest_net_G.pth"))
    return buffer.getvalue()


def numpy_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty: .*fetch it again"),
        (LFS, r"is a pointer of Git LFS, not the file itself; run `git lfs pull`"),
        (PAGE, r"is a web page: .*in a browser"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", r"is a web page"),
        (b"Quota exceeded for this file\n", r"is a text \('Quota exceeded for this file'…\)"),
        (
            zipped("datas/img/1.jpg", "datas/img/2.jpg", "datas/list.txt", "datas/x"),
            r"zip archive of datas/img/1\.jpg, ",
        ),
        (zipped("archive/data.pkl", "archive/constants.pkl", "archive/code/__torch__.py"), r"is a TorchScript program"),
        (tarred(), r"is a tar archive; unpack it"),
        (b"\x1f\x8b\x08\x00" + bytes(90), r"is a gzip archive; unpack it"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(90), r"is a 7z archive; unpack it"),
        (numpy_file(), r"is a NumPy array, not a state dict"),
        (b"\x08\x07\x12\x07pytorch" + bytes(range(256)), r"is not a whole (file of torch\.save|\.safetensors file)"),
        (pickle.dumps({"a": 1}), r"is a pickle of Python's own, and is not read"),
        (saved({"a": Path("x")}), r"holds more than tensors, .*\(it asks for pathlib\.\w+\)"),
        (saved({"a": torch.zeros(99)})[:-50], r"is not a whole file of torch\.save"),
        (saved({"a": torch.zeros(99)}, _use_new_zipfile_serialization=False)[:-50], r"is not a whole file of torch"),
    ],
)
@pytest.mark.parametrize("name", ["latest_net_G.pth", "weights.safetensors"])
def test_what_is_no_file_of_weights_is_named(content: bytes, message: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_weights(file, GENERATOR)
    line = str(refused.value)
    assert line.startswith(str(file)) and "\n" not in line and re.search(message, line), line


def test_a_folder_names_what_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "latest_net_G.pth").touch()
    with pytest.raises(BadInput, match=r"is a folder; give the file in it: one of latest_net_G\.pth"):
        read_weights(tmp_path, GENERATOR)


@pytest.mark.parametrize(
    ("wrap", "notes"),
    [
        (lambda state: state, ()),
        (lambda state: {f"module.{name}": value for name, value in state.items()}, ()),
        (lambda state: {f"_orig_mod.{name}": value for name, value in state.items()}, ()),
        (lambda state: {"state_dict": state, "epoch": 3}, ("G.pth: read from state_dict", "G.pth: left out epoch")),
        (
            lambda state: {"model": {"netG": {f"module.{name}": value for name, value in state.items()}}},
            ("G.pth: read from model.netG",),
        ),
        (
            lambda state: {
                "G": state,
                "D": {"layer0.0.weight": torch.zeros(3)},
                "opt": {"state": {0: {"step": torch.zeros(1)}}, "param_groups": [{"lr": 0.1}]},
            },
            ("G.pth: read from G", "G.pth: left out opt, D"),
        ),
        (
            lambda state: {f"netG.{name}": value for name, value in state.items()} | {"netD.layer0": torch.zeros(3)},
            ("G.pth: read from netG", "G.pth: left out netD"),
        ),
    ],
)
def test_the_network_is_found_in_what_wraps_it(
    wrap: Callable[[State], Mapping[str, Any]], notes: tuple[str, ...], state: State, tmp_path: Path
) -> None:
    torch.save(wrap(state), tmp_path / "G.pth")
    weights = read_weights(tmp_path / "G.pth", GENERATOR)
    assert weights.tensors.keys() == state.keys() and weights.notes == notes
    assert all(torch.equal(weights.tensors[name], value) for name, value in state.items())


def test_one_of_several_networks_is_not_guessed(state: State, tmp_path: Path) -> None:
    torch.save({"generator": state, "generator_ema": state}, tmp_path / "G.pth")
    with pytest.raises(BadInput, match=r"holds several networks that fit: generator, generator_ema; save"):
        read_weights(tmp_path / "G.pth", GENERATOR)


@pytest.mark.parametrize("name", ["G.safetensors", "G.pth"])
def test_safetensors_are_known_by_their_content(name: str, state: State, tmp_path: Path) -> None:
    save_file(state, tmp_path / name)
    assert read_weights(tmp_path / name, GENERATOR).tensors.keys() == state.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(value: float, state: State, tmp_path: Path) -> None:
    broken = state["model.1.bias"].clone()
    broken[1] = value
    torch.save(state | {"model.1.bias": broken}, tmp_path / "G.pth")
    with pytest.raises(BadInput, match=r"model\.1\.bias has 1 of 2 values that are not finite"):
        read_weights(tmp_path / "G.pth", GENERATOR)


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.complex64])
def test_whole_numbers_are_no_weights(kind: torch.dtype, refused: Callable[..., str], tmp_path: Path) -> None:
    state = Global(20, 2, 1, 1).state_dict()
    torch.save({name: value.to(kind) for name, value in state.items()}, tmp_path / "G.pth")
    error = refused("pix2pixhd", tmp_path / "G.pth", "--label", "classes")
    assert re.search(r"model\.\d+\.weight \(our .*\) holds \w+\d, not weights in floating point", error), error
