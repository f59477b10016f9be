"""The one grid: how a flat vector is cut into chunks, the same for every peer of a run.

Says where chunks lie; holds no data and knows nothing of owners.

Shape letters in this package: N elements of a vector (or of the slice at hand), V state vectors, B elements
of a block.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
"""A flat, C-contiguous float32 array."""


@dataclass(frozen=True)
class Grid:
    """`elements` cut into chunks of `chunk_elements`; the last chunk may be shorter.

    Raises:
        ValueError: a size below one.
    """

    elements: int
    """Length of the whole vector."""
    chunk_elements: int
    """Length of every chunk but perhaps the last."""

    def __post_init__(self) -> None:
        if self.elements < 1:
            raise ValueError(f"a vector needs at least one element, got {self.elements}")
        if self.chunk_elements < 1:
            raise ValueError(f"a chunk needs at least one element, got {self.chunk_elements}")

    @property
    def chunks(self) -> int:
        """Number of chunks, at least one."""
        return -(-self.elements // self.chunk_elements)

    def bounds(self, chunk: int) -> slice:
        """Where a chunk lies in the vector.

        Raises:
            ValueError: no such chunk.
        """
        if not 0 <= chunk < self.chunks:
            raise ValueError(f"chunk {chunk} is not in a grid of {self.chunks}")
        start = chunk * self.chunk_elements
        return slice(start, min(start + self.chunk_elements, self.elements))

    def length(self, chunk: int) -> int:
        """Elements of a chunk; ValueError if there is no such chunk."""
        bounds = self.bounds(chunk)
        return bounds.stop - bounds.start
