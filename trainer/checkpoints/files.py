"""Checkpoints on the disk: folders of safetensors and JSON that appear whole, and continue a run bit for bit.

checkpoint-0000123456/   named by the images seen
    state.json           everything that is no tensor, and the SHA-256 of every other file
    NAME.safetensors     a network's weights; NAME.ema its averaged ones
    PLAYER.optimizer.safetensors
    random-RANK.safetensors, random-RANK.json
latest, best             files with the name of a checkpoint
"""

import hashlib
import json
import math
import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from safetensors.torch import load
from safetensors.torch import save as serialise
from torch import Tensor

from likeness import atomic
from likeness.command import BadInput

STATE = "state.json"
LATEST, BEST = "latest", "best"
LEFT = "left-branches"
"""The folder in a run's folder for checkpoints of branches that were left."""


@dataclass(frozen=True)
class State:
    """What a checkpoint holds beside tensors; the content of `state.json`."""

    images: int
    """Images seen by all ranks."""
    steps: int
    """Iterations of the run."""
    epoch: int
    """The epoch of the place in the stream of samples, which is the same on any number of ranks."""
    position: int
    """The samples of that epoch that have been read."""
    ranks: int
    """How many processes wrote it."""
    config: dict[str, Any]
    """The run's settings."""
    schema: dict[str, Any]
    """The label schema of the shards."""
    manifest: str
    """The digest of the shards' manifest."""
    run_id: str | None
    """The MLflow run, where a server had given one by then."""
    files: dict[str, str]
    """SHA-256 of every other file of the folder, by its name."""
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured of these weights on held-out pairs, by name."""
    converted: dict[str, str] = field(default_factory=dict)
    """Of weights that others trained, the SHA-256 of each of their files by its path; empty for a run's own."""

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted checksums of `files`; it names the checkpoint's content."""
        return hashlib.sha256("".join(sorted(self.files.values())).encode()).hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """Everything that a checkpoint holds, in host memory, apart from what training goes on changing."""

    state: State
    """Everything that is no tensor; its `files` are still empty."""
    tensors: dict[str, dict[str, Tensor]]
    """Tensors by name, by the stem of the file that they go to."""
    plain: dict[str, Any]
    """What JSON holds, by the stem of the file that it goes to."""


def folder_of(run: Path, images: int) -> Path:
    """The folder of a run's checkpoint after so many images; names sort as images do."""
    return run / f"checkpoint-{images:010d}"


def save(run: Path, snapshot: Snapshot) -> Path:
    """Writes `checkpoint-<images>/` under `run` and moves `latest` to it, last. Returns the folder.

    The order is what makes it safe to pull the plug at any moment: all files are written and flushed in a folder of
    another name, which is then renamed, and only then does `latest`, itself replaced by a rename, name it. What a crash
    leaves is the checkpoint before, whole, and perhaps a folder that nothing names.
    A checkpoint of the same images (the end of a resumed run) is left as it is.
    """
    folder = folder_of(run, snapshot.state.images)
    if not folder.exists():
        write(folder, snapshot)
    atomic.write_text(run / LATEST, folder.name + "\n")
    return folder


def write(folder: Path, snapshot: Snapshot) -> None:
    """Writes a checkpoint as a folder of any name. Raises BadInput when the folder exists."""
    with atomic.new_folder(folder) as partial:
        files = {}
        for stem, named in snapshot.tensors.items():
            file = partial / f"{stem}.safetensors"
            # Python writes the bytes: safetensors' own writer reports a full disk as an error of its own kind, where
            # `Saver` waits for an OSError. The bytes depend on the tensors alone (safetensors sorts them by type and
            # name), so that equal weights have equal checksums.
            content = serialise(named)
            files[file.name] = hashlib.sha256(content).hexdigest()
            file.write_bytes(content)
        for stem, plain in snapshot.plain.items():
            content = (json.dumps(plain) + "\n").encode()
            files[f"{stem}.json"] = hashlib.sha256(content).hexdigest()
            (partial / f"{stem}.json").write_bytes(content)
        # Written last, and it knows all other files: a folder without it is no checkpoint.
        state = replace(snapshot.state, files=files)
        (partial / STATE).write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")


def _named(run: Path, name: str) -> str | None:
    """The checkpoint that `latest` or `best` names; None where there is no such file."""
    file = run / name
    try:
        return file.read_text(encoding="utf-8").strip() if file.is_file() else None
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is no name in UTF-8 ({error}); write a checkpoint's name into it") from error


def best_value(run: Path, metric: str) -> float:
    """A metric of the checkpoint that `best` names; infinite where there is none."""
    best = _named(run, BEST)
    if best is None:
        return math.inf
    state = run / best / STATE
    return (
        float(json.loads(state.read_text(encoding="utf-8"))["figures"].get(metric, math.inf))
        if state.is_file()
        else math.inf
    )


def written(run: Path) -> dict[int, Path]:
    """The checkpoints that `save` wrote into a run's folder, by images, ascending.

    A copy under another name, an archive, or whatever else people keep there whose name begins alike, is none.
    """
    checkpoints: dict[int, Path] = {}
    for folder in run.glob("checkpoint-*"):
        number = folder.name.removeprefix("checkpoint-")
        if number.isdecimal() and folder == folder_of(run, int(number)) and _images_of(folder) == int(number):
            checkpoints[int(number)] = folder
    return dict(sorted(checkpoints.items()))


def _images_of(folder: Path) -> int | None:
    """What a checkpoint says of itself; None for anything else."""
    try:
        return int(json.loads((folder / STATE).read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def prune(run: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints that a run wrote, the best one, and the one that `latest` names."""
    spared = (_named(run, BEST), _named(run, LATEST))
    for folder in [*written(run).values()][:-keep]:
        if folder.name in spared:
            continue
        # Renamed first, so that a half-deleted folder never bears a checkpoint's name.
        doomed = folder.with_name(f".{folder.name}-deleted")
        atomic.move_folder(folder, doomed)
        shutil.rmtree(doomed)


def leave_branch(run: Path, resumed: Path, images: int) -> list[Path]:
    """Makes a checkpoint the run's latest one, before training goes on from it.

    Checkpoints of the run at the same or a later count belong to a branch that is left: `save` would take them for its
    own and keep them. They go to the folder `left-branches`, where nothing looks for them and nothing is deleted, and
    `best` no longer names one of them. Returns where they are now.
    """
    leaving = [
        folder for number, folder in written(run).items() if number >= images and folder.resolve() != resumed.resolve()
    ]
    names = {folder.name for folder in leaving}
    # First the names, then the folders: whatever a crash leaves in between can be resumed.
    if resumed.resolve().parent == run.resolve():
        atomic.write_text(run / LATEST, resumed.name + "\n")
    elif _named(run, LATEST) in names:
        (run / LATEST).unlink()
    if _named(run, BEST) in names:
        (run / BEST).unlink()
    return [_moved(folder, run / LEFT) for folder in leaving]


def _moved(folder: Path, into: Path) -> Path:
    """Moves a folder into another one, under a name that is free there."""
    into.mkdir(exist_ok=True)
    names = (folder.name if number == 1 else f"{folder.name}-{number}" for number in count(1))
    place = next(into / name for name in names if not (into / name).exists())
    atomic.move_folder(folder, place)
    return place


def find(path: Path) -> Path | None:
    """The checkpoint that a path means: itself, or the `latest` one of a run's folder; None in an empty one.

    Where `latest` is gone, and checkpoints are not, it is the one of the most images, which is said on stderr.
    Raises BadInput when `latest` is no text, or names a checkpoint that is gone.
    """
    if (path / STATE).is_file():
        return path
    if path.name.startswith("checkpoint-") and path.is_dir():
        raise BadInput(f"{path}/{STATE} is missing: this is not a whole checkpoint; use another one")
    latest = _named(path, LATEST)
    if latest is None:
        whole = [*written(path).values()]
        if whole:
            print(f"note: {path / LATEST} is missing; the last checkpoint there is {whole[-1].name}", file=sys.stderr)
        return whole[-1] if whole else None
    folder = path / latest
    if not (folder / STATE).is_file():
        raise BadInput(
            f"{path / LATEST} names {folder.name}, which is not there; write another checkpoint's name into it"
        )
    return folder


class Checkpoint:
    """A checkpoint on the disk; each file is checked against its SHA-256 when it is read."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput when `state.json` is damaged."""
        self.folder = folder
        try:
            self.state = State(**json.loads((folder / STATE).read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise BadInput(f"{folder / STATE} is damaged ({error}); use an earlier checkpoint") from error

    def _read(self, name: str) -> bytes:
        if name not in self.state.files:
            remedy = "convert it again with the file that has it" if self.state.converted else "use another checkpoint"
            raise BadInput(
                f"{self.folder} was written without {name}; it has {', '.join(sorted(self._networks()))}; {remedy}"
            )
        file = self.folder / name
        # A missing file counts as an empty one, which has not the recorded checksum either. What is decoded afterwards
        # are these very bytes, not the file opened once more.
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() != self.state.files[name]:
            raise BadInput(f"{file} is damaged: its SHA-256 is not the recorded one; use an earlier checkpoint")
        return content

    def _networks(self) -> list[str]:
        """The stems of the files of tensors."""
        ending = ".safetensors"
        return [name.removesuffix(ending) for name in self.state.files if name.endswith(ending)]

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """A file of tensors, by name, on the CPU. Raises BadInput when it is missing or damaged."""
        return load(self._read(f"{stem}.safetensors"))

    def plain(self, stem: str) -> Any:
        """A JSON file's content. Raises BadInput when it is missing or damaged."""
        return json.loads(self._read(f"{stem}.json"))
