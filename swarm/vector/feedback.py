"""Error feedback: what quantisation or a missed round took away is added to the next update.

Pure functions on slices; who calls them when is the round's business. Residuals change only on commit.

Sign convention. An update is what the outer step subtracts from the base (shared base minus local weights). A
residual is "meant minus applied" in the same direction, so it is always *added*:

    x        = update + residual          frozen at the first attempt of a round, encoded alike in retries
    residual = x - decode(encode(x))      if the chunk was counted (`Codec.encode` gives it in the same pass)
    residual = x                          if it was not: nothing is lost, only late

Whoever makes a mean adds its own part unquantised and quantises the mean once, which takes `mean - decoded` from
everybody in it. It carries that alone, blown up by W/w because its own contribution will be scaled by w/W. Over many
rounds the sum of what was applied therefore differs from the sum of the true means only by the residuals at hand.
(arXiv 1901.09847)
"""

import numpy as np

from swarm.vector.grid import Vector


def carry_in(update_N: Vector, residual_N: Vector) -> Vector:
    """What a peer sends in this round, before encoding: `update_N`, to which the residual has been added in place."""
    return np.add(update_N, residual_N, out=update_N)


def share_in(lost_N: Vector, total_weight: int, own_weight: int) -> None:
    """Turns what quantising a mean took into what its maker carries, in place: times W / w."""
    assert 1 <= own_weight <= total_weight, (own_weight, total_weight)
    if total_weight != own_weight:
        np.multiply(lost_N, np.float32(total_weight / own_weight), out=lost_N)
