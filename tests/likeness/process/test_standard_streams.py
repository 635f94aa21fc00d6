"""A process that goes on when nobody reads what it prints."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys
from likeness.process.standard_streams import outlive_readers
outlive_readers()
kept = open(sys.argv[1], "w")
for number in range(400):
    print("x" * 1000, file=sys.stderr)
    print("y" * 1000)
kept.write(f"done {kept.fileno()}")
"""


def start(file: Path, **streams: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", PROGRAM, str(file)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **streams)  # type: ignore[call-overload, no-any-return]


def test_readers_that_leave_and_readers_that_stop_reading(tmp_path: Path) -> None:
    left, asleep = tmp_path / "left", tmp_path / "asleep"
    process = start(left, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stderr.read(10)
    process.stderr.close()
    assert process.wait(timeout=30) == 0, "not 120, which Python gives when its last flush fails"
    assert left.read_text().startswith("done")

    begun = time.monotonic()
    process = start(asleep, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.wait(timeout=30) == 0 and time.monotonic() - begun < 20
    assert asleep.read_text().startswith("done")
    assert process.stdout is not None and process.stderr is not None
    assert process.stderr.read(5) == b"xxxxx", "what fits is there for whoever reads on"
    process.stdout.close()
    process.stderr.close()


def test_a_closed_stream_s_number_goes_to_no_other_file(tmp_path: Path) -> None:
    file = tmp_path / "closed"
    process = start(file, preexec_fn=lambda: [os.close(number) for number in (0, 1, 2)])
    assert process.wait(timeout=30) == 0
    assert int(file.read_text().split()[1]) > 2


def test_a_reader_sees_all(tmp_path: Path) -> None:
    process = start(tmp_path / "read", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = process.communicate(timeout=30)
    assert said.count(b"x") == said.count(b"y") == 400_000
