"""The vectors that a bench averages, and the check that what came back is their average.

Standard normal values, seeded by (round, rank, piece), so that any peer can compute the exact mean of a few
pieces without holding the others' vectors. No network and no clock.
"""

import struct
import zlib
from collections.abc import Sequence

import torch

PIECE_ELEMENTS = 65_536


def fill(vector_N: torch.Tensor, *, round_index: int, rank: int) -> None:
    """Overwrites the vector with this rank's values of this round."""
    for index, piece in enumerate(vector_N.split(PIECE_ELEMENTS)):
        _fill_piece(piece, round_index=round_index, rank=rank, index=index)


def rms_error(vector_N: torch.Tensor, *, round_index: int, world: int) -> float:
    """Root mean square error relative to the true average, on the first, middle and last piece.

    0 is exact, a few per cent is an 8-bit codec, about sqrt(world - 1) is a vector that nobody averaged.
    """
    pieces_P: Sequence[torch.Tensor] = vector_N.split(PIECE_ELEMENTS)
    error_energy, true_energy = 0.0, 0.0
    for index in sorted({0, len(pieces_P) // 2, len(pieces_P) - 1}):
        mean = torch.zeros(pieces_P[index].numel(), dtype=torch.float64)
        for rank in range(world):
            one = torch.empty(mean.numel())
            _fill_piece(one, round_index=round_index, rank=rank, index=index)
            mean += one.double() / world
        error_energy += float((pieces_P[index].double() - mean).square().sum())
        true_energy += float(mean.square().sum())
    return (error_energy / true_energy) ** 0.5


def _fill_piece(piece: torch.Tensor, *, round_index: int, rank: int, index: int) -> None:
    # Hashed, because torch's CPU generator looks at the low 32 bits of a seed only.
    seed = zlib.crc32(struct.pack("=III", round_index, rank, index))
    generator = torch.Generator().manual_seed(seed)
    piece.normal_(generator=generator)
