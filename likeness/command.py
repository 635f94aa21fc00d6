"""What every command of the project does with bad input: one clear line and exit code 2."""

import errno
import io
import sys
from collections.abc import Callable

from likeness.names import readable

DONE, BAD_INPUT, PREEMPTED, INTERRUPTED = 0, 2, 75, 130


if isinstance(sys.stdout, io.TextIOWrapper):
    # What the terminal's encoding lacks is written as \xe9; Python would end the command. Of stderr it does so itself.
    sys.stdout.reconfigure(errors="backslashreplace")


class BadInput(ValueError):
    """Input that a person can mend. The message names the file, the value and the remedy.

    It goes into tables and JSON, too: bytes of a file's name that are no UTF-8 are written as `readable` writes them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(readable(message))


def run_command(command: Callable[[], int | None]) -> int:
    """Runs a command's body and turns what a person can mend into one line on stderr.

    Returns the exit code: 0 done, 2 bad input or no room on the disk, 130 for Ctrl-C, or what the body returned.
    Anything else that is raised is a defect of ours and keeps its traceback.
    """
    try:
        return command() or DONE
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        print(
            f"error: no space left on the disk{where}; nothing half-written was kept. "
            "Free some space or choose another --out, then run the same command again.",
            file=sys.stderr,
        )
        return BAD_INPUT
