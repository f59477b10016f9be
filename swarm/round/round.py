"""The recipe of a round. Read this first.

    wait for this peer's update (or for a reason to act without it)
    attempt 1, 2, ...   lead it or follow its leader           lead.py, follow.py
        form                signed joins -> one signed roster    closing.py, seats.py, canvass.py
        reduce              chunk owners, int8, error feedback   reduction.py, piles.py
        vote                durable votes -> certificate         acceptor.py, member.py
    commit              the successor becomes the head; what was not delivered is carried on   settle.py

Every attempt has another leader. An attempt ends committed, aborted (nothing happened) or in doubt (this peer voted and
holds no certificate): then it keeps its inputs, asks, and goes on; Paxos carries its vote into the next attempt. A
record that others push, or a later attempt that others are in already, interrupts what this peer is doing.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from swarm import events
from swarm.charter.manifest import CROSSING_MEMBERS, SecureSum
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.tasks import first_of
from swarm.net.transport import StreamLostError
from swarm.round.context import SHORT_CALL_S, Context
from swarm.round.deadlines import Phase
from swarm.round.follow import follow
from swarm.round.lead import lead
from swarm.round.member import commit
from swarm.round.outcome import Aborted, Committed, InDoubt, Offer, Outcome
from swarm.round.restart import take_restart
from swarm.state.electorate import few_of
from swarm.state.quality import tally_of
from swarm.state.records import Decided
from swarm.state.run import Run

_EARLY_LOOK_S = 0.5
"""How often a leader that trains looks whether those who train with it are still too many for a quorum."""
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 2.0
_MOST_ASKED = 32
"""Peers asked after a failed attempt, others each time: everybody asking everybody would be what fails the next one."""


@dataclass(frozen=True)
class Finished:
    """The round is committed and the head has moved."""

    committed: Committed
    offer: Offer | None
    """What this peer brought; None if the round ended before its update was ready."""


@dataclass(frozen=True)
class Behind:
    """Others are at least a round further: catch up first (swarm.state.catchup)."""

    offer: Offer | None
    """What this peer has brought; the round it was for may have counted it before this peer fell behind."""


async def run_round(ctx: Context, pending: "asyncio.Future[Offer]") -> Finished | Behind:
    """Takes the open round to its commit. `pending` becomes this peer's update; it may also come too late."""
    began_s = monotonic_s()
    attempt = _first_attempt(ctx)
    while True:
        await _until_needed(ctx, pending, attempt)
        if pending.done() and attempt == 1:
            began_s = monotonic_s()
        offer = pending.result() if pending.done() else None
        if ctx.is_restart_due:
            if not await take_restart(ctx):
                return Behind(offer)
            attempt = _first_attempt(ctx)
            continue
        if ctx.is_behind:
            ctx.news.known_head = 0
            return Behind(offer)
        attempt = max(attempt, ctx.news.called_attempt)
        ctx.enter_attempt(attempt)
        outcome = await _from_news(ctx) or await _attempt(ctx, attempt, offer)
        match outcome:
            case Committed():
                await _advance(ctx, outcome, attempt, began_s)
                return Finished(outcome, offer)
            case Aborted(reason):
                ctx.sink(events.RoundAborted(round=ctx.round, attempt=attempt, reason=reason))
            case InDoubt():
                ctx.sink(events.RoundInDoubt(round=ctx.round, attempt=attempt))
            case None:
                continue  # called away, or told of a record: look again
        await _ask_around(ctx)
        pending = _on_an_island(ctx, _after_spending(ctx, pending, outcome))
        await asyncio.sleep(_backoff_s(ctx.me, attempt))
        attempt += 1


def _first_attempt(ctx: Context) -> int:
    """The one this peer was in last, if it was in any in this term."""
    promised = ctx.acceptor.promised_in(ctx.round)
    return max(1, promised.attempt) if promised is not None and promised.term == ctx.electorate.term else 1


async def _until_needed(ctx: Context, pending: "asyncio.Future[Offer]", attempt: int) -> None:
    """Returns when there is something to do: an update, news, or guests this peer has kept waiting long enough.

    A guest that is much too early calls no leader away from its own update: others are at theirs, too.
    """
    while not (pending.done() or ctx.news.record is not None or ctx.is_behind or ctx.is_restart_due):
        called = max(attempt, ctx.news.called_attempt)
        ballot = ctx.ballot(called)
        since_s = ctx.half_here_s(ballot)
        left_s = 3600.0
        if ballot.leader == ctx.me and since_s is not None:
            guests = {guest.peer for guest in ctx.seats.at(ctx.round, ballot)}
            if ctx.awaited(guests, ctx.unheard() - guests):
                left_s = _EARLY_LOOK_S
            else:
                left_s = max(since_s, ctx.early_s) + ctx.limit_s(Phase.JOIN, called) - monotonic_s()
                if left_s <= 0:
                    return
        await first_of(_ended(pending), ctx.news.changed.wait(), ctx.seats.changed.wait(), asyncio.sleep(left_s))


async def _ended(future: "asyncio.Future[Any]") -> None:
    """Returns when `future` has ended, however; its result or error stays in it."""
    await asyncio.wait([future])


async def _attempt(ctx: Context, attempt: int, offer: Offer | None) -> Outcome | None:
    """One attempt, unless news makes it pointless: then None."""
    ballot = ctx.ballot(attempt)
    ctx.sink(events.AttemptStarted(round=ctx.round, attempt=attempt, leader=ballot.leader))
    work = lead(ctx, ballot, offer) if ballot.leader == ctx.me else follow(ctx, ballot, offer)
    ctx.is_attempting = ctx.is_forming = True
    rules = ctx.run.rules.in_force
    task = asyncio.create_task(work)
    try:
        while not task.done():
            if ctx.news.record is not None or ctx.is_restart_due:
                return None
            # What is only claimed does not stop an attempt that has its roster.
            if ctx.is_forming and (ctx.is_behind or ctx.news.called_attempt > attempt):
                return None
            if ctx.is_forming and ctx.run.rules.in_force != rules:
                return None
            await first_of(_ended(task), ctx.news.changed.wait())
        return task.result()
    finally:
        ctx.is_attempting = ctx.is_forming = False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _from_news(ctx: Context) -> Committed | None:
    """Commits a record that somebody pushed, if it is good and its bytes can be had."""
    record, ctx.news.record = ctx.news.record, None
    if record is None:
        return None
    try:
        return await commit(ctx, record, None, sorted(ctx.electorate.peers))
    except ProtocolError as error:
        ctx.sink(events.FrameRefused(peer="", reason=str(error)))
    except StreamLostError as error:
        ctx.sink(events.RoundAborted(round=ctx.round, attempt=0, reason=str(error)))
        await asyncio.sleep(_LONGEST_BACKOFF_S)  # whoever told this peer will tell it again at once
    return None


async def _advance(ctx: Context, outcome: Committed, attempt: int, began_s: float) -> None:
    """The successor becomes the head."""
    decided = outcome.decided
    ctx.step_cpu_s = outcome.successor.step_cpu_s
    ctx.head = outcome.successor.committed(ctx.run, decided)
    ctx.begin_round()
    seconds = monotonic_s() - began_s
    if decided.value.is_rejected:
        ctx.sink(_rejection(ctx, decided, attempt, seconds))
        return
    counted = {seat for bitmap in decided.value.contributors for seat in decided.roster.contributors(bitmap)}
    ctx.sink(
        events.RoundCommitted(
            round=ctx.head.round,
            attempt=attempt,
            peers=decided.roster.peers,
            contributors=tuple(decided.roster.peers[seat] for seat in sorted(counted)),
            voters=len(ctx.electorate.voters),
            crossed=_crossed(ctx.run, decided),
            is_thin=ctx.electorate.is_thin,
            state_digest=ctx.head.state_digest.hex(),
            seconds=seconds,
        )
    )


def _crossed(run: Run, decided: Decided) -> Literal["", "members", "few", "single", "masked"]:
    """How what this round averaged came over borders."""
    roster = decided.roster
    if len({seat.region for seat in roster.seats}) == 1:
        return ""
    if isinstance(run.charter.aggregation, SecureSum) and run.charter.aggregation.across_regions:
        return "masked"
    sums = [roster.members_by_region(roster.contributors(bitmap)) for bitmap in set(decided.value.contributors)]
    least = min((count for members in sums for count in members.values()), default=CROSSING_MEMBERS)
    return "members" if least >= CROSSING_MEMBERS else "few" if least > 1 else "single"


def _rejection(ctx: Context, decided: Decided, attempt: int, seconds: float) -> events.RoundRejected:
    value = decided.value
    found = tally_of(ctx.run, decided.roster, value.quality, base=value.base_digest, candidate=value.candidate)
    return events.RoundRejected(
        round=value.round,
        attempt=attempt,
        peers=decided.roster.peers,
        accepting=float(found.accepting),
        rejecting=float(found.rejecting),
        silent=found.silent,
        state_digest=value.state_digest.hex(),
        seconds=seconds,
    )


async def _ask_around(ctx: Context) -> None:
    """After a failed attempt: perhaps somebody holds this round's record, or is in a later attempt of it."""
    announced, undialable = ctx.announced().keys(), ctx.electorate.undialable
    peers = (ctx.electorate.voters | announced) - undialable - {ctx.me}
    few = few_of(sorted(peers), _MOST_ASKED, f"{ctx.me}/{ctx.round}/{ctx.attempt}")
    answers = await asyncio.gather(*(_ask_one(ctx, peer) for peer in few))
    answered = {peer for peer, has_answered in zip(few, answers, strict=True) if has_answered}
    hidden = (ctx.electorate.voters & undialable) - {ctx.me}
    ctx.island.learn(hidden | frozenset(few), answered | hidden & announced)


async def _ask_one(ctx: Context, peer: PeerId) -> bool:
    """Whether it answers at all."""
    try:
        status = await ctx.caller.ask(peer, wire.GetStatus(), wire.Status, wire.MAX_REQUEST_BYTES, SHORT_CALL_S)
        ctx.told_status(peer, status)
        if status.head < ctx.round:
            return True
        answer = await ctx.caller.ask(
            peer,
            wire.GetRecords(ctx.round),
            wire.RecordIs | wire.Missing,
            wire.MAX_CONTROL_BYTES,
            SHORT_CALL_S,
        )
        if isinstance(answer, wire.RecordIs):
            ctx.told_record(answer.record)
    except StreamLostError:
        return False
    except ProtocolError:
        return True  # it knows nothing that helps
    return True


def _on_an_island(ctx: Context, pending: "asyncio.Future[Offer]") -> "asyncio.Future[Offer]":
    """Says so when a quorum cannot be reached, and sends the trainer on: the future of what this peer brings then."""
    missing = ctx.island.missing(ctx.electorate)
    if not missing:
        return pending
    electorate = ctx.electorate
    if not ctx.island.is_said:
        ctx.island.is_said = True
        ctx.sink(
            events.IslandBegan(
                round=ctx.round,
                present=float(electorate.voices.count(electorate.voters - missing)),
                needed=electorate.voices.all / 2,
                missing=tuple(sorted(missing)),
                trains=ctx.train_on is not None,
            )
        )
    if ctx.train_on is None or not pending.done():
        return pending
    sent_on = ctx.train_on(pending.result())
    if sent_on is None:
        return pending
    ctx.island.updates += 1
    return sent_on


def _after_spending(
    ctx: Context, pending: "asyncio.Future[Offer]", outcome: Aborted | InDoubt
) -> "asyncio.Future[Offer]":
    """A secure sum failed after this peer's self-mask had gone out: its update is lost, so it makes another one.

    Who has voted for that sum waits: it will be proposed again, or the round goes on without this peer's update.
    """
    is_lost = pending.done() and pending.result().is_spent and isinstance(outcome, Aborted)
    may_give = ctx.round > ctx.masks.spent_before
    if not (is_lost and may_give) or ctx.start_over is None or ctx.acceptor.accepted_in(ctx.round) is not None:
        return pending
    return ctx.start_over()


def _backoff_s(me: PeerId, attempt: int) -> float:
    """Longer with every attempt, and different for every peer, so that they do not keep colliding."""
    spread = hashlib.sha256(f"{me}/{attempt}".encode()).digest()[0] / 255
    return min(_FIRST_BACKOFF_S * 1.5 ** min(attempt - 1, 16), _LONGEST_BACKOFF_S) * (0.5 + spread)
