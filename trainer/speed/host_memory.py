"""Keeping the host's memory in the process, which training on a CPU wants."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt (malloc.h)."""
NEVER = 2**31 - 1
PAD = 256 * 2**20


def keep_freed_memory() -> bool:
    """Has the C library keep what is freed, instead of giving it back to the system; whether it could be told.

    Gradients and activations of hundreds of megabytes are freed in every step. What goes back to the system has to be
    mapped and cleared anew, page by page, which costs up to half of a step's time on a CPU. Only glibc knows this.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, PAD))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
