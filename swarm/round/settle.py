"""After a commit: what of this peer's update was not delivered, to be carried into the next round (error feedback)."""

from swarm.identity.peer_id import PeerId
from swarm.round.delivery import settle_without
from swarm.round.outcome import Offer
from swarm.round.reduction import Reduction
from swarm.sovereignty.gate import largest_rms
from swarm.state.records import Decided
from swarm.state.run import Run


def settle(run: Run, me: PeerId, offer: Offer, decided: Decided, reduction: Reduction | None) -> None:
    """Makes `offer.lost_N`, float32 [N], the new residual; the offer is spent.

    A chunk that was counted leaves what quantising took from it; one that was not stays whole. A chunk this peer
    reduced leaves what quantising the mean took from everybody, if that very result is the one that was committed. An
    update that no gate lets out (with a NaN in it, or above the norm bound) was never given and is dropped whole, so
    that the next ones are not spoilt. What members rejected (swarm.state.quality) is dropped as well, for every chunk
    that had this peer's update in it: the trainer begins again from the same base, and nobody owes it what it lost.
    """
    residual_N = offer.lost_N
    seat = decided.roster.index.get(me)
    was_offered = seat is not None and decided.roster.ballot in offer.ballots
    here = None if reduction is None else (reduction.roster.round, reduction.roster.ballot)
    is_same_attempt = here == (decided.roster.round, decided.roster.ballot)
    was_given = reduction is not None and is_same_attempt and reduction.delivery.contribution is not None
    if not was_given and not largest_rms(offer.x_N, run.grid) <= run.charter.reduce.max_rms:
        residual_N[:] = 0
        return
    if offer.is_spent and not was_offered:
        residual_N[:] = 0  # somebody may have put the pieces of that sum together: nothing of it goes on
        return
    for chunk, bitmap in enumerate(decided.value.contributors):
        counted = decided.roster.contributors(bitmap)
        is_counted = was_offered and seat in counted
        if decided.value.is_rejected:
            bounds = run.grid.bounds(chunk)
            residual_N[bounds] = 0 if is_counted else offer.x_N[bounds]
            continue
        if offer.is_spent and not was_given:
            continue  # it is counted in an earlier attempt's sum, which has left what it lost here
        if reduction is None or not was_given:
            settle_without(run, offer.x_N, residual_N, chunk, is_counted=is_counted)
            continue
        reduction.delivery.settle_chunk(
            chunk,
            is_counted=is_counted,
            digest=decided.value.chunk_digests[chunk],
            group_bitmap=decided.roster.bitmap(reduction.plan.neighbours(reduction.seat).intersection(counted)),
        )
