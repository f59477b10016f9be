"""The arithmetic of one round, slow and obvious: every peer's part of every chunk, one after the other.

The codec, the grid and error feedback are the swarm's own; what is left out is everything that does not change a
number: streams, votes, ledgers, and who may see what. Weights are equal and nobody fails. One region, so one level.

Shape letters: P peers, N elements of the vector, n elements of a chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.vector.codec import Codec
from swarm.vector.feedback import share_in
from swarm.vector.grid import Grid, Vector


@dataclass(frozen=True)
class Averaged:
    """What a round gives."""

    mean_N: Vector
    """What every peer decodes."""
    residuals_PN: tuple[Vector, ...]
    """Per peer, what of its update was not delivered."""


def average(grid: Grid, codec: Codec, x_PN: Sequence[Vector], round_number: int) -> Averaged:
    """The mean of what the peers give, through the codec: once on the way to a chunk's owner, once on the way back.

    An owner sends itself nothing, so its own part is counted exactly; what quantising the mean takes from everybody
    goes into its residual. Owners move on by one peer with every chunk and with every round.
    """
    peers = len(x_PN)
    mean_N = np.empty_like(x_PN[0])
    residuals_PN = tuple(np.zeros_like(x_N) for x_N in x_PN)
    for chunk in range(grid.chunks):
        bounds, length = grid.bounds(chunk), grid.length(chunk)
        owner = (chunk + round_number) % peers
        sum_n = x_PN[owner][bounds].copy()
        for peer, x_N in enumerate(x_PN):
            if peer != owner:
                data = codec.encode(x_N[bounds], residuals_PN[peer][bounds])
                codec.accumulate(data, length, 1, sum_n)
        np.divide(sum_n, np.float32(peers), out=sum_n)
        lost_n = residuals_PN[owner][bounds]
        codec.decode_into(codec.encode(sum_n, lost_n), mean_N[bounds])
        share_in(lost_n, peers, 1)
    return Averaged(mean_N, residuals_PN)
