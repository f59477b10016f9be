"""Blockwise absmax quantisation: B neighbours share one bfloat16 scale, and every value becomes a small integer code.

What `int8` and `int4` have in common; how codes lie in bytes is theirs. For a block with largest magnitude m and codes
in [-L, L], the scale is m / L rounded to bfloat16, the code of a value is value / scale rounded half to even, and the
decoded value is code * scale. Scales are rounded to nearest: m / scale exceeds L by at most L / 512, so no code does.

Decoded values are the same bits on every CPU: a code below 2**7 times a scale of 8 significant bits is exact in
float32, and a scale is zero or normal, so neither instruction set nor flush-to-zero mode can show. Because the product
is exact, fused multiply-adds change nothing either where a decoded value is added or taken away. For the same reason
encoding what was decoded gives the same bytes again. What may differ by one code between CPUs is the encoding of a
value that lies half-way between two codes; only its author encodes it.

Why a bfloat16 scale: with half its bytes saved, blocks can be half as long. Why torch beside numpy: it reduces rows
five times and broadcasts a scale over a block twice as fast; numpy has the cheaper calls, and reads the read-only bytes
that torch refuses.
"""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from swarm.errors import ProtocolError
from swarm.vector.bounds import MAX_MAGNITUDE, Buffer, check_size, unfit
from swarm.vector.grid import Vector
from swarm.vector.tiled import OnTile, TiledCodec

Codes = npt.NDArray[np.int8]
"""One code per element, unpacked."""

_SCALE = np.dtype("<u2")
"""A scale on the wire: the upper half of a float32, read as an unsigned integer."""
_MIN_SCALE_BITS = 0x0080
"""The smallest normal bfloat16. What rounds to less is written as zero: its inverse could overflow."""
_TILE_ELEMENTS = 262_144
"""A default chunk. Smaller tiles stay in a nearer cache, and lost more to the cost of each call than they gained."""
# Added to a float32 below 2**22 in magnitude, it rounds it half to even and leaves the integer in the low bits; taken
# away again it leaves the integer as a float, and never a negative zero.
_ROUNDER = np.float32(1.5 * 2.0**23)


class BlockCodec(TiledCodec):
    """All of a `Codec` but the bytes of the codes.

    Layout: all scales (little-endian bfloat16, one per block), then all codes. The last block may be short. A block of
    zeros, or of values too small for a normal scale, has scale 0 and codes 0.
    """

    _limit: int
    """Codes lie in [-_limit, _limit]."""

    def __init__(self, block_elements: int) -> None:
        if block_elements < 1:
            raise ValueError(f"a block needs at least one element, got {block_elements}")
        super().__init__(max(1, _TILE_ELEMENTS // block_elements) * block_elements)
        self._block = block_elements
        self._rounder_B = torch.full((block_elements,), float(_ROUNDER))
        self._max_scale_bits = int(_scale_bits(np.array([MAX_MAGNITUDE], np.float32), self._limit)[0])

    def encoded_bytes(self, elements: int) -> int:
        return self._blocks(elements) * _SCALE.itemsize + self._code_bytes(elements)

    def encode(self, values_N: Vector, lost_N: Vector | None = None) -> bytes:
        assert lost_N is None or lost_N.shape == values_N.shape, (lost_N.shape, values_N.shape)
        # torch refuses read-only memory
        values = torch.from_numpy(values_N if values_N.flags.writeable else values_N.copy())
        absmax_K = self._absmax(values)
        # NaN fails the comparison as well
        if values_N.size and not absmax_K.max() <= MAX_MAGNITUDE:
            raise ValueError(unfit(values_N))
        bits_K = _scale_bits(absmax_K, self._limit)
        scales_K = _scales(bits_K)
        divisors_K = scales_K if bits_K.all() else np.where(bits_K == 0, np.float32(np.inf), scales_K)
        inverse_K1 = torch.from_numpy(np.float32(1) / divisors_K).unsqueeze(1)
        scales_K1 = torch.from_numpy(scales_K).unsqueeze(1)

        codes_N = np.empty(values_N.size, np.int8)
        codes = torch.from_numpy(codes_N)
        for tile in self._tiles(values_N.size):
            scratch_n = self._scratch[: tile.stop - tile.start]
            rows_RB, blocks = self._rows(scratch_n), self._blocks_of(tile)
            values_RB = values[tile].view_as(rows_RB)
            torch.addcmul(self._rounder_B[: rows_RB.shape[1]], values_RB, inverse_K1[blocks], out=rows_RB)
            codes[tile].view_as(rows_RB).copy_(rows_RB.view(torch.int32))  # keeps the lowest byte
            if lost_N is not None:
                np.subtract(scratch_n, _ROUNDER, out=scratch_n)
                lost_RB = torch.from_numpy(lost_N[tile]).view_as(rows_RB)
                torch.addcmul(values_RB, rows_RB, scales_K1[blocks], value=-1, out=lost_RB)
        return b"".join((bits_K.astype(_SCALE, copy=False).data, self._pack(codes_N).data))

    def check(self, data: Buffer, elements: int) -> None:
        check_size(data, self.encoded_bytes(elements))
        bits_K, codes_N = self._parts(data, elements)
        is_zero_K = bits_K == 0
        # Bit patterns of positive floats order by magnitude, and a sign makes them huge: one range refuses negative,
        # subnormal, infinite and NaN scales.
        if not (is_zero_K | ((bits_K >= _MIN_SCALE_BITS) & (bits_K <= self._max_scale_bits))).all():
            raise ProtocolError(f"an {self.name} chunk has a scale that is negative, not finite or out of range")
        if codes_N.size and codes_N.min() < -self._limit:
            raise ProtocolError(f"an {self.name} chunk has the code {-self._limit - 1}, which no encoder writes")
        if is_zero_K.any() and self._has_codes(is_zero_K, codes_N):
            raise ProtocolError(f"an {self.name} chunk has a block of scale zero whose codes are not zero")

    def is_within(self, data: Buffer, elements: int, max_rms: float) -> bool:
        bits_K, _ = self._parts(data, elements)
        largest_K = _scales(bits_K) * np.float32(self._limit)
        # Each value is at most its block's largest, which costs next to nothing to know and nearly always settles it.
        if float(np.dot(largest_K, largest_K)) * self._block <= max_rms * max_rms * elements:
            return True
        return super().is_within(data, elements, max_rms)

    def _writer(self, data: Buffer, elements: int, weight: int) -> OnTile:
        scales_K1, codes_N = self._weighted(data, elements, weight)

        def write_tile(tile: slice, out_n: Vector) -> None:
            np.copyto(out_n, codes_N[tile])
            self._rows(out_n).mul_(scales_K1[self._blocks_of(tile)])

        return write_tile

    def _adder(self, data: Buffer, elements: int, weight: int) -> OnTile:
        scales_K1, codes_N = self._weighted(data, elements, weight)

        def add_tile(tile: slice, sum_n: Vector) -> None:
            scratch_n = self._scratch[: sum_n.size]
            np.copyto(scratch_n, codes_N[tile])
            self._rows(sum_n).addcmul_(self._rows(scratch_n), scales_K1[self._blocks_of(tile)])

        return add_tile

    def _weighted(self, data: Buffer, elements: int, weight: int) -> tuple[torch.Tensor, Codes]:
        """The scales times the weight (K, 1), and the codes (N,)."""
        bits_K, codes_N = self._parts(data, elements)
        return torch.from_numpy(_scales(bits_K) * np.float32(weight)).unsqueeze(1), codes_N

    @abstractmethod
    def _code_bytes(self, elements: int) -> int:
        """Bytes that `elements` codes take."""

    @abstractmethod
    def _pack(self, codes_N: Codes) -> npt.NDArray[np.uint8]:
        """The bytes of the codes."""

    @abstractmethod
    def _unpack(self, packed: npt.NDArray[np.uint8], elements: int) -> Codes:
        """The codes in these bytes; what no encoder packs gives codes out of range."""

    def _parts(self, data: Buffer, elements: int) -> tuple[npt.NDArray[np.uint16], Codes]:
        """The bits of the scales (K,) and the codes (N,) inside encoded bytes."""
        raw = np.frombuffer(data, np.uint8)
        split = self._blocks(elements) * _SCALE.itemsize
        return raw[:split].view(_SCALE), self._unpack(raw[split:], elements)

    def _blocks(self, elements: int) -> int:
        return -(-elements // self._block)

    def _absmax(self, values: torch.Tensor) -> Vector:
        """The largest magnitude in each block, shape (K,); NaN where a block holds one."""
        blocks, short = divmod(values.numel(), self._block)
        absmax_K = np.empty(self._blocks(values.numel()), np.float32)
        if blocks:
            rows_KB = values[: blocks * self._block].view(blocks, self._block)
            np.maximum(rows_KB.amax(1).numpy(), -rows_KB.amin(1).numpy(), out=absmax_K[:blocks])
        if short:
            absmax_K[-1] = float(values[-short:].abs().max())
        return absmax_K

    def _has_codes(self, is_zero_K: npt.NDArray[np.bool_], codes_N: Codes) -> bool:
        """Whether any code of the chosen blocks is not zero."""
        whole = codes_N.size - codes_N.size % self._block
        codes_KB = codes_N[:whole].reshape(-1, self._block)
        is_short_chosen = whole < codes_N.size and bool(is_zero_K[-1])
        return bool(codes_KB[is_zero_K[: len(codes_KB)]].any() or (is_short_chosen and codes_N[whole:].any()))

    def _tiles(self, elements: int) -> Iterator[slice]:
        """Whole blocks together, then a short last one alone."""
        whole = elements - elements % self._block
        yield from super()._tiles(whole)
        if whole < elements:
            yield slice(whole, elements)

    def _blocks_of(self, tile: slice) -> slice:
        return slice(tile.start // self._block, self._blocks(tile.stop))

    def _rows(self, tile_n: Vector) -> torch.Tensor:
        """The memory of a tile as blocks (R, B); a short last block is one shorter row."""
        return torch.from_numpy(tile_n).view(self._blocks(tile_n.size), -1)


def _scale_bits(absmax_K: Vector, limit: int) -> npt.NDArray[np.uint16]:
    """absmax / limit as bfloat16 bits, rounded to nearest; zero where that is not normal."""
    bits_K = (absmax_K / np.float32(limit)).view(np.int32)
    rounded_K = ((bits_K + 0x8000) >> 16).astype(np.int16)
    # signed, so that this catches negative zero too, which the maximum of two zeros may be
    rounded_K[rounded_K < _MIN_SCALE_BITS] = 0
    return rounded_K.view(np.uint16)


def _scales(bits_K: npt.NDArray[np.uint16]) -> Vector:
    """The float32 values of bfloat16 bits."""
    return (bits_K.astype(np.uint32) << 16).view(np.float32)
