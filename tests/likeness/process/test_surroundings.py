"""A container's surroundings: no home, no name, nowhere to write."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from likeness.process import surroundings

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")
ROOT = Path(__file__).parents[3]
NAMELESS = ["unshare", "--user", "--map-user=54321", "env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME", "-u", "LNAME"]
NAMELESS += ["-u", "USERNAME"]


def test_a_uid_without_home_and_name_gets_both(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    program = """
import getpass, os
from pathlib import Path
from likeness.command import run_command
run_command(lambda: print(Path.home(), getpass.getuser(), oct(Path.home().stat().st_mode & 0o777)))
"""
    command = [*NAMELESS, "-u", "XDG_CACHE_HOME", f"TMPDIR={tmp_path}", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"namespaces are not allowed here: {done.stderr.strip()}")
    assert done.stdout.split() == [str(tmp_path / "likeness-54321"), "54321", "0o700"], done.stderr


def test_a_cache_in_a_home_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    kept = home / ".cache" / "likeness" / "models" / "old"
    kept.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(surroundings.tempfile, "tempdir", str(tmp_path))
    assert surroundings.cached("models", "new") == kept.with_name("new")
    # Root may write everywhere, whatever the permissions say.
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(home))
    assert surroundings.cached("models", "old") == kept
    assert capsys.readouterr().err == ""
    mine = tmp_path / f"likeness-{os.getuid()}"
    assert surroundings.cached("models", "new") == mine / "models" / "new"
    assert "XDG_CACHE_HOME" in capsys.readouterr().err
    mine.chmod(0o777)
    with pytest.raises(FileExistsError, match="others can write there"):
        surroundings.cached("models", "new")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "chosen"))
    assert surroundings.cached("models", "new") == tmp_path / "chosen" / "likeness" / "models" / "new"


def test_without_a_place_for_temporary_files_memory_serves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(surroundings.tempfile, "gettempdir", nowhere)
    surroundings.prepare()
    assert os.environ["TMPDIR"] == "/dev/shm"
    assert "TMPDIR" in capsys.readouterr().err


def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    surroundings.prepare()
    assert "no_proxy" not in os.environ
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "corp.example, 10.0.0.1")
    monkeypatch.setenv("no_proxy", "")
    surroundings.prepare()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "corp.example,10.0.0.1,localhost,127.0.0.1,::1"
    assert urllib.request.proxy_bypass("localhost") and urllib.request.proxy_bypass("127.0.0.1")
    assert not urllib.request.proxy_bypass("elsewhere.example")


def test_commands_start_nothing_that_sends_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    program = """
import os
from likeness.command import run_command
run_command(lambda: print(os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["ORT_DISABLE_TELEMETRY"]))
"""
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "true 1\n"


def test_telemetry_of_onnx_runtime_is_off(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    program = "import os, likeness.onnx_runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
    assert not [*tmp_path.rglob("*")], "a device id or a database in the home folder"
