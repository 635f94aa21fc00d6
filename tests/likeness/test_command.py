"""What the system refuses, as a user of any command meets it."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from likeness.command import BadInput, run_command

ROOT = Path(__file__).parents[2]


def refusal(capsys: pytest.CaptureFixture[str], error: Exception) -> str:
    """The line on stderr when a command's body raises this."""

    def body() -> None:
        raise error

    assert run_command(body) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    return line


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "permissions"),
        (errno.EROFS, "mount"),
        (errno.ENOTDIR, "file and no folder"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.ENOSPC, "free some space"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOSYS, "on a disk of this machine"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_file_reason_and_remedy(
    capsys: pytest.CaptureFixture[str], number: int, remedy: str
) -> None:
    line = refusal(capsys, OSError(number, os.strerror(number), "some/where"))
    assert "some/where" in line and os.strerror(number) in line and remedy in line


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    for error in (OSError(errno.EBADF, "Bad file descriptor"), OSError("no number"), BrokenPipeError(errno.EPIPE, "")):

        def body(error: OSError = error) -> None:
            raise error

        with pytest.raises(OSError) as raised:
            run_command(body)
        assert raised.value is error


@pytest.mark.parametrize(
    "body", ["print('line\\n' * 10 ** 6)", "print('short')", "import argparse; argparse.ArgumentParser().parse_args()"]
)
def test_output_that_nobody_reads_ends_a_command_silently(body: str) -> None:
    """As `… | head` does: the exit code of a shell's own tools."""
    program = f"from likeness.command import run_command\ndef body():\n    {body}\nraise SystemExit(run_command(body))"
    # Unbuffered, argparse itself would pass over the error.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", program, "--help"]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_streams_that_are_closed_neither_end_a_command_nor_mix_with_its_files(tmp_path: Path) -> None:
    program = """
import sys
from likeness.command import run_command
def body():
    kept = open(sys.argv[1], "w")
    sys.stderr.write("progress")
    print("a result")
    kept.write(f"done {kept.fileno()}")
sys.exit(run_command(body))
"""
    file = tmp_path / "kept"
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", program, str(file)]
    assert subprocess.run(closed, cwd=ROOT, check=False).returncode == 0
    word, number = file.read_text(encoding="utf-8").split()
    assert word == "done" and int(number) > 2


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\nerror: b", "a\\nerror: b"),
        ("\x1b[2J\x07\x00", "\\x1b[2J\\x07\\x00"),
        ("a\u2028b\x85", "a\\u2028b\\x85"),
        (os.fsdecode(b"caf\xe9.png"), "caf%E9.png"),
        ("\ud800", "\\ud800"),
        ("Grüße, 写真 “…”", "Grüße, 写真 “…”"),
    ],
)
def test_what_a_message_quotes_is_a_part_of_one_line(
    capsys: pytest.CaptureFixture[str], given: str, shown: str
) -> None:
    assert str(BadInput(f"{given}; mend it")) == f"{shown}; mend it"
    assert refusal(capsys, BadInput(given)) == f"error: {shown}\n"
    # What the system refuses has a file's name in it.
    assert shown in refusal(capsys, OSError(errno.EACCES, os.strerror(errno.EACCES), given))


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(BadInput(f"file.csv line 3: {'x' * 100_000} is no number; mend it"))
    assert len(message) <= 2000
    assert message.startswith("file.csv line 3: xxx") and message.endswith("xxx is no number; mend it")
