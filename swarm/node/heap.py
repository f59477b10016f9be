"""Tells the C library to keep the memory of freed chunks: mapping and clearing pages anew costs more than the work on
them.

By default glibc maps every block above 128 KiB and returns it when freed, and an encoded chunk is twice that.
"""

import ctypes
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
