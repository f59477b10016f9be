"""The codec `int8`: blockwise quantisation, one signed byte per value."""

import numpy as np
import numpy.typing as npt

from swarm.vector.blocks import BlockCodec
from swarm.vector.bounds import Codes


class Int8Block(BlockCodec):
    """Codes in [-127, 127], one byte each, in order."""

    name = "int8"
    _limit = 127

    def _code_bytes(self, elements: int) -> int:
        return elements

    def _pack(self, codes_N: Codes) -> npt.NDArray[np.uint8]:
        return codes_N.view(np.uint8)

    def _unpack(self, packed: npt.NDArray[np.uint8], elements: int) -> Codes:
        return packed.view(np.int8)
