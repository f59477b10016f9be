"""How this process's memory is kept: freed chunks stay, and garbage goes soon.

By default glibc maps every block above 128 KiB and returns it when freed, and an encoded chunk is twice that: mapping
and clearing pages anew costs more than the work on them.

Python's collector looks at everything once what is new is a quarter of what is old, and counts objects, not bytes. The
half million objects that imports leave would make it wait for a hundred thousand more, while closed connections, which
are reference cycles, keep their buffers.
"""

import ctypes
import gc
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MMAP_FROM_BYTES = 8 * 1024 * 1024
_KEPT_BYTES = 32 * 1024 * 1024


def keep_freed_chunks() -> None:
    """For this process; does nothing where the C library has no mallopt."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def leave_imports_out_of_collections() -> None:
    """What is there now lives for ever: collections look at what comes after it, and so come often and cost little."""
    gc.freeze()
    gc.collect()  # the collector's count of what is old begins anew
