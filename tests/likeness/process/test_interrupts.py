"""Ctrl-C ends every command with one line and 130; a second one ends it wherever it is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from likeness.command import INTERRUPTED, run_command
from likeness.process.interrupts import saying

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, time
from likeness.command import run_command
from likeness.process.interrupts import saying

def work():
    with saying(lambda: "3 of 4 pictures are in painted; the same command makes the others"):
        try:
            print("working", flush=True)
            time.sleep(60)
        finally:
            print("ending", flush=True)
            time.sleep(float(sys.argv[1]))

sys.exit(run_command(work))
"""


def start(seconds: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ending\n"
    return process


def test_one_line_says_what_is_kept() -> None:
    process = start(0)
    _, said = process.communicate(timeout=20)
    assert said == "stopped; 3 of 4 pictures are in painted; the same command makes the others\n"
    assert process.returncode == INTERRUPTED


def test_the_second_one_waits_for_nothing() -> None:
    process = start(60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT and "Traceback" not in said


def test_only_ctrl_c_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with saying(lambda: "never asked"):
            pass

    before = signal.getsignal(signal.SIGINT)
    try:
        assert run_command(work) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == ""


WRITING = """
import os, sys, time
from pathlib import Path
from likeness import atomic
from likeness.command import run_command

def work():
    out = Path(sys.argv[1])
    with atomic.new_file(out / "picture.png") as partial, atomic.new_folder(out / "shards") as folder:
        partial.write_bytes(b"half")
        (folder / "a.tar").write_bytes(b"half")
        child = os.fork()
        if child == 0:
            time.sleep(60)
        try:
            print(child, flush=True)
            time.sleep(60)
        finally:
            # A worker process ends at once; were it to raise, it would clean up after its parent.
            os.kill(child, 15)
            print(os.waitpid(child, 0)[1], flush=True)
            time.sleep(float(sys.argv[2]))

sys.exit(run_command(work))
"""


def writing(out: Path, seconds: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITING, str(out), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip().isdigit()
    assert len(os.listdir(out)) == 2
    process.send_signal(signal.SIGTERM)
    return process


def test_sigterm_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = writing(tmp_path, 0)
    said, errors = process.communicate(timeout=20)
    assert said == "15\n", "the child's own end"
    assert (process.returncode, errors) == (-signal.SIGTERM, "")
    assert os.listdir(tmp_path) == []


def test_a_second_sigterm_waits_for_nothing(tmp_path: Path) -> None:
    process = writing(tmp_path, 60)
    assert process.stdout is not None and process.stdout.readline() == "15\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
