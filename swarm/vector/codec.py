"""How a slice of a vector becomes bytes and comes back: blockwise int8, or plain float32.

Pure arithmetic on one slice; chunking, streams and error feedback are elsewhere. A stranger wrote the bytes
that are decoded here, so every reader checks them first: the check costs a few per cent of a decode.

Decoded values are the same bits on every CPU: a float32 product of an integer below 128 and a normal scale is
rounded once and is never subnormal, so neither instruction set nor flush-to-zero mode can show.

Work goes through the data in tiles that stay in the second-level cache. Codecs own scratch memory: one
instance per thread. The same steps in torch measured no faster, and torch refuses read-only buffers.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from swarm.errors import ProtocolError
from swarm.vector.grid import Vector

MAX_MAGNITUDE = 2.0**100
"""Largest absolute value that may travel: 255 peers at weight 2**20 still sum to a finite float32."""

_F32 = np.dtype("<f4")
_SCALE_BYTES = 4
_CODE_LIMIT = 127
# Scales below the smallest normal float32 are written as zero: their inverse could overflow.
_MIN_SCALE = np.float32(np.finfo(np.float32).tiny)
_MIN_SCALE_BITS = _MIN_SCALE.view(np.uint32)
_MAX_SCALE_BITS = np.float32(MAX_MAGNITUDE / _CODE_LIMIT).view(np.uint32)
_TILE_ELEMENTS = 65_536

Buffer = bytes | bytearray | memoryview


class Codec(Protocol):
    """Turns slices into bytes and back. Instances hold scratch memory and belong to one thread."""

    @property
    def name(self) -> str:
        """The charter's word for it."""
        ...

    def encoded_bytes(self, elements: int) -> int:
        """Exact size of `elements` encoded values."""
        ...

    def encode(self, values_N: Vector) -> bytes:
        """The bytes of a slice; ValueError for NaN, infinity or a magnitude above `MAX_MAGNITUDE`."""
        ...

    def check(self, data: Buffer, elements: int) -> None:
        """Raises ProtocolError unless `data` is a well-formed encoding of `elements` finite values."""
        ...

    def decode(self, data: Buffer, elements: int) -> Vector:
        """The values as a new array of shape (elements,).

        Checks first, so it raises ProtocolError as `check` does.
        """
        ...

    def decode_into(self, data: Buffer, out_N: Vector) -> None:
        """As `decode`, into `out_N`, which is untouched if the check fails."""
        ...

    def accumulate(self, data: Buffer, elements: int, weight: int, sum_N: Vector) -> None:
        """sum_N += weight * decoded, in place. Checks first; `sum_N` is untouched if the check fails."""
        ...


def make_codec(name: str, block_elements: int) -> Codec:
    """The codec the charter names: `int8`, or `float32`, which has no blocks.

    Raises:
        ValueError: another name, or a block below one element.
    """
    match name:
        case "int8":
            return Int8Block(block_elements)
        case "float32":
            return Float32Codec()
        case _:
            raise ValueError(f"no codec is called {name!r}; choose int8 or float32")


class Int8Block:
    """Absmax int8: each block of B values shares one float32 scale, absmax / 127, and rounds half to even.

    Layout: all scales (little-endian float32, one per block), then all codes (int8 in [-127, 127]). The last
    block may be short. A block of zeros, or of values too small for a normal scale, has scale 0 and decodes
    to zeros.
    """

    name = "int8"

    def __init__(self, block_elements: int) -> None:
        if block_elements < 1:
            raise ValueError(f"a block needs at least one element, got {block_elements}")
        self._block = block_elements
        self._tile = max(1, _TILE_ELEMENTS // block_elements) * block_elements
        self._scratch = np.empty(self._tile, np.float32)

    def encoded_bytes(self, elements: int) -> int:
        return self._blocks(elements) * _SCALE_BYTES + elements

    def encode(self, values_N: Vector) -> bytes:
        elements = values_N.size
        data = np.empty(self.encoded_bytes(elements), np.uint8)
        scales_K, codes_N = self._parts(data, elements)
        for start, rows, width in self._runs(elements):
            stop = start + rows * width
            values_RB = values_N[start:stop].reshape(rows, width)
            scratch_n = self._scratch[: rows * width]
            scratch_RB = scratch_n.reshape(rows, width)

            np.abs(values_RB, out=scratch_RB)
            absmax_R = np.maximum.reduceat(scratch_n, np.arange(0, rows * width, width))
            # NaN fails the comparison as well
            if not absmax_R.max() <= MAX_MAGNITUDE:
                raise ValueError(_unfit(values_N))
            scales_R = absmax_R / np.float32(_CODE_LIMIT)
            scales_R[scales_R < _MIN_SCALE] = 0
            inverse_R = np.zeros_like(scales_R)
            np.divide(np.float32(1), scales_R, out=inverse_R, where=scales_R > 0)

            np.multiply(values_RB, inverse_R[:, None], out=scratch_RB)
            np.rint(scratch_n, out=scratch_n)
            np.copyto(codes_N[start:stop], scratch_n, casting="unsafe")
            scales_K[start // self._block :][:rows] = scales_R
        return data.tobytes()

    def check(self, data: Buffer, elements: int) -> None:
        _check_size(data, self.encoded_bytes(elements))
        scales_K, codes_N = self._parts(np.frombuffer(data, np.uint8), elements)
        # As unsigned integers, float32 bit patterns order by magnitude and a sign makes them huge: one range
        # refuses negative, subnormal, infinite and NaN scales.
        bits_K = scales_K.view("<u4")
        if not ((bits_K == 0) | ((bits_K >= _MIN_SCALE_BITS) & (bits_K <= _MAX_SCALE_BITS))).all():
            raise ProtocolError("an int8 chunk has a scale that is negative, not finite or out of range")
        if codes_N.size and codes_N.min() < -_CODE_LIMIT:
            raise ProtocolError("an int8 chunk has the code -128, which no encoder writes")

    def decode(self, data: Buffer, elements: int) -> Vector:
        out_N = np.empty(elements, np.float32)
        self.decode_into(data, out_N)
        return out_N

    def decode_into(self, data: Buffer, out_N: Vector) -> None:
        self.check(data, out_N.size)
        scales_K, codes_N = self._parts(np.frombuffer(data, np.uint8), out_N.size)
        for start, rows, width in self._runs(out_N.size):
            self._decode_run(scales_K, codes_N, start, out_N[start : start + rows * width].reshape(rows, width))

    def accumulate(self, data: Buffer, elements: int, weight: int, sum_N: Vector) -> None:
        assert sum_N.size == elements, (sum_N.size, elements)
        self.check(data, elements)
        scales_K, codes_N = self._parts(np.frombuffer(data, np.uint8), elements)
        for start, rows, width in self._runs(elements):
            scratch_n = self._scratch[: rows * width]
            self._decode_run(scales_K, codes_N, start, scratch_n.reshape(rows, width))
            _add_weighted(scratch_n, weight, sum_N[start : start + rows * width])

    def _blocks(self, elements: int) -> int:
        return -(-elements // self._block)

    def _parts(
        self, data: npt.NDArray[np.uint8], elements: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        """The scales (K,) and the codes (N,) inside encoded bytes, as views."""
        split = self._blocks(elements) * _SCALE_BYTES
        return data[:split].view(_F32), data[split:].view(np.int8)

    def _runs(self, elements: int) -> Iterator[tuple[int, int, int]]:
        """(start, rows, width) of every tile: whole blocks as rows, then a short last block alone."""
        whole = elements - elements % self._block
        for start in range(0, whole, self._tile):
            yield start, min(self._tile, whole - start) // self._block, self._block
        if whole < elements:
            yield whole, 1, elements - whole

    def _decode_run(
        self, scales_K: npt.NDArray[np.float32], codes_N: npt.NDArray[np.int8], start: int, out_RB: Vector
    ) -> None:
        rows, width = out_RB.shape
        np.copyto(out_RB, codes_N[start : start + rows * width].reshape(rows, width))
        np.multiply(out_RB, scales_K[start // self._block :][:rows, None], out=out_RB)


class Float32Codec:
    """Plain little-endian float32, for tests, comparisons and lossless runs."""

    name = "float32"

    def __init__(self) -> None:
        self._scratch = np.empty(_TILE_ELEMENTS, np.float32)

    def encoded_bytes(self, elements: int) -> int:
        return elements * _F32.itemsize

    def encode(self, values_N: Vector) -> bytes:
        if not _all_fit(values_N):
            raise ValueError(_unfit(values_N))
        return values_N.astype(_F32, copy=False).tobytes()

    def check(self, data: Buffer, elements: int) -> None:
        _check_size(data, self.encoded_bytes(elements))
        if not _all_fit(np.frombuffer(data, _F32)):
            raise ProtocolError("a float32 chunk has a value that is not finite or out of range")

    def decode(self, data: Buffer, elements: int) -> Vector:
        out_N = np.empty(elements, np.float32)
        self.decode_into(data, out_N)
        return out_N

    def decode_into(self, data: Buffer, out_N: Vector) -> None:
        self.check(data, out_N.size)
        np.copyto(out_N, np.frombuffer(data, _F32))

    def accumulate(self, data: Buffer, elements: int, weight: int, sum_N: Vector) -> None:
        assert sum_N.size == elements, (sum_N.size, elements)
        self.check(data, elements)
        values_N = np.frombuffer(data, _F32)
        for start in range(0, elements, _TILE_ELEMENTS):
            tile = slice(start, min(start + _TILE_ELEMENTS, elements))
            scratch_n = self._scratch[: tile.stop - start]
            np.copyto(scratch_n, values_N[tile])
            _add_weighted(scratch_n, weight, sum_N[tile])


def _add_weighted(scratch_n: Vector, weight: int, sum_n: Vector) -> None:
    """sum_n += weight * scratch_n, spoiling the scratch."""
    assert weight >= 1, weight
    if weight != 1:
        np.multiply(scratch_n, np.float32(weight), out=scratch_n)
    np.add(sum_n, scratch_n, out=sum_n)


def _check_size(data: Buffer, expected_bytes: int) -> None:
    size_bytes = memoryview(data).nbytes
    if size_bytes != expected_bytes:
        raise ProtocolError(f"an encoded chunk has {size_bytes} bytes where {expected_bytes} are due")


def _all_fit(values_N: Vector) -> bool:
    """Whether every value is finite and at most `MAX_MAGNITUDE`. A NaN makes both comparisons false."""
    # a signalling NaN sets the invalid flag, which must not become a warning
    with np.errstate(invalid="ignore"):
        return values_N.size == 0 or bool(values_N.min() >= -MAX_MAGNITUDE and values_N.max() <= MAX_MAGNITUDE)


def _unfit(values_N: Vector) -> str:
    bad = int(np.count_nonzero(~np.isfinite(values_N)))
    if bad:
        return f"{bad} of {values_N.size} values to encode are NaN or infinite; did training diverge?"
    return f"a value to encode exceeds 2**100 ({float(np.abs(values_N).max()):.3g}); did training diverge?"
