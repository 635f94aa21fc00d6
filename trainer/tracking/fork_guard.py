"""What the tracking thread must not be in the middle of while the process forks, and how it prints.

Loaders fork worker processes whenever they like. A fork copies the locks of the process as they are at that moment, but
none of its other threads: a lock that the tracking thread holds then stays locked in the worker for good. Two of the
thread's locks matter there: Python's import locks, which importing mlflow holds for seconds, and tqdm's, which workers
need for their own messages. So both are taken under NO_FORK only, which every fork waits for.
"""

import os
import sys
import threading

from tqdm import tqdm

NO_FORK = threading.RLock()
"""Whoever holds it keeps the process from forking; a lock that the same thread may take again."""
os.register_at_fork(before=NO_FORK.acquire, after_in_parent=NO_FORK.release, after_in_child=NO_FORK.release)


def write_line(text: str) -> None:
    """Prints a line on stderr that leaves progress bars whole; from any thread."""
    with NO_FORK:
        tqdm.write(text, file=sys.stderr)
