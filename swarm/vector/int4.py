"""The codec `int4`: blockwise quantisation, two values per byte.

Byte i holds the code of value i in its low half and that of value i + H in its high half, where H is half the slice,
rounded up. So both halves of the slice are contiguous runs, and packing costs a few per cent of an encode; neighbours
in one byte would cost strided access.
"""

import numpy as np
import numpy.typing as npt

from swarm.errors import ProtocolError
from swarm.vector.blocks import BlockCodec
from swarm.vector.bounds import Codes

_LIFT = np.uint8(16)
"""Moves a code to the high half of its byte. numpy multiplies bytes twelve times as fast as it shifts them left."""


class Int4Block(BlockCodec):
    """Codes in [-7, 7], four bits each in two's complement; with an odd number of values the last high half is zero."""

    name = "int4"
    _limit = 7

    def _code_bytes(self, elements: int) -> int:
        return (elements + 1) // 2

    def _pack(self, codes_N: Codes) -> npt.NDArray[np.uint8]:
        half = self._code_bytes(codes_N.size)
        packed = codes_N[:half].view(np.uint8) & np.uint8(0x0F)
        high_h = packed[: codes_N.size - half]
        np.bitwise_or(high_h, codes_N[half:].view(np.uint8) * _LIFT, out=high_h)
        return packed

    def _unpack(self, packed: npt.NDArray[np.uint8], elements: int) -> Codes:
        half = packed.size
        if elements % 2 and packed[-1] & 0xF0:
            raise ProtocolError("an int4 chunk has padding that is not zero")
        codes_N = np.empty(elements, np.int8)
        # the arithmetic shift carries the sign of a code down
        np.right_shift((packed * _LIFT).view(np.int8), 4, out=codes_N[:half])
        np.right_shift(packed[: elements - half].view(np.int8), 4, out=codes_N[half:])
        return codes_N
