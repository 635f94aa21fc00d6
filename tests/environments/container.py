"""Builds and runs a Dockerfile with namespaces and overlays instead of a container engine; for root on Linux.

`unshare --mount python container.py SPECIFICATION` reads a JSON file and prints what became of it as JSON. Layers lie
in memory. What is not needed here is not understood: ADD, ONBUILD, heredocs, shell forms of ENTRYPOINT and CMD.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile."""

    name: str
    """In capitals."""
    value: str
    """The rest, continued lines joined."""


@dataclass
class Image:
    """What a stage has come to."""

    root: Path
    """Its file system."""
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    command: dict[str, list[str]] = field(default_factory=dict)
    """ENTRYPOINT, CMD and HEALTHCHECK."""


def instructions(text: str) -> list[Instruction]:
    """A Dockerfile's, in order."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = lines.replace("\\\n", "").splitlines()
    split = [line.strip().partition(" ") for line in joined if line.strip()]
    return [Instruction(name.upper(), value.strip()) for name, _, value in split]


def context(root: Path, ignored: str, out: Path) -> None:
    """Copies what a `.dockerignore` leaves of a folder: the last pattern that fits a file or a folder above it decides.

    https://docs.docker.com/build/concepts/context/#dockerignore-files
    """
    patterns = [line.strip() for line in ignored.splitlines() if line.strip() and not line.startswith("#")]
    for folder, folders, files in os.walk(root):
        folders[:] = [each for each in folders if each not in (".git", ".venv", "runs")]
        for name in files:
            place = Path(folder, name).relative_to(root)
            if not _is_ignored(place, patterns):
                (out / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / place, out / place)


def _is_ignored(place: Path, patterns: list[str]) -> bool:
    ignored = False
    for pattern in patterns:
        wanted = pattern.lstrip("!")
        names = [str(each) for each in (place, *place.parents[:-1])]
        if wanted.startswith("**/"):
            fits = any(fnmatch(Path(each).name, wanted[3:]) for each in names)
        else:
            fits = any(fnmatch(each, wanted) and each.count("/") == wanted.count("/") for each in names)
        if fits:
            ignored = not pattern.startswith("!")
    return ignored


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


class Builder:
    """Runs the instructions of a Dockerfile above a base, which stands for every image that FROM names."""

    def __init__(self, work: Path, specification: dict[str, Any]) -> None:
        """work: an empty folder.

        In the specification, `prepare` runs in every base first, and `instead` has what runs in place of each RUN
        instruction that holds a word.
        """
        self.work, self.sources, self.base = work, work.parent / "context", Path(specification["base"])
        self.given: dict[str, str] = specification["arguments"]
        self.prepare: str = specification["prepare"]
        self.instead: dict[str, str] = specification["instead"]
        self.stages: list[tuple[str, Image]] = []
        self.unused = set(self.instead)

    def build(self, steps: list[Instruction]) -> Image:
        """The last stage."""
        for step in steps:
            getattr(self, f"_{step.name.lower()}")(step.value)
        assert not self.unused, f"no RUN holds {self.unused}"
        return self.image

    @property
    def image(self) -> Image:
        return self.stages[-1][1]

    def _from(self, value: str) -> None:
        name = value.partition(" AS ")[2] or str(len(self.stages))
        place = self.work / f"stage{len(self.stages)}"
        for each in ("upper", "work", "root"):
            (place / each).mkdir(parents=True)
        root = place / "root"
        _mount(
            "-t",
            "overlay",
            "-o",
            f"lowerdir={self.base},upperdir={place / 'upper'},workdir={place / 'work'}",
            "o",
            root,
        )
        for device in ("dev", "proc"):
            (root / device).mkdir(exist_ok=True)
            _mount("--rbind", f"/{device}", root / device)
        self.stages.append(
            (name, Image(root, {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}))
        )
        self._shell(self.prepare)

    def _expanded(self, value: str) -> str:
        known = {**self.image.arguments, **self.image.environment}
        return re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], ""), value)

    def _arg(self, value: str) -> None:
        name, _, default = value.partition("=")
        self.image.arguments[name] = self.given.get(name, default)

    def _env(self, value: str) -> None:
        self.image.environment |= dict(each.split("=", 1) for each in shlex.split(self._expanded(value)))

    def _workdir(self, value: str) -> None:
        self.image.folder = value
        self._inside(value).mkdir(parents=True, exist_ok=True)

    def _inside(self, place: str) -> Path:
        return self.image.root / os.path.join(self.image.folder, place).lstrip("/")

    def _user(self, value: str) -> None:
        self.image.user = value

    def _expose(self, value: str) -> None:
        assert value.isdigit()

    def _stopsignal(self, value: str) -> None:
        assert value == "SIGTERM"

    def _healthcheck(self, value: str) -> None:
        if value != "NONE":
            self.image.command["HEALTHCHECK"] = json.loads(value.partition(" CMD ")[2])

    def _entrypoint(self, value: str) -> None:
        self.image.command["ENTRYPOINT"] = json.loads(value)

    def _cmd(self, value: str) -> None:
        self.image.command["CMD"] = json.loads(value)

    def _copy(self, value: str) -> None:
        *names, out = value.split()
        source = self.sources
        if names[0].startswith("--from="):
            source = next(image.root for name, image in self.stages if name == names.pop(0).partition("=")[2])
        for name in names:
            found, target = source / name.lstrip("/"), self._inside(out)
            if found.is_dir():
                shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(found, target / found.name if out.endswith("/") else target)

    def _run(self, value: str) -> None:
        for word in [word for word in self.instead if word in value]:
            value = self.instead[word]
            self.unused.discard(word)
        self._shell(f"cd {self.image.folder}; {value}")

    def _shell(self, script: str) -> None:
        settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        environment = {**settings, **self.image.environment, **self.image.arguments}
        command = ["chroot", str(self.image.root), "sh", "-ec", script]
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def _entered(image: Image, user: str) -> list[str]:
    """What goes before a command that runs in the image as `user`."""
    uid, _, gid = user.partition(":")
    rights = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    environment = [f"{name}={value}" for name, value in image.environment.items()]
    return [*rights, "env", "--chdir", image.folder, "-i", *environment]


def run(image: Image, specification: dict[str, Any]) -> dict[str, Any]:
    """The image's command with a read-only root, 64 MB of /dev/shm, no rights, and no network but its own.

    Stopped, as `docker stop` does, once its health check has passed; one without a health check ends by itself.
    """
    root = image.root
    for place, options in (("tmp", "size=256m,mode=1777"), ("dev/shm", "size=64m,mode=1777")):
        _mount("-t", "tmpfs", "-o", options, "tmpfs", root / place)
    for source, place in specification["mounts"].items():
        target = root / place.lstrip("/")
        target.mkdir(exist_ok=True) if Path(source).is_dir() else target.touch()
        _mount("--bind", source, target)
    _mount("-o", "remount,ro", root)
    image.environment |= specification["environment"]
    image.environment.setdefault("TERM", "xterm")
    command = [*image.command["ENTRYPOINT"], *(specification["command"] or image.command["CMD"])]
    user = specification["user"] or image.user
    isolated = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "sh", "-ec"]
    inside = shlex.join([*_entered(image, user), *command])
    script = f"ip link set lo up; mount -t proc proc {root}/proc; exec chroot {root} {inside}"
    with open(specification["log"], "wb") as log:
        process = subprocess.Popen([*isolated, script], stdout=log, stderr=log)
    result: dict[str, Any] = {"healthy": None}
    if check := image.command.get("HEALTHCHECK"):
        (first,) = _children(process.pid)
        entered = ["nsenter", "--net", "--target", str(first), "chroot", str(root), *_entered(image, user), *check]
        result["unhealthy_at_first"] = subprocess.run(entered, capture_output=True).returncode
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            result["healthy"] = subprocess.run(entered, capture_output=True).returncode == 0
            if result["healthy"]:
                break
            time.sleep(0.2)
        if process.poll() is None:
            os.kill(first, signal.SIGTERM)
    try:
        result["exit"] = process.wait(specification["patience"])
    except subprocess.TimeoutExpired:
        process.kill()
        result["exit"] = "killed"
    result["log"] = Path(specification["log"]).read_text(encoding="utf-8")
    return result


def _children(process: int) -> list[int]:
    while not (found := Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()):
        time.sleep(0.01)
    return [int(each) for each in found]


def main() -> None:
    specification = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    work = Path(specification["work"])
    _mount("-t", "tmpfs", "tmpfs", work)
    for each in ("context", "layers"):
        (work / each).mkdir()
    source = Path(specification["source"])
    context(source, (source / ".dockerignore").read_text(encoding="utf-8"), work / "context")
    steps = instructions((source / specification["dockerfile"]).read_text(encoding="utf-8"))
    print(json.dumps(run(Builder(work / "layers", specification).build(steps), specification)))


if __name__ == "__main__":
    main()
