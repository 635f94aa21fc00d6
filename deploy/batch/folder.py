"""The folder of a run of batch inference: made by the first process, continued only by the same run."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.batch.bad_inputs import changes
from deploy.batch.outputs import Output
from deploy.batch.pairs import Pairs, slice_ending
from likeness import atomic
from likeness.command import BadInput
from likeness.one_writer import is_held, only_writer
from shards.records import LabelSchema

RECORD = "batch.json"
_OURS = re.compile(r"batch\.json|\.?bad(-\d+-of-\d+)?\.(csv|json)|\.slice-\d+-of-\d+\.lock")
"""What a run leaves that fails before its first picture: its record, the list of broken inputs, locks of slices."""
_OPTIONS = {
    "model_sha256": "model",
    "steps": "chain of models",
    "size": "--size",
    "seed": "--seed",
    "styles": "--styles",
    "output": "--format, --quality or --per-shard",
}
"""What of a record a person has chosen, and how; anything else follows from the pairs."""


@contextmanager
def opened(out: Path, facts: dict[str, Any], schema: LabelSchema, pairs: Pairs, output: Output) -> Iterator[None]:
    """Creates `out`, or makes sure that it is an unfinished run of the same; one process at a time in each slice.

    facts: of the model, and of what is drawn. Raises BadInput when `out` is anything else, naming what is different,
    or another process writes the same slice.
    """
    record: dict[str, Any] = {
        **facts,
        "size": [schema.width, schema.height],
        "pairs": pairs.identity(changes(out)),
        "count": pairs.total,
        "output": output.to_json(),
    }
    slices = pairs.part[1]
    if slices > 1:
        record["slices"] = slices
    file = out / RECORD
    if not out.exists():
        _create(out, record)
    elif _painted_nothing(out) and not _is_of(file, record):
        # The earlier run's broken inputs are forgotten with it.
        record["pairs"] = pairs.identity({})
        _begin_anew(file, record)
    _check_same(file, record)
    ending = slice_ending(pairs.part)
    part = f"slice {ending[1:]} of " if slices > 1 else ""
    lock = file if slices == 1 else out / f".slice{ending}.lock"
    with only_writer(lock, f"another process is writing {part}{out}; wait for it or choose another --out"):
        yield


def _create(out: Path, record: dict[str, Any]) -> None:
    try:
        with atomic.new_folder(out) as partial:
            (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except (BadInput, OSError):
        # The slices of a job array begin together: where the record is, another one was first.
        if not (out / RECORD).is_file():
            raise


def _painted_nothing(out: Path) -> bool:
    """Whether a run failed here before its first picture, and nobody put anything else there."""
    return (out / RECORD).is_file() and all(_OURS.fullmatch(entry.name) for entry in out.iterdir())


def _is_of(file: Path, record: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")) == record)
    except ValueError:
        return False


def _begin_anew(file: Path, record: dict[str, Any]) -> None:
    """Makes the folder of a run that painted nothing that of another one. Raises BadInput while it is being written."""
    out = file.parent
    busy = f"another process is writing {out}; wait for it or choose another --out"
    if any(is_held(lock) for lock in out.glob(".slice-*.lock")):
        raise BadInput(busy)
    with only_writer(file, busy):
        if not _painted_nothing(out):
            return
        for entry in out.iterdir():
            if entry != file:
                entry.unlink()
        atomic.write_text(file, json.dumps(record, indent=1) + "\n")


def _check_same(file: Path, record: dict[str, Any]) -> None:
    """Raises BadInput unless `file` holds this very record."""
    out = file.parent
    if not file.is_file():
        raise BadInput(f"{out} exists already and holds no {RECORD} of an earlier run; choose another --out")
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file} is damaged ({error}); choose another --out") from error
    if earlier == record:
        return
    if _unsliced(earlier) == _unsliced(record):
        begun = f"in {earlier['slices']} slices" if "slices" in earlier else "without slices"
        raise BadInput(f"{out} was begun {begun} (see its {RECORD}); go on like that or choose another --out")
    other_pairs = "set of pairs, or their files have changed"
    changed = next((words for key, words in _OPTIONS.items() if earlier.get(key) != record.get(key)), other_pairs)
    raise BadInput(f"{out} was begun with another {changed} (see its {RECORD}); choose another --out")


def _unsliced(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "slices"}
