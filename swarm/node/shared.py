"""Two vectors in memory that a trainer and its node both map."""

import mmap
import os

import numpy as np


class SharedVectors:
    """`update_N` and `base_N`, float32 [N] each, in memory that both processes map."""

    def __init__(self, fd: int, elements: int) -> None:
        size = 2 * 4 * elements
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        self._map = mmap.mmap(fd, size)
        both = np.frombuffer(self._map, np.float32)
        self.update_N = both[:elements]
        self.base_N = both[elements:]
