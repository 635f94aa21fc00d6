"""What every command of the project does with bad input: one clear line and exit code 2."""

import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import nullcontext

from likeness.names import in_one_line
from likeness.process import surroundings
from likeness.process.interrupts import cleaning_up, end_at_the_second
from likeness.process.standard_streams import open_closed
from likeness.process.system_errors import in_words

DONE, BAD_INPUT, PREEMPTED, INTERRUPTED, UNREAD = 0, 2, 75, 130, 141
_OUTPUTS = (1, 2)
"""The descriptors of stdout and stderr."""


if isinstance(sys.stdout, io.TextIOWrapper):
    # What the terminal's encoding lacks is written as \xe9; Python would end the command. Of stderr it does so itself.
    sys.stdout.reconfigure(errors="backslashreplace")


class BadInput(ValueError):
    """Input that a person can mend. The message names the file, the value and the remedy.

    Whatever it quotes, it is one line of bounded length that UTF-8 can hold (see `in_one_line`): it goes into tables,
    JSON and terminals.
    """

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


def run_command(command: Callable[[], int | None], hears_sigterm: bool = False) -> int:
    """Runs a command's body and turns what a person can mend into one line on stderr.

    Returns the exit code: 0 done, 2 bad input or what the system refuses (no right, no room, no such file), 130 for
    Ctrl-C, 141 when nobody reads the output any more (as a shell reports SIGPIPE, and as silently), or what the body
    returned. Anything else that is raised is a defect of ours and keeps its traceback.
    hears_sigterm: whether the body has a way of its own to end by SIGTERM, and the process ends at once until it hears.
    """
    open_closed()
    end_at_the_second()
    try:
        with nullcontext() if hears_sigterm else cleaning_up():
            return _finished(command)
    except BadInput as error:
        return _refused(str(error))
    except KeyboardInterrupt as stop:
        print(f"stopped; {stop}" if str(stop) else "stopped", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and (unread := [each for each in _OUTPUTS if _is_unread(each)]):
            _silence(unread)
            return UNREAD
        if (words := in_words(error)) is None:
            raise
        return _refused(in_one_line(words))


def _finished(command: Callable[[], int | None]) -> int:
    try:
        surroundings.prepare()
        code = command() or DONE
    except SystemExit:
        # Of argparse, whose help nobody may read to its end.
        _flush()
        raise
    _flush()
    return code


def _flush() -> None:
    """Writes what is still in the buffers, here, where an error can be caught: later it would be a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _refused(words: str) -> int:
    try:
        print(f"error: {words}", file=sys.stderr)
        _flush()
    except BrokenPipeError:
        _silence(_OUTPUTS)
    return BAD_INPUT


def _is_unread(descriptor: int) -> bool:
    """Whether it is a pipe or socket whose reader is gone: other pipes, such as an encoder's, break as well."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _silence(descriptors: "tuple[int, ...] | list[int]") -> None:
    """What is still in the buffers, and is written at the interpreter's end, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
