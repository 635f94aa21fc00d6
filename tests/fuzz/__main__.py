"""Throws mutated content at every boundary and prints, as JSON, what became of it.

python -m tests.fuzz [--cases N] [--first N] [--keep DIR] [BOUNDARY …]

Every case is a function of its boundary and number. Verdicts: refused (BadInput), accepted, and, each a defect of ours:
wrong (let pass, and not right), traceback, long (a message of more than a line, or of kilobytes), hang. Content that
once failed lies in cases/BOUNDARY/ and is read again, first.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from likeness.command import BadInput
from likeness.process.system_errors import in_words
from tests.fuzz.boundaries import BOUNDARIES

CASES = Path(__file__).parent / "cases"
SECONDS = 10
"""After which a case hangs."""
MEMORY = 3 * 2**30
"""Bytes beyond what the process has when it begins; more is refused to it."""
LONGEST = 4000
"""Characters of a message."""


class _HangError(BaseException):
    """A case took too long."""


def _late(number: int, frame: FrameType | None) -> None:
    raise _HangError


def verdict(name: str, content: bytes, folder: Path) -> tuple[str, str]:
    """What became of one piece of content, and the details of a defect."""
    signal.alarm(SECONDS)
    try:
        BOUNDARIES[name].read(content, folder)
    except BadInput as error:
        message = str(error)
        return ("long", message[:300]) if len(message) > LONGEST or "\n" in message else ("refused", "")
    except OSError as error:
        # What the system says of a name that somebody chose, `run_command` puts into words.
        if in_words(error) is None or isinstance(error, TimeoutError):
            return ("hang", "") if isinstance(error, TimeoutError) else ("traceback", traceback.format_exc(limit=-4))
        return "refused", ""
    except AssertionError:
        return "wrong", traceback.format_exc(limit=-3)
    except _HangError:
        return "hang", ""
    except Exception:
        return "traceback", traceback.format_exc(limit=-4)[-1500:]
    finally:
        signal.alarm(0)
    return "accepted", ""


def content_of(name: str, number: int) -> bytes:
    """The content of a boundary's case."""
    rng = random.Random(f"{name} {number}")
    boundary = BOUNDARIES[name]
    return boundary.mutate(rng, rng.choice(boundary.seeds()))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))


def run(names: list[str], cases: float, first: int, keep: Path | None) -> dict[str, Any]:
    """Counts by boundary and verdict, and the first defects of each."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    defects: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            boundary = BOUNDARIES[name]
            for place, seed in enumerate(boundary.seeds()):
                found, details = verdict(name, seed, _folder(scratch, name, f"seed-{place}"))
                expected = ("accepted", "refused") if boundary.seeds_refused else ("accepted",)
                assert found in expected, (name, found, details)
        _limit_memory()
        for name in names:
            numbers = range(first, first + max(1, round(cases * BOUNDARIES[name].weight)))
            old = [(f"kept-{path.name}", path.read_bytes()) for path in sorted((CASES / name).glob("*"))]
            new = ((str(number), content_of(name, number)) for number in numbers)
            for case, content in (*old, *new):
                found, details = verdict(name, content, _folder(scratch, name, case))
                counts[name][found] += 1
                if found not in ("accepted", "refused"):
                    defects.append({"boundary": name, "case": case, "verdict": found, "details": details})
                    if keep is not None:
                        (keep / name).mkdir(parents=True, exist_ok=True)
                        (keep / name / case).write_bytes(content)
    return {"counts": counts, "defects": defects}


def _folder(scratch: str, name: str, case: str) -> Path:
    folder = Path(scratch) / f"{name}-{case}"
    folder.mkdir()
    return folder


def main() -> int:
    """Returns 1 when there is a defect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boundaries", nargs="*", choices=[[], *BOUNDARIES], metavar="BOUNDARY")
    parser.add_argument("--cases", type=float, default=1, help="of a slow boundary; times its weight of others")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, help="where the content of failed cases goes")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _late)
    report = run(options.boundaries or [*BOUNDARIES], options.cases, options.first, options.keep)
    print(json.dumps(report, indent=1))
    return int(bool(report["defects"]))


if __name__ == "__main__":
    sys.exit(main())
