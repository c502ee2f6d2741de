"""Large arrays without new pages each time: freed memory is kept by the process instead of given back to the system."""

from __future__ import annotations

import ctypes
import sys

#: glibc's mallopt (malloc.h): blocks from the first size on get pages of their own, which are cleared by the system for every
#: one; of more than the second, free at the end of the heap, the end is given back. Whoever sets one fixes the other at its
#: default (128 KiB), which grows with use otherwise: so both are set.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _SIZE = -3, -1, (1 << 31) - 1


def keep_freed() -> None:
    """Let this process use freed blocks of any size again. For programs of our own: it is a setting of the whole process.

    Training and targets make arrays of 10 to 100 MB by the thousand. glibc takes fresh pages for each, and to clear them took
    the system longer than the computation, where LeNet was judged on all targets. Without glibc nothing happens.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            for threshold in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
                mallopt(threshold, _SIZE)
