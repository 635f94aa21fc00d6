"""Commands that listen: one idea of a port, and of what to do where it cannot be had."""

import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploy.__main__ import main as deploy
from likeness.command import BadInput
from likeness.loopback import free_port, is_loopback, known_host, listen
from shards.__main__ import main as shards
from shards.labels import standard_schema
from trainer.study import page
from trainer.study.__main__ import main as study


@pytest.mark.parametrize("text", ["70000", "-1", "http", "8000.5"])
@pytest.mark.parametrize(
    ("main", "command"),
    [
        (deploy, ["serve", "--model", "model.onnx"]),
        (deploy, ["demo", "--model", "model.onnx"]),
        (shards, ["judge", "--pairs", "pairs", "--out", "out.csv"]),
        (study, []),
    ],
    ids=["serve", "demo", "judge", "study"],
)
def test_what_is_no_port_is_refused_in_a_line(
    main: Callable[[Sequence[str]], int], command: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, f"--port={text}"])
    assert ended.value.code == 2
    message = f"argument --port: {text!r} is not a port, 1 to 65535, or 0 for any that is free"
    assert capsys.readouterr().err.endswith(f"{message}\n")


def test_a_port_is_free_until_somebody_listens() -> None:
    port = free_port("127.0.0.1", 0)
    assert port > 0 and free_port("127.0.0.1", port) == port
    with listen("127.0.0.1", port) as listener:
        assert listener.getsockname() == ("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with pytest.raises(BadInput, match=f"cannot listen on 127.0.0.1 port {port}: .*; choose another --port"):
            free_port("127.0.0.1", port)


def test_a_rating_page_says_which_port_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("uvicorn.run", lambda app, host, port, log_level: None)
    page.serve([], standard_schema("sketch", 32, 32), tmp_path / "out.csv", 0, port=0)
    shown = re.search(r"http://127\.0\.0\.1:(\d+)/", capsys.readouterr().out)
    assert shown is not None and int(shown[1]) > 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.5", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"])
def test_addresses_that_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)
    assert known_host(f"[{host}]:80" if ":" in host else f"{host}:80", "127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "::ffff:192.168.0.1", "localhost.example", "1"])
def test_addresses_that_others_reach(host: str) -> None:
    assert not is_loopback(host)
    assert not known_host(f"[{host}]" if ":" in host else host, "127.0.0.1")
