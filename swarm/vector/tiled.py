"""What the codecs without blocks share: reading bytes tile by tile, so that every step finds its data in the cache.

A codec adds its layout: how to encode, what to check, and how one tile is decoded.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np

from swarm.vector.bounds import Buffer
from swarm.vector.grid import Vector

OnTile = Callable[[slice, Vector], None]
"""Works on one tile: where it lies in the slice, and the memory of the values there."""


class TiledCodec(ABC):
    """The reading half of a `Codec`; what each method promises is written there."""

    name: str

    def __init__(self, tile_elements: int) -> None:
        self._tile = tile_elements
        self._scratch = np.empty(tile_elements, np.float32)

    @abstractmethod
    def encoded_bytes(self, elements: int) -> int: ...

    @abstractmethod
    def encode(self, values_N: Vector, lost_N: Vector | None = None) -> bytes: ...

    @abstractmethod
    def check(self, data: Buffer, elements: int) -> None: ...

    def is_within(self, data: Buffer, elements: int, max_rms: float) -> bool:
        write_tile = self._writer(data, elements, 1)
        squares = 0.0
        for tile in self._tiles(elements):
            values_n = self._scratch[: tile.stop - tile.start]
            write_tile(tile, values_n)
            squares += float(np.dot(values_n, values_n))
        return squares <= max_rms * max_rms * elements

    def decode(self, data: Buffer, elements: int) -> Vector:
        out_N = np.empty(elements, np.float32)
        self.decode_into(data, out_N)
        return out_N

    def decode_into(self, data: Buffer, out_N: Vector, is_checked: bool = False) -> None:
        if not is_checked:
            self.check(data, out_N.size)
        self._on_tiles(self._writer(data, out_N.size, 1), out_N)

    def accumulate(
        self,
        data: Buffer,
        elements: int,
        weight: int,
        sum_N: Vector,
        is_first: bool = False,
        is_checked: bool = False,
    ) -> None:
        assert weight >= 1, weight
        assert sum_N.size == elements, (sum_N.size, elements)
        if not is_checked:
            self.check(data, elements)
        prepare = self._writer if is_first else self._adder
        self._on_tiles(prepare(data, elements, weight), sum_N)

    @abstractmethod
    def _writer(self, data: Buffer, elements: int, weight: int) -> OnTile:
        """Writes weight * decoded over a tile. The bytes were checked."""

    def _adder(self, data: Buffer, elements: int, weight: int) -> OnTile:
        """Adds weight * decoded to a tile. The bytes were checked."""
        write_tile = self._writer(data, elements, weight)

        def add_tile(tile: slice, sum_n: Vector) -> None:
            scratch_n = self._scratch[: sum_n.size]
            write_tile(tile, scratch_n)
            np.add(sum_n, scratch_n, out=sum_n)

        return add_tile

    def _on_tiles(self, on_tile: OnTile, values_N: Vector) -> None:
        for tile in self._tiles(values_N.size):
            on_tile(tile, values_N[tile])

    def _tiles(self, elements: int) -> Iterator[slice]:
        for start in range(0, elements, self._tile):
            yield slice(start, min(start + self._tile, elements))
