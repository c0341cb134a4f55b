"""Memory of the process: its peak, and keeping what is freed.

A step's largest tensors come and go at every step.

By default glibc gives large freed blocks back to the system, so that every [P, N] tensor of a step
costs a page fault for each 4 kB. Kept, the same pages serve the next step: a training step of the
small preset then takes about three quarters of the time. The price is that a process stays as large
as its largest step made it.
"""

import ctypes
import resource
import sys

SCORES_HELD = 2**26  # scores of all items that are held at a time, 256 MB

# From malloc.h; mallopt takes an int.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed; do nothing with any other C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 2**28)


def peak_memory() -> int:
    """Return the most memory that this process, or one that it waited for, has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # of what getrusage reports
    own, others = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(each).ru_maxrss for each in (own, others)) * unit
