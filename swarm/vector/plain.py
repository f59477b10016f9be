"""The codecs without blocks: `float32` and `bfloat16`.

bfloat16 is the upper half of a float32, rounded half to even. It is made and read by integer arithmetic on bit
patterns, so the bits are the same on every CPU, subnormal values included.
"""

import numpy as np

from swarm.errors import ProtocolError
from swarm.vector.bounds import MAX_MAGNITUDE, Buffer, all_fit, check_size, unfit
from swarm.vector.grid import Vector
from swarm.vector.tiled import OnTile, TiledCodec

_F32 = np.dtype("<f4")
_BF16 = np.dtype("<u2")
_TILE_ELEMENTS = 65_536
_MAX_BF16_BITS = np.float32(MAX_MAGNITUDE).view(np.uint32) >> 16


class Float32Codec(TiledCodec):
    """Plain little-endian float32, for tests, comparisons and lossless runs."""

    name = "float32"

    def __init__(self) -> None:
        super().__init__(_TILE_ELEMENTS)

    def encoded_bytes(self, elements: int) -> int:
        return elements * _F32.itemsize

    def encode(self, values_N: Vector, lost_N: Vector | None = None) -> bytes:
        if not all_fit(values_N):
            raise ValueError(unfit(values_N))
        if lost_N is not None:
            assert lost_N.shape == values_N.shape, (lost_N.shape, values_N.shape)
            lost_N.fill(0)
        return values_N.astype(_F32, copy=False).tobytes()

    def check(self, data: Buffer, elements: int) -> None:
        check_size(data, self.encoded_bytes(elements))
        if not all_fit(np.frombuffer(data, _F32)):
            raise ProtocolError("a float32 chunk has a value that is not finite or out of range")

    def _writer(self, data: Buffer, elements: int, weight: int) -> OnTile:
        values_N = np.frombuffer(data, _F32)

        def write_tile(tile: slice, out_n: Vector) -> None:
            # a copy keeps every bit; a product would lose subnormal values where a thread flushes them
            np.copyto(out_n, values_N[tile])
            if weight != 1:
                np.multiply(out_n, np.float32(weight), out=out_n)

        return write_tile


class Bfloat16Codec(TiledCodec):
    """Little-endian bfloat16: a relative error of at most 2**-8 for every normal value, without blocks."""

    name = "bfloat16"

    def __init__(self) -> None:
        super().__init__(_TILE_ELEMENTS)

    def encoded_bytes(self, elements: int) -> int:
        return elements * _BF16.itemsize

    def encode(self, values_N: Vector, lost_N: Vector | None = None) -> bytes:
        if not all_fit(values_N):
            raise ValueError(unfit(values_N))
        assert lost_N is None or lost_N.shape == values_N.shape, (lost_N.shape, values_N.shape)
        encoded_N = np.empty(values_N.size, _BF16)
        for tile in self._tiles(values_N.size):
            bits_n = values_N[tile].view(np.uint32)
            rounded_n = self._scratch[: bits_n.size].view(np.uint32)
            # half a unit less one, and one more where the unit is odd: halves go to the even neighbour
            np.right_shift(bits_n, 16, out=rounded_n)
            np.bitwise_and(rounded_n, 1, out=rounded_n)
            np.add(rounded_n, 0x7FFF, out=rounded_n)
            np.add(rounded_n, bits_n, out=rounded_n)
            np.right_shift(rounded_n, 16, out=rounded_n)
            np.copyto(encoded_N[tile], rounded_n, casting="unsafe")
            if lost_N is not None:
                np.left_shift(rounded_n, 16, out=rounded_n)
                np.subtract(values_N[tile], rounded_n.view(np.float32), out=lost_N[tile])
        return encoded_N.tobytes()

    def check(self, data: Buffer, elements: int) -> None:
        check_size(data, self.encoded_bytes(elements))
        # without its sign bit, a larger pattern is a larger magnitude; infinity and NaN are the largest
        magnitudes_N = np.frombuffer(data, _BF16) & 0x7FFF
        if magnitudes_N.size and magnitudes_N.max() > _MAX_BF16_BITS:
            raise ProtocolError("a bfloat16 chunk has a value that is not finite or out of range")

    def _writer(self, data: Buffer, elements: int, weight: int) -> OnTile:
        encoded_N = np.frombuffer(data, _BF16)

        def write_tile(tile: slice, out_n: Vector) -> None:
            bits_n = out_n.view(np.uint32)
            np.copyto(bits_n, encoded_N[tile])
            np.left_shift(bits_n, 16, out=bits_n)
            if weight != 1:
                np.multiply(out_n, np.float32(weight), out=out_n)

        return write_tile
