"""What a peer answers to others about rounds, each on its own stream. Bad requests raise ProtocolError, no more."""

import asyncio

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.round.context import Context
from swarm.round.news import MAX_ATTEMPT
from swarm.round.quality import told_quality
from swarm.round.reduction import Reduction
from swarm.round.ruling import ask_documents, told_documents
from swarm.round.seats import Guest
from swarm.sovereignty.gate import Denied
from swarm.state.chain import load_restarts
from swarm.state.roster import read_join

_ROSTER_RACE_S = 10.0
"""How long a lane may wait for this peer to learn of the roster it belongs to."""


async def serve_round(ctx: Context, stream: AuditedStream, request: wire.Request, region: str) -> None:
    """Serves one request of the round protocol, by an admitted peer of `region`, to the end of its stream."""
    match request:
        case wire.GetStatus():
            attempt = max(ctx.attempt, ctx.news.called_attempt)
            await stream.send(
                wire.Status(ctx.head.round, ctx.head.record_digest, attempt, "", term=ctx.electorate.term)
            )
        case wire.JoinRound(sealed):
            await _seat(ctx, stream, sealed)
        case wire.OpenReduce(round_number, ballot):
            reduction = await _reduction_of(ctx, round_number, ballot)
            if reduction is not None:
                await reduction.serve(stream)
        case wire.GetReduced(round_number, ballot, chunks):
            await _give_reduced(ctx, stream, round_number, ballot, chunks)
        case wire.GetResults():
            await _give_results(ctx, stream, request, region)
        case wire.PushRestarts(documents):
            ctx.told_restarts(documents)
        case wire.GetRestarts():
            await stream.send(wire.RestartsAre(load_restarts(ctx.store)))
        case wire.PushDocuments(documents):
            told_documents(ctx, documents)
        case wire.CallToAttempt(round_number, ballot):
            if round_number == ctx.round and ballot.term == ctx.electorate.term:
                _check_ballot(ctx, ballot)
                if stream.remote != ballot.leader:
                    raise ProtocolError("a call to an attempt by another peer than its leader")
                ctx.call_to(ballot.attempt)
        case wire.CastQuality() | wire.NoQuality():
            told_quality(ctx, stream.remote, request)
        case wire.PushRecord(record):
            ctx.told_record(record)
        case _:
            raise ProtocolError(f"{type(request).__name__} is not for a peer")


async def _seat(ctx: Context, stream: AuditedStream, sealed: wire.Sealed) -> None:
    """A join at this leader's table; holds the stream until either side leaves."""
    join, seat = read_join(sealed, ctx.run)
    if sealed.author != stream.remote:
        raise ProtocolError("a join that belongs to another peer")
    if join.ballot.term != ctx.electorate.term:
        is_older = join.ballot.term < ctx.electorate.term
        answer = (
            wire.RestartsAre(load_restarts(ctx.store)) if is_older else wire.Refusal("term", "an earlier term here")
        )
        await stream.send(answer)
        return
    if join.round <= ctx.head.round:
        # Who is further behind than this one record is told to catch up: a record per round would keep it behind.
        record = ctx.store.load_record(join.round) if join.round == ctx.head.round else None
        answer = wire.Refusal("ahead", f"round {join.round} is over") if record is None else wire.Committed(record)
        await stream.send(answer)
        return
    if join.round > ctx.round:
        ctx.news.told_ahead(join.round - 1)
        await stream.send(wire.Refusal("behind", f"this peer is still at round {ctx.round}"))
        return
    if join.base_digest != ctx.head.state_digest:
        await stream.send(wire.Refusal("other_base", "this peer stands on another base"))
        return
    if join.rules != ctx.run.rules.in_force:
        await ask_documents(ctx, stream.remote)
        if join.rules != ctx.run.rules.in_force:
            await stream.send(wire.DocumentsAre(ctx.shelf.held))
            return
    _check_ballot(ctx, join.ballot)
    if join.ballot.leader != ctx.me:
        raise ProtocolError("a join for another leader")
    if join.ballot.attempt < ctx.attempt:
        await stream.send(wire.Refusal("late", f"this peer is in attempt {ctx.attempt} already"))
        return
    if stream.remote in ctx.electorate.voters:
        ctx.check_accepted(join.ballot, join.accepted)
    if stream.remote in ctx.electorate.peers:
        ctx.call_to(join.ballot.attempt)
    guest = Guest(stream, sealed, join, seat)
    if not ctx.seats.add(guest, monotonic_s()):
        _report_guest(ctx, guest, "it joined again, so its older stream is closed")
    await guest.attend(ctx.seats.changed)
    if not guest.is_dismissed:
        _report_guest(ctx, guest, "it left this leader's table")


def _report_guest(ctx: Context, guest: Guest, reason: str) -> None:
    ctx.sink(events.PeerLost(round=guest.join.round, peer=guest.peer, role="guest", reason=reason))


def _check_ballot(ctx: Context, ballot: wire.Ballot) -> None:
    """A ballot of the open round names the leader everybody computes for its attempt."""
    if ballot.attempt > MAX_ATTEMPT or not ctx.electorate.has_ballot(ctx.run.id, ctx.round, ballot):
        raise ProtocolError(f"a ballot that no attempt of round {ctx.round} has")


async def _reduction_of(ctx: Context, round_number: int, ballot: wire.Ballot) -> Reduction | None:
    """The reduction a lane is for, waiting while this peer has yet to hear of its roster; None if it never does."""
    if round_number > ctx.round + 1:
        raise ProtocolError("a lane for a round that is not near")
    until_s = monotonic_s() + _ROSTER_RACE_S
    while monotonic_s() < until_s:
        reduction = ctx.reduction
        if reduction is not None:
            here = (reduction.roster.round, reduction.roster.ballot)
            if here == (round_number, ballot):
                return reduction
            if here > (round_number, ballot):
                return None
        await ctx.news.changed.wait_within(until_s - monotonic_s())
    return None


async def _give_reduced(
    ctx: Context, stream: AuditedStream, round_number: int, ballot: wire.Ballot, chunks: tuple[int, ...]
) -> None:
    reduction = ctx.reduction
    is_this = reduction is not None and (reduction.roster.round, reduction.roster.ballot) == (
        round_number,
        ballot,
    )
    for chunk in chunks:
        if reduction is not None and is_this and chunk in reduction.results:
            await reduction.send_result(stream, reduction.results[chunk])
        else:
            await stream.send(wire.Missing())


async def _give_results(ctx: Context, stream: AuditedStream, request: wire.GetResults, region: str) -> None:
    """Result bytes of a committed value, or of the one this peer has voted for in the open round."""
    found = ctx.value_with(request.round, request.value_digest)
    for chunk in request.chunks:
        if not 0 <= chunk < ctx.run.grid.chunks:
            raise ProtocolError(f"there is no chunk {chunk}")
        data = None if found is None else ctx.archive.result(found[0], request.value_digest, chunk)
        if found is None or data is None:
            await stream.send(wire.Missing())
            continue
        value, roster = found
        contributors = value.contributors[chunk]
        permit = ctx.gate.check_aggregate(
            members=roster.members_in(contributors),
            recipient=stream.remote,
            recipient_region=region,
            round_number=request.round,
        )
        if isinstance(permit, Denied):
            await stream.send(wire.Refusal(permit.code, permit.reason))
            return
        await stream.send(wire.ChunkResult(chunk, contributors, memoryview(data)), permit)
        await asyncio.sleep(0)
