"""Large vectors whose memory is used again: fresh pages cost more than the arithmetic on them.

A vector is like any other array to whoever holds it. Its memory returns to the recycler when the last array that looks
at it is gone, so nobody has to give it back and nobody can see it change.
"""

import mmap
import weakref

import numpy as np

from swarm.vector.grid import Vector

_KEPT = 2
"""Of each size, beyond those in use."""


class Recycler:
    """Float32 vectors of any length; one instance per thread."""

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}

    def empty(self, elements: int) -> Vector:
        """A vector of shape (elements,) with arbitrary content."""
        free = self._free.setdefault(elements, [])
        memory = free.pop() if free else _pages(4 * elements)
        # Slices of an array over foreign memory keep that array alive, which slices of an ordinary view do not.
        vector_N = np.frombuffer(memory, np.float32, elements)
        weakref.finalize(vector_N, _put_back, free, memory).atexit = False
        return vector_N


def _put_back(free: list[mmap.mmap], memory: mmap.mmap) -> None:
    if len(free) < _KEPT:
        free.append(memory)


def _pages(size_bytes: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, max(size_bytes, 1))
    # Shared memory, which is Python's default, has no huge pages on most systems.
    memory = mmap.mmap(-1, max(size_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
