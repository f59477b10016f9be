"""What every member of an attempt does, leader or not: reduce under a roster, check a proposed value, vote, commit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.transport import Buffer
from swarm.round.context import Context
from swarm.round.deadlines import Phase
from swarm.round.delivery import Contribution
from swarm.round.outcome import Committed, Offer
from swarm.round.plan import Plan
from swarm.round.reduction import Reduction
from swarm.round.results import complete
from swarm.round.secure.sums import SumsOf, check_sums
from swarm.sovereignty.decisions import basis_of
from swarm.sovereignty.gate import Denied
from swarm.state.chain import keep
from swarm.state.head import Successor, apply_mean, next_ranges, unchanged
from swarm.state.records import Record, Value, value_digest
from swarm.state.roster import Roster


@dataclass(frozen=True)
class Candidate:
    """A value this peer holds every byte of, with the state it leads to."""

    encoded: bytes
    digest: bytes
    value: Value
    results: Sequence[Buffer]
    successor: Successor


@dataclass(frozen=True)
class Scored:
    """A state that was computed for members to score: who then votes for it need not compute it again."""

    chunk_digests: tuple[bytes, ...]
    results: Sequence[Buffer]
    successor: Successor


def begin_reduction(ctx: Context, roster: Roster, offer: Offer | None) -> Reduction:
    """Asks the gate, then opens this peer's part in the roster's all-reduce. A denial withholds the update, no more.

    Raises:
        ProtocolError: the charter asks for secure sums, and none can be made under this roster.
    """
    contribution = None
    plan = Plan(roster, ctx.run.grid.chunks, ctx.run.charter.reduce.levels, ctx.run.least_members)
    sums = None if ctx.run.secure is None else SumsOf(ctx, roster, plan)
    if sums is not None and offer is not None and not sums.takes(offer):
        offer = None
    if offer is not None:
        # Whoever may come to own a chunk of this peer's group.
        near = plan.neighbours(roster.index[ctx.me])
        recipients = {roster.peers[seat]: roster.seats[seat].region for seat in near if roster.peers[seat] != ctx.me}
        judged = ctx.gate.check_update(
            round_number=roster.round,
            update_N=offer.x_N,
            grid=ctx.run.grid,
            max_rms=ctx.run.charter.reduce.max_rms,
            recipients=recipients,
            regions={seat.region for seat in roster.seats},
            basis=basis_of(ctx.head.state_digest, roster.ballot.term, roster.ballot.attempt),
            receipt=offer.receipt,
            masked_among=0 if sums is None else sums.masked_among,
        )
        if isinstance(judged, Denied):
            offer.is_withheld = True
            ctx.sink(
                events.UpdateDenied(round=roster.round, code=judged.code, reason=judged.reason, policy=judged.policy)
            )
        else:
            contribution = Contribution(offer.x_N, offer.lost_N, judged)
            offer.ballots.add(roster.ballot)
    ctx.end_reduction()
    reduction = Reduction(
        run=ctx.run,
        roster=roster,
        plan=plan,
        caller=ctx.caller,
        gate=ctx.gate,
        contribution=contribution,
        vectors=ctx.vectors,
        limit_s=ctx.limit_s(Phase.REDUCE, roster.ballot.attempt),
        sink=ctx.sink,
        secure=None if sums is None else sums.stage(offer),
    )
    ctx.saw_roster(roster)
    ctx.use_reduction(reduction)
    return reduction


async def reduce(ctx: Context, reduction: Reduction) -> None:
    """Runs a reduction to its end and learns from how long it took. Raises StreamLostError if no owner is left."""
    began_s = monotonic_s()
    measuring = asyncio.create_task(ctx.link.measure())
    try:
        await reduction.run()
    finally:
        measuring.cancel()
    ctx.book.observe(Phase.REDUCE, monotonic_s() - began_s)
    ctx.sink(
        events.Reduced(
            round=reduction.roster.round,
            attempt=reduction.roster.ballot.attempt,
            chunks=ctx.run.grid.chunks,
            reduce_s=monotonic_s() - began_s,
        )
    )


async def candidate(ctx: Context, encoded: bytes, holders: Sequence[PeerId], scored: Scored | None = None) -> Candidate:
    """Checks a value, gets what is missing of its results, and computes the state it leads to.

    A rejected one needs no results and leads nowhere. `scored` is what was computed for the members to score.

    Raises:
        ProtocolError: the value does not follow this head, or leads to another state than it says.
        StreamLostError: its bytes cannot be had now.
    """
    value, roster = ctx.head.mark.read(ctx.run, encoded)
    digest = value_digest(encoded)
    run = ctx.run_of(value)
    check_sums(ctx, run, value, roster)
    if value.is_rejected:
        return Candidate(encoded, digest, value, (), unchanged(ctx.head))
    if scored is not None and (scored.chunk_digests, scored.successor.state_digest, scored.successor.ranges) == (
        value.chunk_digests,
        value.state_digest,
        value.ranges,
    ):
        return Candidate(encoded, digest, value, scored.results, scored.successor)
    results = await complete(
        run=run,
        value=value,
        digest=digest,
        reduction=ctx.reduction,
        archive=ctx.archive,
        caller=ctx.caller,
        holders=holders,
    )
    successor = await step(ctx, value.chunk_digests, results)
    if successor.state_digest != value.state_digest:
        raise ProtocolError(
            f"round {value.round} leads to state {successor.state_digest.hex()[:16]} here and to "
            f"{value.state_digest.hex()[:16]} at its leader: one of the two machines does not compute as it should"
        )
    if successor.ranges != value.ranges:
        raise ProtocolError(f"round {value.round} leads to other ranges of secure sums here than at its leader")
    return Candidate(encoded, digest, value, results, successor)


async def step(ctx: Context, digests: Sequence[bytes], results: Sequence[Buffer]) -> Successor:
    """The successor that results with these digests lead to. What the reduction has decoded is not decoded again."""
    reduction = ctx.reduction
    taken = None if reduction is None else reduction.results.take_mean()
    mean_N, decoded = taken or (ctx.vectors.empty(ctx.run.grid.elements), frozenset[int]())
    for chunk, data in enumerate(results):
        if reduction is None or chunk not in decoded or reduction.results.digest(chunk) != digests[chunk]:
            ctx.run.codec.decode_into(data, mean_N[ctx.run.grid.bounds(chunk)])
            await asyncio.sleep(0)
    ranges = await next_ranges(ctx.run, mean_N)
    return replace(await apply_mean(ctx.run, ctx.head, mean_N, ctx.vectors), ranges=ranges)


async def vote(ctx: Context, ballot: wire.Ballot, held: Candidate) -> wire.Sealed | None:
    """This peer's durable vote, or None if it has promised a later ballot. Its bytes are on disk before the vote is."""
    if not held.value.is_rejected:
        await ctx.store.save_results(held.value.round, held.digest, held.results)
    if not await ctx.acceptor.accept(held.value.round, ballot, held.encoded):
        return None
    return ctx.seal(wire.Vote(run_id=ctx.run.id, round=held.value.round, ballot=ballot, value_digest=held.digest))


async def commit(ctx: Context, record: bytes, held: Candidate | None, holders: Sequence[PeerId]) -> Committed:
    """Verifies a record of the open round and holds what it decides, durably.

    Raises:
        ProtocolError: the record is not what a quorum signed.
        StreamLostError: its bytes cannot be had now.
    """
    decided = ctx.head.mark.verify(ctx.run, record)
    if held is None or held.digest != decided.digest:
        encoded = wire.decode(record, Record).value
        held = await candidate(ctx, encoded, [*holders, *decided.roster.peers])
        if not held.value.is_rejected:
            await ctx.store.save_results(held.value.round, held.digest, held.results)
    await keep(ctx.store, decided)
    return Committed(decided, held.successor)
