"""The line from worlds to pictures in the places where people really run it: containers, clusters, other machines.

Every restriction is a namespace, a limit or a variable. One test has all of them at once, since none makes up for
another; each by itself is among the slow tests.
"""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.environments.theirs import put_modules

LINE = """
set -e
$python -m shards worlds faces --out videos --videos 8 --seconds 1 --size 64
$python -m shards pack --source videos --out shards/train --test-out shards/test --pairs 16 --size 32 \\
    --test-pairs 5 --test-fraction 0.5
$python -P -m trainer.launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \\
    trainer/run.py --config trainer/configs/demo.yaml --run train --data.train shards/train --data.test shards/test \\
    --images 8 --batch 2 --data.workers 2 --data.height 32 --data.width 32 --perceptual.divisor 16 \\
    --options.generator_base 4 --options.generator_blocks 1 --options.discriminator_base 4 \\
    --tracking.uri sqlite:///mlflow.db
$python -P -m export --checkpoint train --out model.onnx
$python -m deploy batch --model model.onnx --pairs shards/test --out pictures
"""
"""The README's commands, with small numbers."""


@dataclass(frozen=True)
class Place:
    """What is unusual about a place. Everything is shell."""

    mounts: str = ""
    """Runs as root in a mount namespace of its own, in the working folder."""
    user: str = ""
    """Goes before the line, such as another user."""
    settings: str = ""
    """Runs before the line, as the user: limits and variables."""


NAMELESS = "unshare --user --map-user=54321"
NO_HOME = "unset HOME USER LOGNAME LNAME USERNAME XDG_CACHE_HOME"
PROXY = "http://192.0.2.1:9"
PLACES = {
    "a uid without name and home": Place(user=NAMELESS, settings=NO_HOME),
    "a uid without name, at home in the root": Place(user=NAMELESS, settings=f"{NO_HOME}; export HOME=/"),
    "64 MB of /dev/shm": Place("mount -t tmpfs -o size=64m tmpfs /dev/shm"),
    "a read-only root": Place("mount --bind . . && mount -o remount,bind,ro /", settings='cd "$PWD"'),
    "a long TMPDIR": Place(settings=f"export TMPDIR=$PWD/{'long/' * 30}; mkdir -p $TMPDIR"),
    "a locale that is not UTF-8": Place(
        'localedef -i de_DE -f ISO-8859-1 "$PWD/de_DE.ISO-8859-1" || true',
        # ASCII where no such locale can be made.
        settings="export LOCPATH=$PWD; if [ -d de_DE.ISO-8859-1 ]; then export LC_ALL=de_DE.ISO-8859-1; "
        "else export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0; fi",
    ),
    "a proxy": Place(settings=f"export http_proxy={PROXY} https_proxy={PROXY}; unset no_proxy NO_PROXY"),
    "few descriptors": Place(settings="ulimit -n 64"),
}
"""By what is unusual about them."""
AT_ONCE = [name for name in PLACES if name != "a uid without name, at home in the root"]


def _combined(names: list[str]) -> Place:
    places = [PLACES[name] for name in names]
    return Place(
        "\n".join(place.mounts for place in places),
        " ".join(place.user for place in places),
        "\n".join(place.settings for place in places),
    )


def _run(place: Place, python: Path, folder: Path) -> None:
    """Paints five pictures in the folder, in that place; where namespaces are not allowed, in what else it has."""
    probe = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    private = next((tool for tool in (["unshare", "-m"], ["unshare", "-rm"]) if _succeeds([*tool, *probe])), None)
    settings = f"python={shlex.quote(str(python))}\n{place.settings}\n{LINE}"
    script = settings
    if private:
        script = f"{place.mounts}\nexec {place.user} bash -c {shlex.quote(settings)}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [*(private or ()), "bash", "-ec", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output
    assert "Traceback" not in output
    assert len([*(folder / "pictures").glob("*.png")]) == 5
    if not private:
        pytest.skip("namespaces are not allowed here: the line ran, but as this user and with this machine's mounts")


def _succeeds(command: list[str]) -> bool:
    return bool(shutil.which(command[0])) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a name beyond ASCII."""
    place = tmp_path / "wörk"
    place.mkdir()
    return place


def test_an_installed_wheel_in_a_container_with_every_restriction(python: Path, folder: Path) -> None:
    """Beside modules of the user's that are called like ours."""
    put_modules(folder, "trainer", "export", "queue")
    _run(_combined(AT_ONCE), python, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_one_restriction(name: str, python: Path, folder: Path) -> None:
    _run(PLACES[name], python, folder)
