"""The quality stage of an attempt, between the reduction and the proposal: members score the candidate base.

    leader      tells its guests which state the results lead to, scores it itself, and collects what they say until all
                have answered or the deadline is over; the votes go into the value (swarm.state.quality counts them)
    follower    computes the candidate from the results it holds, has its trainer score it, and answers
    nobody      to ask, no held-out data, a trainer that is still at work, bytes that differ: it says so, and is silent

A vote is only somebody's word about its own data: nothing here can check it. It takes more than half of the members to
reject a base.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from swarm import events
from swarm.charter.manifest import NoFloor
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.context import Context
from swarm.round.deadlines import Phase
from swarm.round.member import Scored, step
from swarm.round.seats import Guest
from swarm.state.head import Successor, unchanged
from swarm.state.quality import tally_of
from swarm.state.roster import Roster


@dataclass(frozen=True)
class Verdict:
    """What the members made of a candidate, as a value says it."""

    candidate: bytes
    votes: tuple[wire.Sealed, ...]
    is_rejected: bool
    successor: Successor
    """What the round leads to: the candidate, or the head as it is."""


async def put_to_members(ctx: Context, roster: Roster, guests: Sequence[Guest], held: Scored) -> Verdict:
    """The leader's half: the votes of everybody in the roster, and what follows; nobody is asked without a floor."""
    if isinstance(ctx.run.charter.quality, NoFloor):
        return Verdict(b"", (), False, held.successor)
    candidate = held.successor.state_digest
    votes = await _collect(ctx, roster, guests, held)
    found = tally_of(ctx.run, roster, votes, base=ctx.head.state_digest, candidate=candidate)
    successor = unchanged(ctx.head) if found.is_rejected else held.successor
    return Verdict(candidate, votes, found.is_rejected, successor)


async def recompute(ctx: Context, asked: wire.AskQuality) -> Scored | None:
    """The follower's candidate, from what its own reduction holds; None if that is not what the leader has.

    What differs is not fetched for this: it comes by digest once there is a proposal.
    """
    reduction = ctx.reduction
    chunks = range(ctx.run.grid.chunks)
    if reduction is None or asked.chunk_digests != tuple(reduction.results.digest(chunk) for chunk in chunks):
        return None
    results = [reduction.results[chunk].data for chunk in chunks]
    successor = await step(ctx, asked.chunk_digests, results)
    return None if successor.state_digest != asked.candidate else Scored(asked.chunk_digests, results, successor)


async def own_vote(ctx: Context, successor: Successor) -> wire.Sealed | None:
    """This peer's signed word on what the results lead to; None if it has nothing to say."""
    rule = ctx.run.charter.quality
    if ctx.scorer is None or isinstance(rule, NoFloor):
        return None
    head = ctx.head
    said = await ctx.scorer.opinion(
        (head.state_digest, head.base_N), (successor.state_digest, successor.base_N), rule.tolerance_percent
    )
    if said is None:
        return None
    return ctx.seal(
        wire.QualityVote(
            run_id=ctx.run.id,
            round=ctx.round,
            base_digest=head.state_digest,
            candidate=successor.state_digest,
            accepts=said.accepts,
            change_percent=said.change_percent if ctx.scorer.may_tell_loss else None,
        )
    )


async def _collect(ctx: Context, roster: Roster, guests: Sequence[Guest], held: Scored) -> tuple[wire.Sealed, ...]:
    """Asks everybody in the roster, this leader included, and waits until all have said something or time is up."""
    began_s = monotonic_s()
    question = wire.AskQuality(held.chunk_digests, held.successor.state_digest)
    for guest in guests:
        guest.quality = None
        guest.tell(question)
    until_s = began_s + ctx.limit_s(Phase.SCORE, roster.ballot.attempt)
    scoring = asyncio.create_task(own_vote(ctx, held.successor))
    scoring.add_done_callback(lambda _: ctx.seats.changed.fire())
    try:
        while not (scoring.done() and all(guest.quality is not None or guest.is_lost for guest in guests)):
            left_s = until_s - monotonic_s()
            if left_s <= 0 or not await ctx.seats.changed.wait_within(left_s):
                break
        else:
            ctx.book.observe(Phase.SCORE, monotonic_s() - began_s)
        votes = {ctx.me: scoring.result() if scoring.done() else None}
    finally:
        scoring.cancel()
    for guest in guests:
        if guest.quality is not None:
            votes[guest.peer] = guest.quality.vote
    return tuple(_good(ctx, roster, votes, held.successor.state_digest))


def _good(ctx: Context, roster: Roster, votes: dict[PeerId, wire.Sealed | None], candidate: bytes) -> list[wire.Sealed]:
    """The votes that are what they should be, by peer id; a bad one would spoil the value it is in."""
    good: list[wire.Sealed] = []
    for peer, sealed in sorted(votes.items()):
        if sealed is None:
            continue
        try:
            if sealed.author != peer:
                raise ProtocolError("a quality vote of somebody else")
            tally_of(ctx.run, roster, (sealed,), base=ctx.head.state_digest, candidate=candidate)
        except ProtocolError as error:
            ctx.sink(events.FrameRefused(peer=peer, reason=str(error)))
            continue
        good.append(sealed)
    return good
