"""Blockwise absmax quantisation: B neighbours share one bfloat16 scale, and every value becomes a small integer code.

What `int8` and `int4` have in common; how codes lie in bytes is theirs. For a block with largest magnitude m and codes
in [-L, L], the scale is m / L rounded to bfloat16, the code of a value is value / scale rounded half to even, and the
decoded value is code * scale. Scales are rounded to nearest: m / scale exceeds L by at most L / 512, so no code does.

Decoded values are the same bits on every CPU: a code below 2**7 times a scale of 8 significant bits is exact in
float32, and a scale is zero or normal, so neither instruction set nor flush-to-zero mode can show. Because the product
is exact, fused multiply-adds change nothing either where a decoded value is added or taken away. For the same reason
encoding what was decoded gives the same bytes again. What may differ by one code between CPUs is the encoding of a
value that lies half-way between two codes; only its author encodes it.

Why a bfloat16 scale: with half its bytes saved, blocks can be half as long. The loops over values are in
`kernels`; here is what follows for a slice as a whole.
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from swarm.errors import ProtocolError
from swarm.vector.bounds import MAX_MAGNITUDE, Buffer, Codes, ScaleBits, check_size, unfit
from swarm.vector.grid import Vector
from swarm.vector.kernels import kernels

_SCALE = np.dtype("<u2")
"""A scale on the wire: the upper half of a float32, read as an unsigned integer."""
_SUMMED_ELEMENTS = 262_144
"""Squares added up in float32; more would lose digits."""


class BlockCodec(ABC):
    """All of a `Codec` but the bytes of the codes; what each method promises is written there.

    Layout: all scales (little-endian bfloat16, one per block), then all codes. The last block may be short. A block of
    zeros, or of values too small for a normal scale, has scale 0 and codes 0.
    """

    name: str
    _limit: int
    """Codes lie in [-_limit, _limit]."""

    def __init__(self, block_elements: int) -> None:
        if block_elements < 1:
            raise ValueError(f"a block needs at least one element, got {block_elements}")
        self._block = block_elements
        bits_1 = np.empty(1, np.uint16)
        kernels.scales(np.array([MAX_MAGNITUDE], np.float32), 1, bits_1, self._limit)
        self._max_scale_bits = int(bits_1[0])

    def encoded_bytes(self, elements: int) -> int:
        return self._blocks(elements) * _SCALE.itemsize + self._code_bytes(elements)

    def encode(self, values_N: Vector, lost_N: Vector | None = None) -> bytes:
        assert values_N.dtype == np.float32, values_N.dtype
        assert lost_N is None or (lost_N.shape, lost_N.dtype) == (values_N.shape, values_N.dtype), lost_N
        bits_K = np.empty(self._blocks(values_N.size), np.uint16)
        # NaN fails the comparison as well
        if not kernels.scales(values_N, self._block, bits_K, self._limit) <= MAX_MAGNITUDE:
            raise ValueError(unfit(values_N))
        codes_N = np.empty(values_N.size, np.int8)
        kernels.quantise(values_N, self._block, bits_K, codes_N, lost_N)
        return b"".join((bits_K.astype(_SCALE, copy=False).data, self._pack(codes_N).data))

    def check(self, data: Buffer, elements: int) -> None:
        check_size(data, self.encoded_bytes(elements))
        bits_K, codes_N = self._parts(data, elements)
        match kernels.check(codes_N, self._block, bits_K, self._max_scale_bits, self._limit):
            case "":
                return
            case "scale":
                raise ProtocolError(f"an {self.name} chunk has a scale that is negative, not finite or out of range")
            case "code":
                raise ProtocolError(f"an {self.name} chunk has the code {-self._limit - 1}, which no encoder writes")
            case "zero scale":
                raise ProtocolError(f"an {self.name} chunk has a block of scale zero whose codes are not zero")

    def is_within(self, data: Buffer, elements: int, max_rms: float) -> bool:
        bits_K, _ = self._parts(data, elements)
        largest_K = (bits_K.astype(np.uint32) << 16).view(np.float32) * np.float32(self._limit)
        # Each value is at most its block's largest, which costs next to nothing to know and nearly always settles it.
        if float(np.dot(largest_K, largest_K)) * self._block <= max_rms * max_rms * elements:
            return True
        values_N, squares = self._decoded(data, elements), 0.0
        for start in range(0, elements, _SUMMED_ELEMENTS):
            values_n = values_N[start : start + _SUMMED_ELEMENTS]
            squares += float(np.dot(values_n, values_n))
        return squares <= max_rms * max_rms * elements

    def decode(self, data: Buffer, elements: int) -> Vector:
        self.check(data, elements)
        return self._decoded(data, elements)

    def decode_into(self, data: Buffer, out_N: Vector, is_checked: bool = False) -> None:
        if not is_checked:
            self.check(data, out_N.size)
        bits_K, codes_N = self._parts(data, out_N.size)
        kernels.dequantise(codes_N, self._block, bits_K, 1.0, out_N)

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
        bits_K, codes_N = self._parts(data, elements)
        kernel = kernels.dequantise if is_first else kernels.accumulate
        kernel(codes_N, self._block, bits_K, float(weight), sum_N)

    def _decoded(self, data: Buffer, elements: int) -> Vector:
        out_N = np.empty(elements, np.float32)
        self.decode_into(data, out_N, is_checked=True)
        return out_N

    @abstractmethod
    def _code_bytes(self, elements: int) -> int:
        """Bytes that `elements` codes take."""

    @abstractmethod
    def _pack(self, codes_N: Codes) -> npt.NDArray[np.uint8]:
        """The bytes of the codes."""

    @abstractmethod
    def _unpack(self, packed: npt.NDArray[np.uint8], elements: int) -> Codes:
        """The codes in these bytes; what no encoder packs gives codes out of range."""

    def _parts(self, data: Buffer, elements: int) -> tuple[ScaleBits, Codes]:
        """The bits of the scales (K,) and the codes (N,) inside encoded bytes."""
        raw = np.frombuffer(data, np.uint8)
        split = self._blocks(elements) * _SCALE.itemsize
        # a copy: the bytes of a frame may begin anywhere
        return raw[:split].copy().view(_SCALE).astype(np.uint16, copy=False), self._unpack(raw[split:], elements)

    def _blocks(self, elements: int) -> int:
        return -(-elements // self._block)
