"""`python -m` looks for modules in the working folder first, where a person's own may have the names of ours."""

import os
import re
import sys
from itertools import pairwise


def leave_out_working_folder(package: str, place: str) -> None:
    """After `python -m PACKAGE…` modules are looked for where they are installed, not in the working folder.

    There, a folder `trainer` would stand in for ours, and a file `queue.py` for the library's. In a clone, where the
    working folder is where our code lies, nothing changes; nor does it for programs that only import the package.

    package: which one is being imported. place: its `__file__`.
    """
    # What -m puts there. Of `python -c` and programs of other people it is something else, which is theirs.
    if sys.flags.safe_path or sys.argv[:1] != ["-m"] or not sys.path or not _is_run(package):
        return
    try:
        working = os.getcwd()
    except FileNotFoundError:
        return
    if sys.path[0] == working and os.path.realpath(working) != os.path.dirname(
        os.path.dirname(os.path.realpath(place))
    ):
        del sys.path[0]


def _is_run(package: str) -> bool:
    """Whether `python -m` was given the package or a module of it."""
    for word, following in pairwise([*sys.orig_argv[1:], ""]):
        # Other options may go before it in the same word; -W, -X and -c take the rest of theirs.
        if found := re.fullmatch("-[^-WXcm]*m(.*)", word):
            return (found[1] or following).partition(".")[0] == package
    return False
