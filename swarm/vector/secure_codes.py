"""Updates as small integers with public ranges, so that their sum modulo 2**16 is exact (secure aggregation).

An element x of a block with range C becomes one of 2L + 1 codes, L = 2**(bits - 1) - 1, one step being s = C / L:

    code = floor(clip(x, -C, C) / s + u) + L        u uniform in (0, 1): the code's mean is exact
    sum of w_i code_i  ->  (sum - W L) s            W the sum of the weights; exact while W (2**bits - 1) < 2**16

Ranges are public: kappa times the root mean square that a block had in the last committed mean, at least the charter's
floor, and the charter's initial one before there is a mean. They are bfloat16, of the same bits on every CPU. What
clipping and rounding take stays with the sender. No masks here, and no network.

Shape letters: N elements of a slice, K blocks, B elements of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swarm.errors import ProtocolError
from swarm.vector.grid import Vector
from swarm.vector.plain import Bfloat16Codec

Words = npt.NDArray[np.uint16]
"""Codes, noise, masks and sums: integers modulo 2**16."""

WORD = np.dtype("<u2")
"""An element on the wire."""
_TILE_ELEMENTS = 65_536
_RANGES = Bfloat16Codec()


@dataclass(frozen=True)
class SecureCodes:
    """The codes of one charter."""

    bits: int
    block_elements: int

    @property
    def zero(self) -> int:
        """The code of zero, L; codes lie in [0, 2 L + 1]."""
        return 2 ** (self.bits - 1) - 1

    @property
    def largest(self) -> int:
        """No code is larger."""
        return 2**self.bits - 1

    def fits(self, total_weight: int) -> bool:
        """Whether no sum of codes with these weights together can leave 16 bits."""
        return total_weight * self.largest < 2**16

    def blocks(self, elements: int) -> int:
        return -(-elements // self.block_elements)

    def encode(self, x_N: Vector, ranges_K: Vector, noise_N: Words, lost_N: Vector) -> Words:
        """The codes of `x_N`; writes to `lost_N`, float32 [N], what clipping and rounding take away.

        `noise_N`, uniform 16-bit integers, rounds up or down: whoever makes it takes it from a secret generator.
        """
        assert x_N.shape == noise_N.shape == lost_N.shape, (x_N.shape, noise_N.shape, lost_N.shape)
        codes_N = np.empty(x_N.size, np.uint16)
        steps_K = ranges_K / np.float32(self.zero)
        inverse_K = np.float32(1) / steps_K
        limit = np.float32(self.zero)
        scratch = np.empty(min(self._tile, x_N.size), np.float32)
        for tile, blocks in self._tiles(x_N.size):
            rows = (blocks.stop - blocks.start, -1)
            code_n, lost_n = scratch[: tile.stop - tile.start], lost_N[tile]
            np.multiply(x_N[tile].reshape(rows), inverse_K[blocks, None], out=code_n.reshape(rows))
            np.clip(code_n, -limit, limit, out=code_n)
            np.multiply(noise_N[tile], np.float32(2.0**-16), out=lost_n)
            code_n += lost_n
            code_n += np.float32(2.0**-17)
            np.floor(code_n, out=code_n)
            np.multiply(code_n.reshape(rows), steps_K[blocks, None], out=lost_n.reshape(rows))
            np.subtract(x_N[tile], lost_n, out=lost_n)
            code_n += limit
            np.copyto(codes_N[tile], code_n, casting="unsafe")
        return codes_N

    def is_sum(self, sum_N: Words, total_weight: int) -> bool:
        """Whether these can be sums of codes: a mask that does not cancel shows here, nearly always."""
        return sum_N.size == 0 or int(sum_N.max()) <= total_weight * self.largest

    def decode_sum(self, sum_N: Words, ranges_K: Vector, total_weight: int, out_N: Vector) -> Vector:
        """The weighted sum of the decoded values, float32 [N], written to `out_N`."""
        steps_K = ranges_K / np.float32(self.zero)
        for tile, blocks in self._tiles(sum_N.size):
            np.subtract(sum_N[tile], np.float32(total_weight * self.zero), out=out_N[tile])
            rows_RB = out_N[tile].reshape(blocks.stop - blocks.start, -1)
            rows_RB *= steps_K[blocks, None]
        return out_N

    def next_ranges(self, mean_N: Vector, *, kappa: float, floor_rms: float) -> Vector:
        """The ranges that follow from a committed mean of one chunk, float32 [K]: the same bits on every CPU."""
        squares_K = np.empty(self.blocks(mean_N.size), np.float64)
        for tile, blocks in self._tiles(mean_N.size):
            rows_RB = mean_N[tile].reshape(blocks.stop - blocks.start, -1).astype(np.float64)
            squares_K[blocks] = _halved(np.multiply(rows_RB, rows_RB, out=rows_RB)) / rows_RB.shape[1]
        # Only what IEEE 754 rounds exactly is used: + * / and square roots, in one order.
        ranges_K = kappa * np.maximum(np.sqrt(squares_K), floor_rms)
        return _RANGES.decode(_RANGES.encode(ranges_K.astype(np.float32)), ranges_K.size)

    @property
    def _tile(self) -> int:
        return max(1, _TILE_ELEMENTS // self.block_elements) * self.block_elements

    def _tiles(self, elements: int) -> Iterator[tuple[slice, slice]]:
        """Tiles of whole blocks, then a short last block alone; each with its blocks."""
        whole = elements - elements % self.block_elements
        for start in range(0, whole, self._tile):
            stop = min(start + self._tile, whole)
            yield slice(start, stop), slice(start // self.block_elements, stop // self.block_elements)
        if whole < elements:
            yield slice(whole, elements), slice(whole // self.block_elements, self.blocks(elements))


def pack_ranges(ranges_K: Vector) -> bytes:
    """Ranges as bytes, two each."""
    return _RANGES.encode(ranges_K)


def unpack_ranges(data: bytes, blocks: int) -> Vector:
    """Ranges from somebody's bytes. Raises ProtocolError for a wrong number, or one that is not above zero."""
    ranges_K = _RANGES.decode(data, blocks)
    if not (ranges_K > 0).all():
        raise ProtocolError("a range of a secure sum that is not above zero")
    return ranges_K


def _halved(rows_RB: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum of every row, shape (R,): halves are added until one column is left, so the order is nobody's choice."""
    while (width := rows_RB.shape[1]) > 1:
        half = width // 2
        folded = rows_RB[:, :half] + rows_RB[:, half : 2 * half]
        if width % 2:
            folded[:, 0] += rows_RB[:, -1]
        rows_RB = folded
    return rows_RB[:, 0]
