"""The quality stage of an attempt, between the reduction and the proposal: members score the candidate base.

    leader      tells its guests which state the results lead to, scores it itself, and collects what they say until all
                have answered or the deadline is over; the votes go into the value (swarm.state.quality counts them)
    follower    computes the candidate from the results it holds, has its trainer score it, and answers: the leader, and
                every elector (swarm.round.heard)
    elector     votes for no value whose outcome would be the other one with the votes that it was told itself
    nobody      to ask, no held-out data, bytes that differ: it says so, and is silent

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
from swarm.sovereignty.gate import Denied
from swarm.sovereignty.permit import Permit
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


@dataclass(frozen=True)
class Word:
    """What this peer says of a candidate, and what lets it out."""

    frame: wire.CastQuality | wire.NoQuality
    permit: Permit | None = None


async def own_word(ctx: Context, scored: Scored | None, candidate: bytes) -> Word:
    """This peer's signed word on a candidate that it holds; that it has none, if it does not or has nothing to say."""
    nothing = Word(wire.NoQuality(ctx.round, candidate))
    rule = ctx.run.charter.quality
    if scored is None or ctx.scorer is None or isinstance(rule, NoFloor):
        return nothing
    head, successor = ctx.head, scored.successor
    said = await ctx.scorer.opinion(
        (head.state_digest, head.base_N), (successor.state_digest, successor.base_N), rule.tolerance_percent
    )
    if said is None:
        return nothing
    permit = ctx.gate.check_verdict(round_number=ctx.round)
    if isinstance(permit, Denied):
        ctx.sink(events.Note(text=f"no quality vote of round {ctx.round}: {permit.reason} ({permit.code})"))
        return nothing
    vote = wire.QualityVote(
        run_id=ctx.run.id,
        round=ctx.round,
        base_digest=head.state_digest,
        candidate=successor.state_digest,
        accepts=said.accepts,
        change_percent=said.change_percent if ctx.gate.may_tell_change else None,
    )
    return Word(wire.CastQuality(ctx.seal(vote)), permit)


def spread(ctx: Context, word: Word, leader: PeerId) -> None:
    """Tells every elector, so that no leader can leave this peer's vote out unseen; the leader is told by its guest."""
    told_quality(ctx, ctx.me, word.frame)
    electors = ctx.electorate.voters - ctx.electorate.undialable - {ctx.me, leader}
    ctx.in_background(ctx.push(sorted(electors), word.frame, word.permit))


def told_quality(ctx: Context, author: PeerId, word: wire.CastQuality | wire.NoQuality) -> None:
    """A peer says itself what it makes of a candidate. Raises ProtocolError for a vote that is not its own."""
    ctx.heard.note(ctx.run, ctx.round, author, word)
    ctx.seats.changed.fire()


async def _collect(ctx: Context, roster: Roster, guests: Sequence[Guest], held: Scored) -> tuple[wire.Sealed, ...]:
    """Asks everybody in the roster, this leader included, and waits until all have said something or time is up.

    Who is lost meanwhile may have told others: the least deadline is theirs all the same (`objecting.hear_members`).
    """
    began_s, candidate = monotonic_s(), held.successor.state_digest
    for guest in guests:
        guest.quality = None
        guest.tell(wire.AskQuality(held.chunk_digests, candidate))
    least_s = began_s + ctx.run.charter.deadlines.floor_s
    until_s = began_s + ctx.limit_s(Phase.SCORE, roster.ballot.attempt)
    scoring = asyncio.create_task(_say_own(ctx, held))
    scoring.add_done_callback(lambda _: ctx.seats.changed.fire())
    try:
        while True:
            silent = [guest for guest in guests if guest.quality is None]
            if scoring.done() and not silent:
                ctx.book.observe(Phase.SCORE, monotonic_s() - began_s)
                break
            waits_on = not scoring.done() or not all(guest.is_lost for guest in silent)
            left_s = (until_s if waits_on else min(least_s, until_s)) - monotonic_s()
            if left_s <= 0:
                break
            await ctx.seats.changed.wait_within(left_s)
        if scoring.done():
            scoring.result()
    finally:
        scoring.cancel()
    votes = dict(ctx.heard.votes(roster, candidate))
    votes |= {guest.peer: guest.quality.vote for guest in guests if isinstance(guest.quality, wire.CastQuality)}
    return tuple(_good(ctx, roster, votes, candidate))


async def _say_own(ctx: Context, held: Scored) -> None:
    spread(ctx, await own_word(ctx, held, held.successor.state_digest), ctx.me)


def _good(ctx: Context, roster: Roster, votes: dict[PeerId, wire.Sealed], candidate: bytes) -> list[wire.Sealed]:
    """The votes that are what they should be, by peer id; a bad one would spoil the value it is in."""
    good: list[wire.Sealed] = []
    for peer, sealed in sorted(votes.items()):
        try:
            if sealed.author != peer:
                raise ProtocolError("a quality vote of somebody else")
            tally_of(ctx.run, roster, (sealed,), base=ctx.head.state_digest, candidate=candidate)
        except ProtocolError as error:
            ctx.sink(events.FrameRefused(peer=peer, reason=str(error)))
            continue
        good.append(sealed)
    return good
