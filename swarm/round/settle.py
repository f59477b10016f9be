"""After a commit: what of this peer's update was not delivered, to be carried into the next round (error feedback)."""

import numpy as np

from swarm.identity.peer_id import PeerId
from swarm.round.context import Offer
from swarm.round.reduction import Reduction
from swarm.state.records import Decided
from swarm.state.run import Run
from swarm.vector.codec import MAX_MAGNITUDE
from swarm.vector.feedback import counted_residual


def settle(run: Run, me: PeerId, offer: Offer, decided: Decided, reduction: Reduction | None) -> np.ndarray:
    """The new residual, float32 [N]. Takes over `offer.x_N` and changes it in place: the offer is spent.

    A chunk that was counted leaves what quantising it lost; one that was not stays whole. A chunk this peer reduced
    adds what quantising the mean lost for everybody, if that very result is the one that was committed. An update that
    no codec can hold (a NaN, say) was never given and is dropped whole, so that it does not spoil the rounds after it.
    """
    residual_N = offer.x_N
    if not np.abs(residual_N).max(initial=0.0) <= MAX_MAGNITUDE:
        residual_N[:] = 0
    seat = decided.roster.index.get(me)
    was_offered = seat is not None and decided.roster.ballot in offer.ballots
    is_same_attempt = reduction is not None and (reduction.roster.round, reduction.roster.ballot) == (
        decided.roster.round,
        decided.roster.ballot,
    )
    for chunk, bitmap in enumerate(decided.value.contributors):
        x_n = residual_N[run.grid.bounds(chunk)]
        if was_offered and seat in decided.roster.contributors(bitmap):
            decoded_n = run.codec.decode(run.codec.encode(x_n), run.grid.length(chunk))
            x_n[:] = counted_residual(x_n, decoded_n)
        made = reduction.piles.requantised.get(chunk) if reduction is not None and is_same_attempt else None
        if made is not None and made.digest == decided.value.chunk_digests[chunk]:
            x_n += made.error_N
    return residual_N
