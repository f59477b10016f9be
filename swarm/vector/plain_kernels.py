"""What `kernels` promises, with torch and numpy: for where nothing could be compiled, and to hold the compiled ones to.

Works on tiles that fit into a cache. Why torch beside numpy: it reduces rows five times and broadcasts a scale over a
block twice as fast; numpy has the cheaper calls, and reads the read-only bytes that torch refuses.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from swarm.vector.bounds import MIN_SCALE_BITS, Codes, ScaleBits
from swarm.vector.grid import Vector

_TILE_ELEMENTS = 262_144
"""A default chunk. Smaller tiles stay in a nearer cache, and lost more to the cost of each call than they gained."""
_ROUNDER = np.float32(1.5 * 2.0**23)
"""Added to a float32 below 2**22 in magnitude, it rounds it half to even and leaves the integer in the low bits; taken
away again it leaves the integer as a float, and never a negative zero."""


def scales(values_N: Vector, block: int, bits_K: ScaleBits, limit: int) -> float:
    values = _readable(values_N)
    blocks, short = divmod(values.numel(), block)
    absmax_K = np.empty(bits_K.size, np.float32)
    if blocks:
        rows_KB = values[: blocks * block].view(blocks, block)
        np.maximum(rows_KB.amax(1).numpy(), -rows_KB.amin(1).numpy(), out=absmax_K[:blocks])
    if short:
        absmax_K[-1] = float(values[-short:].abs().max())
    rounded_K = (((absmax_K / np.float32(limit)).view(np.int32) + 0x8000) >> 16).astype(np.int16)
    # signed, so that this catches negative zero too, which the maximum of two zeros may be
    rounded_K[rounded_K < MIN_SCALE_BITS] = 0
    np.copyto(bits_K, rounded_K.view(np.uint16))
    return float(absmax_K.max(initial=0.0))


def quantise(values_N: Vector, block: int, bits_K: ScaleBits, codes_N: Codes, lost_N: Vector | None) -> None:
    values = _readable(values_N)
    codes = torch.from_numpy(codes_N)
    scales_K = _scales(bits_K)
    divisors_K = scales_K if bits_K.all() else np.where(bits_K == 0, np.float32(np.inf), scales_K)
    inverse_K1 = torch.from_numpy(np.float32(1) / divisors_K).unsqueeze(1)
    scales_K1 = torch.from_numpy(scales_K).unsqueeze(1)
    rounder_B = torch.full((block,), float(_ROUNDER))
    scratch_n = np.empty(min(values_N.size, _tile(block)), np.float32)
    for tile, blocks in _tiles(values_N.size, block):
        rounded_n = scratch_n[: tile.stop - tile.start]
        rows_RB = _rows(rounded_n, block)
        values_RB = values[tile].view_as(rows_RB)
        torch.addcmul(rounder_B[: rows_RB.shape[1]], values_RB, inverse_K1[blocks], out=rows_RB)
        codes[tile].view_as(rows_RB).copy_(rows_RB.view(torch.int32))  # keeps the lowest byte
        if lost_N is not None:
            np.subtract(rounded_n, _ROUNDER, out=rounded_n)
            lost_RB = torch.from_numpy(lost_N[tile]).view_as(rows_RB)
            torch.addcmul(values_RB, rows_RB, scales_K1[blocks], value=-1, out=lost_RB)


def check(
    codes_N: Codes, block: int, bits_K: ScaleBits, max_bits: int, limit: int
) -> Literal["", "scale", "code", "zero scale"]:
    is_zero_K = bits_K == 0
    if not (is_zero_K | ((bits_K >= MIN_SCALE_BITS) & (bits_K <= max_bits))).all():
        return "scale"
    if codes_N.size and codes_N.min() < -limit:
        return "code"
    if is_zero_K.any() and _have_codes(is_zero_K, codes_N, block):
        return "zero scale"
    return ""


def dequantise(codes_N: Codes, block: int, bits_K: ScaleBits, weight: float, out_N: Vector) -> None:
    scales_K1 = torch.from_numpy(_scales(bits_K) * np.float32(weight)).unsqueeze(1)
    for tile, blocks in _tiles(out_N.size, block):
        np.copyto(out_N[tile], codes_N[tile])
        _rows(out_N[tile], block).mul_(scales_K1[blocks])


def accumulate(codes_N: Codes, block: int, bits_K: ScaleBits, weight: float, sum_N: Vector) -> None:
    scales_K1 = torch.from_numpy(_scales(bits_K) * np.float32(weight)).unsqueeze(1)
    for tile, blocks in _tiles(sum_N.size, block):
        decoded_n = codes_N[tile].astype(np.float32)
        _rows(decoded_n, block).mul_(scales_K1[blocks])
        np.add(sum_N[tile], decoded_n, out=sum_N[tile])  # torch's addcmul rounds once or twice, as the CPU has it


def _scales(bits_K: ScaleBits) -> Vector:
    """The float32 values of bfloat16 bits."""
    return (bits_K.astype(np.uint32) << 16).view(np.float32)


def _have_codes(is_chosen_K: npt.NDArray[np.bool_], codes_N: Codes, block: int) -> bool:
    """Whether any code of the chosen blocks is not zero."""
    whole = codes_N.size - codes_N.size % block
    codes_KB = codes_N[:whole].reshape(-1, block)
    is_short_chosen = whole < codes_N.size and bool(is_chosen_K[-1])
    return bool(codes_KB[is_chosen_K[: len(codes_KB)]].any() or (is_short_chosen and codes_N[whole:].any()))


def _readable(values_N: Vector) -> torch.Tensor:
    return torch.from_numpy(values_N if values_N.flags.writeable else values_N.copy())  # torch refuses the others


def _tile(block: int) -> int:
    return max(1, _TILE_ELEMENTS // block) * block


def _tiles(elements: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Whole blocks together, then a short last one alone: where a tile's values and its blocks lie."""
    whole = elements - elements % block
    for start in range(0, whole, _tile(block)):
        stop = min(start + _tile(block), whole)
        yield slice(start, stop), slice(start // block, stop // block)
    if whole < elements:
        yield slice(whole, elements), slice(whole // block, whole // block + 1)


def _rows(tile_n: Vector, block: int) -> torch.Tensor:
    """The memory of a tile as blocks (R, B); a short last block is one shorter row."""
    return torch.from_numpy(tile_n).view(-(-tile_n.size // block), -1)
