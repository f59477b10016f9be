"""The loops over all values that blockwise quantisation consists of: compiled where a compiler was at hand.

`_kernels` is an extension module (`_kernels.c`) that goes through memory once per call; `plain_kernels` does the same
with torch and numpy in several passes. Both give the same bits, but for the codes of values half-way between two.

N values or codes, K blocks of `block` of them, of which the last may be short; every array is contiguous. A scale is a
bfloat16, as its bits: zero, or a positive normal number.
"""

from typing import Literal, Protocol, cast

from swarm.vector.bounds import Codes, ScaleBits
from swarm.vector.grid import Vector


class Kernels(Protocol):
    """Nothing here raises for any content; ValueError for sizes that do not go together."""

    def scales(self, values_N: Vector, block: int, bits_K: ScaleBits, limit: int) -> float:
        """Writes each block's largest magnitude / limit. Returns the largest of all: NaN if there is one."""
        ...

    def quantise(self, values_N: Vector, block: int, bits_K: ScaleBits, codes_N: Codes, lost_N: Vector | None) -> None:
        """Writes value / scale, rounded half to even, and what that takes away; codes are 0 where a scale is.

        No magnitude may exceed 127.5 scales.
        """
        ...

    def check(
        self, codes_N: Codes, block: int, bits_K: ScaleBits, max_bits: int, limit: int
    ) -> Literal["", "scale", "code", "zero scale"]:
        """What no encoder writes, if anything: a scale that is not normal or has more bits, a code below -limit, or
        codes in a block of scale zero.
        """
        ...

    def dequantise(self, codes_N: Codes, block: int, bits_K: ScaleBits, weight: float, out_N: Vector) -> None:
        """Writes code * (scale * weight)."""
        ...

    def accumulate(self, codes_N: Codes, block: int, bits_K: ScaleBits, weight: float, sum_N: Vector) -> None:
        """Adds code * (scale * weight)."""
        ...


try:
    from swarm.vector import _kernels as _found  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:
    from swarm.vector import plain_kernels as _found

kernels = cast(Kernels, _found)
ARE_COMPILED = cast(str, _found.__name__).endswith("._kernels")
