"""The images' steps, run with namespaces in place of a container engine."""

import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.environments.container import context, instructions

ROOT = Path(__file__).parents[2]
IMAGES = ("deploy/Dockerfile", "trainer/Dockerfile")
CONTAINER = Path(__file__).with_name("container.py")


@pytest.mark.parametrize("image", IMAGES)
def test_rules(image: str) -> None:
    """Those that linters of Dockerfiles hold, and a container's: a uid, its stop signal, arguments as lists."""
    steps = instructions((ROOT / image).read_text(encoding="utf-8"))
    stages = [number for number, step in enumerate(steps) if step.name == "FROM"]
    last = steps[stages[-1] :]
    values = {step.name: step.value for step in last}
    assert all(":" in step.value.split()[0] and "latest" not in step.value for step in steps if step.name == "FROM")
    user, group = values["USER"].split(":")
    assert int(user) >= 10000 and int(group) >= 10000, "numbers, so that Kubernetes can tell it from root"
    assert values["STOPSIGNAL"] == "SIGTERM" and "HEALTHCHECK" in values
    assert json.loads(values["ENTRYPOINT"])[:2] == ["tini", "--"] and json.loads(values["CMD"])
    for step in steps:
        assert step.name != "ADD"
        assert step.name != "WORKDIR" or step.value.startswith("/")
        for command in step.value.split("&&") if step.name == "RUN" else ():
            assert "sudo" not in command and " cd " not in f" {command}"
            assert "apt-get install" not in command or "--yes --no-install-recommends" in command
            assert "pip" not in command or " install " not in command or "--no-cache-dir" in command
            assert " install " not in command or any(
                word in command for word in ("--constraint constraints.txt", "--no-deps", "apt-get")
            )
        if "apt-get update" in step.value:
            assert "apt-get install" in step.value and "rm -rf /var/lib/apt/lists/*" in step.value
    # What only building needs stays in the stage before.
    assert all(step.value.startswith("--from=") for step in last if step.name == "COPY")


def test_the_context_is_the_code_and_nothing_beside_it(tmp_path: Path) -> None:
    clone, out = tmp_path / "clone", tmp_path / "context"
    for file in (
        "likeness/a.py",
        "deploy/Dockerfile",
        "trainer/configs/a.yaml",
        "shards/__pycache__/a.pyc",
        "README.md",
    ):
        (clone / file).parent.mkdir(parents=True, exist_ok=True)
        (clone / file).touch()
    for file in (".env", "model.onnx", "data/face/train/a.tar", "tests/conftest.py", "mlflow.db", "docs/README.md"):
        (clone / file).parent.mkdir(parents=True, exist_ok=True)
        (clone / file).touch()
    context(clone, (ROOT / ".dockerignore").read_text(encoding="utf-8"), out)
    copied = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert copied == {"likeness/a.py", "trainer/configs/a.yaml", "README.md"}


@pytest.fixture
def contained(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Builds and runs an image on top of this machine's own file system, which stays as it is."""
    tools = ("unshare", "nsenter", "setpriv", "chroot", "ip")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    allowed = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True)
    if os.geteuid() != 0 or missing or allowed.returncode:
        pytest.skip(
            f"images are not built here: not root, {missing} missing, or {allowed.stderr.strip() or 'no unshare'}"
        )

    def run(dockerfile: str, **changes: Any) -> dict[str, Any]:
        work = tmp_path / "work"
        work.mkdir()
        interpreter = Path(sys.executable).resolve()
        # The interpreter may lie in a folder that is root's alone; this opens it in the layers above this machine's.
        reachable = shlex.join(str(each) for each in interpreter.parents)
        python = f"""printf '#!/bin/sh\\nexec {interpreter} "$@"\\n' > /usr/local/bin/python"""
        specification: dict[str, Any] = {
            "base": "/",
            "work": str(work),
            "source": str(ROOT),
            "dockerfile": dockerfile,
            "arguments": {},
            "prepare": f"chmod o+x {reachable}; mkdir -p /usr/local/bin; {python}; chmod +x /usr/local/bin/python",
            "instead": {},
            "mounts": {},
            "environment": {},
            "user": None,
            "command": None,
            "log": str(tmp_path / "log"),
            "patience": 60,
        } | changes
        (tmp_path / "specification").write_text(json.dumps(specification), encoding="utf-8")
        command = ["unshare", "--mount", sys.executable, str(CONTAINER), str(tmp_path / "specification")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def _installed(extra: str) -> list[str]:
    """Files and folders in site-packages, here, of the packages that `likeness[extra]` comes to."""
    waiting, seen, names = [f"likeness[{extra}]"], set[str](), set[str]()
    while waiting:
        wanted = Requirement(waiting.pop())
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        package = importlib.metadata.distribution(wanted.name)
        for each in map(Requirement, package.requires or ()):
            needed = each.marker is None or any(
                each.marker.evaluate({"extra": extra}) for extra in {"", *wanted.extras}
            )
            waiting += [str(each)] if needed else []
        if wanted.name != "likeness":
            names |= {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
    return sorted(names)


PIP = f"{sys.executable} -m pip install --quiet --no-build-isolation --no-deps --target /opt/likeness ."
NO_DOWNLOADS = {
    # tini's work is to become process 1; without it the command is that itself.
    "apt-get": r"""printf '#!/bin/sh\nshift; exec "$@"\n' > /usr/local/bin/tini; chmod +x /usr/local/bin/tini""",
    "--target /opt/likeness": PIP,
}
SERVED = {"LIKENESS_TOKEN": "secret", "http_proxy": "http://192.0.2.1:3128"}


def _check_served(result: dict[str, Any]) -> None:
    assert result["unhealthy_at_first"] != 0, "nothing answers before the model is loaded"
    assert result["healthy"], result["log"]
    assert result["exit"] == 0, result["log"]
    assert result["log"].splitlines()[-1] == "ended"
    assert "note:" not in result["log"] and "warning" not in result["log"].lower()


def test_the_service_runs_as_the_image_says(contained: Callable[..., dict[str, Any]], tiny_model: Path) -> None:
    """A uid without a name, a read-only root, no torch; its health check answers past a proxy, and SIGTERM ends it."""
    links = "; ".join(f"ln -s /opt/installed/{name} $site/" for name in _installed("deploy"))
    assert "numpy " in links and "torch" not in links
    packages = (
        f"python -m venv --without-pip /opt/packages; site=$(echo /opt/packages/lib/python*/site-packages); {links}"
    )
    result = contained(
        "deploy/Dockerfile",
        instead={**NO_DOWNLOADS, "pip --python": packages},
        mounts={str(tiny_model): "/work/model.onnx", sysconfig.get_path("purelib"): "/opt/installed"},
        environment=SERVED,
    )
    _check_served(result)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_service_image_with_downloads(contained: Callable[..., dict[str, Any]], tiny_model: Path) -> None:
    result = contained("deploy/Dockerfile", mounts={str(tiny_model): "/work/model.onnx"}, environment=SERVED)
    _check_served(result)
