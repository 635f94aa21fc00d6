"""What containers and batch systems may leave out and libraries take for granted: a home, a user, a place to write.

People run containers as a uid without a name, with a home that cannot be written, or with a root that is read-only.
"""

import errno
import getpass
import os
import stat
import sys
import tempfile
from pathlib import Path

from likeness.disk import nearest_existing

_MEMORY = Path("/dev/shm")
"""Memory that looks like a disk: containers with a read-only root have it nevertheless."""


TELEMETRY_OFF = {"MLFLOW_DISABLE_TELEMETRY": "true", "ORT_DISABLE_TELEMETRY": "1"}
"""What MLflow and ONNX Runtime would otherwise tell their makers, from the moment of their import."""


def prepare() -> None:
    """Gives this process and those that it starts what is missing, by environment variables; says what is unusual.

    Libraries send no telemetry, unless the environment decides.

    To be called before libraries are imported that look for a home at once, as MLflow does. Raises OSError when the
    folder that would stand for the home is somebody else's.
    """
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        if os.access(_MEMORY, os.W_OK):
            os.environ["TMPDIR"] = str(_MEMORY)
            note = f"using {_MEMORY}, which is memory; TMPDIR names another one"
        else:
            note = "set TMPDIR to one"
        print(f"note: no folder for temporary files can be written; {note}", file=sys.stderr)
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_of_this_user())
    reach_directly("localhost", "127.0.0.1", "::1")
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())


def reach_directly(*hosts: str) -> None:
    """What is asked of these, names of this machine, goes to no proxy, which would take itself for what is meant."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return
    exceptions = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    wanted = [each.strip() for each in (*exceptions, *hosts) if each.strip()]
    # Libraries differ in which of the two they read first.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(wanted))


def cached(*names: str) -> Path:
    """Where a file or folder of a cache of ours is, or is to be written: `cached("models", "face-1")`.

    In XDG_CACHE_HOME, else in ~/.cache. A home that cannot be written serves what is there already; anything else goes
    to a folder of this user's for temporary files, which is said. Raises OSError when that is somebody else's.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen, "likeness", *names)
    prepare()
    usual = Path.home() / ".cache" / "likeness"
    place = usual.joinpath(*names)
    if place.exists() or os.access(nearest_existing(place), os.W_OK):
        return place
    place = _of_this_user().joinpath(*names)
    print(
        f"note: {usual} cannot be written; {place} is used, which may not last (XDG_CACHE_HOME names another folder)",
        file=sys.stderr,
    )
    return place


def _of_this_user() -> Path:
    """A folder among those for temporary files that nobody else can write to."""
    folder = Path(tempfile.gettempdir()) / f"likeness-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise FileExistsError(errno.EEXIST, "others can write there, or it is theirs", str(folder))
    return folder
