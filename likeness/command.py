"""What every command of the project does with bad input: one clear line and exit code 2."""

import errno
import sys
from collections.abc import Callable

from likeness.interrupts import end_at_the_second

DONE, BAD_INPUT, PREEMPTED, INTERRUPTED = 0, 2, 75, 130


class BadInput(ValueError):
    """Input that a person can mend. The message names the file, the value and the remedy."""


def run_command(command: Callable[[], int | None]) -> int:
    """Runs a command's body and turns what a person can mend into one line on stderr.

    Returns the exit code: 0 done, 2 bad input or no room on the disk, 130 for Ctrl-C, or what the body returned.
    Anything else that is raised is a defect of ours and keeps its traceback.
    """
    end_at_the_second()
    try:
        return command() or DONE
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        print(f"stopped; {stop}" if str(stop) else "stopped", file=sys.stderr)
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
