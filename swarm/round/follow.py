"""A follower's side of one attempt: join the leader, reduce, vote on what it proposes, take the certificate.

One stream carries all of it, so a leader that dies is noticed at once, one that falls silent within a few heartbeats.
"""

import asyncio
from contextlib import suppress

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError, RulesApartError
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.transport import StreamLostError
from swarm.round.context import SHORT_CALL_S, Context
from swarm.round.deadlines import Phase
from swarm.round.member import Candidate, Scored, begin_reduction, candidate, commit, reduce, vote
from swarm.round.objecting import hear_members
from swarm.round.outcome import Aborted, InDoubt, Offer, Outcome
from swarm.round.quality import own_word, recompute, spread
from swarm.round.reduction import Reduction
from swarm.round.ruling import ask_documents, told_documents
from swarm.round.seats import HEARTBEAT_S
from swarm.state.records import VALUE_LEFT_OUT, Record, value_digest, with_roster
from swarm.state.roster import read_roster

_HEARTBEATS_MISSED = 8


async def follow(ctx: Context, ballot: wire.Ballot, offer: Offer | None) -> Outcome:
    """Takes part in an attempt that another peer leads."""
    if ballot.leader in ctx.outlaws:
        return Aborted("the leader's passport has expired, is revoked, or of no member in force")
    if not await ctx.acceptor.promise(ctx.round, ballot):
        return Aborted("this peer has promised a later attempt")
    join = ctx.sealed_join(ballot, offer)
    try:
        stream = await ctx.caller.open(ballot.leader, wire.JoinRound(join), SHORT_CALL_S)
    except StreamLostError as error:
        return Aborted(f"the leader cannot be reached: {error}")
    follower = _Follower(ctx, ballot, offer, stream)
    try:
        return await follower.run()
    finally:
        follower.close()


class _Follower:
    def __init__(self, ctx: Context, ballot: wire.Ballot, offer: Offer | None, stream: AuditedStream) -> None:
        self._ctx = ctx
        self._ballot = ballot
        self._offer = offer
        self._stream = stream
        self._reducing: asyncio.Task[None] | None = None
        self._reducing_since_s = 0.0
        self._scoring: asyncio.Task[None] | None = None
        self._asked_s: float | None = None
        self._scored: Scored | None = None
        self._roster: tuple[wire.Sealed, tuple[int, ...]] | None = None
        """What this attempt's leader has closed, and the weights that follow."""
        self._held: Candidate | None = None
        self._has_voted = False
        self._joined_s = monotonic_s()
        rule = ctx.run.charter.deadlines
        self._silence_s = max(rule.floor_s, _HEARTBEATS_MISSED * HEARTBEAT_S)
        # A leader waits at most a ceiling before it begins and another one for its quorum; who left before its leader
        # gives up would come to every table too early and leave it too early.
        self._patience_s = 2 * rule.ceiling_s + self._silence_s
        self._until_s = self._joined_s + self._patience_s
        self._early_s = self._joined_s
        """Until when too many were at their inner steps for anything to come of this attempt."""
        self._joined = 1
        self._last_join_s = self._joined_s

    async def run(self) -> Outcome:
        self._ctx.is_forming = True
        try:
            while True:
                async with asyncio.timeout(self._silence_s):
                    frame = await self._stream.receive(wire.LeaderFrame, wire.MAX_CONTROL_BYTES)
                outcome = await self._take(frame)
                if outcome is not None:
                    return outcome
        except TimeoutError:
            return self._without(f"the leader was silent for {self._silence_s:.1f} s")
        except StreamLostError as error:
            return self._without(str(error))
        except ProtocolError as error:
            if isinstance(error, RulesApartError):
                self._ctx.in_background(ask_documents(self._ctx, self._ballot.leader))
            self._ctx.sink(events.FrameRefused(peer=self._ballot.leader, reason=str(error)))
            return self._without(str(error))

    def close(self) -> None:
        self._stream.close()
        for task in (self._reducing, self._scoring):
            if task is not None:
                task.cancel()

    async def _take(self, frame: wire.LeaderFrame) -> Outcome | None:
        match frame:
            case wire.Waiting(joined):
                if joined > self._joined:
                    self._joined, self._last_join_s = joined, monotonic_s()
                gone = self._ctx.unheard() - {self._ballot.leader}
                if self._ctx.is_forming and self._ctx.at_inner_steps(dead=gone):
                    self._until_s = monotonic_s() + self._patience_s
                    if joined <= len(self._ctx.electorate.peers) // 2:  # whatever those who are here still announce
                        self._early_s = monotonic_s()
                if monotonic_s() > self._until_s:
                    awaited = "roster" if self._ctx.is_forming else "certificate" if self._has_voted else "proposal"
                    return self._without(f"the leader lives and no {awaited} came from it in time")
                return None
            case wire.RosterClosed(sealed):
                return self._reduce(sealed)
            case wire.AskQuality():
                return self._score(frame)
            case wire.Propose(proposal, value):
                return await self._vote(proposal, value)
            case wire.Committed(record):
                return await commit(self._ctx, self._completed(record), self._held, [self._ballot.leader])
            case wire.RestartsAre(documents):
                self._ctx.told_restarts(documents)
                return self._without("the leader is in a later term")
            case wire.DocumentsAre(documents):
                if told_documents(self._ctx, documents):
                    return None  # the attempt begins again under the rules that follow
                return self._without("the leader goes by other rules")
            case wire.Refusal(code, reason):
                if code == "ahead":
                    self._ctx.news.told_ahead(self._ctx.round)
                return self._without(f"the leader refused: {reason}")

    def _reduce(self, sealed: wire.Sealed) -> Outcome | None:
        ctx = self._ctx
        roster = read_roster(sealed, ctx.run, ctx.head.state_digest)
        if (roster.round, roster.ballot) != (ctx.round, self._ballot) or ctx.me not in roster.index:
            raise ProtocolError("a roster for another attempt, or without this peer")
        if self._reducing is not None:
            raise ProtocolError("a second roster in one attempt")
        now_unix_s = ctx.wall_clock()
        for seat in roster.seats:
            if seat.expires_s <= now_unix_s:
                raise ProtocolError(f"a roster with {seat.peer}, whose passport has expired")
        self._roster = sealed, roster.weights
        ctx.is_forming = False
        now_s = monotonic_s()
        # From this peer's join to the last one: how long the leader waited for those who never came is no measure, nor
        # is how much too early this peer came.
        last_join_s = now_s if len(roster.seats) > self._joined else self._last_join_s
        ctx.book.observe(Phase.JOIN, max(0.0, last_join_s - self._early_s))
        # Twice, since an owner may fail at its deadline and another one reduce its chunks anew.
        attempt = self._ballot.attempt
        self._until_s = now_s + 2 * ctx.limit_s(Phase.REDUCE, attempt) + ctx.limit_s(Phase.VOTE, attempt)
        ctx.sink(
            events.RosterReady(
                round=roster.round,
                attempt=self._ballot.attempt,
                leader=self._ballot.leader,
                peers=roster.peers,
                form_s=now_s - self._joined_s,
            )
        )
        reduction = begin_reduction(ctx, roster, self._offer)
        self._reducing = asyncio.create_task(_quiet_reduce(ctx, reduction))
        self._reducing_since_s = now_s
        return None

    def _score(self, asked: wire.AskQuality) -> None:
        """Begins to score the candidate base; the leader's proposal does not wait for it."""
        if self._scoring is not None:
            raise ProtocolError("a second candidate to score in one attempt")
        ctx, attempt = self._ctx, self._ballot.attempt
        self._asked_s = monotonic_s()
        ctx.heard.put(ctx.round, asked)
        self._until_s = self._asked_s + 2 * ctx.limit_s(Phase.SCORE, attempt) + ctx.limit_s(Phase.VOTE, attempt)
        self._scoring = asyncio.create_task(self._say_quality(asked))

    async def _say_quality(self, asked: wire.AskQuality) -> None:
        await self._await_results()
        self._scored = await recompute(self._ctx, asked)
        word = await own_word(self._ctx, self._scored, asked.candidate)
        spread(self._ctx, word, self._ballot.leader)
        with suppress(StreamLostError):
            await self._stream.send(word.frame, word.permit)

    async def _end_scoring(self) -> None:
        """There is a proposal: what is not scored by now comes too late."""
        if self._scoring is None or self._asked_s is None:
            return
        self._ctx.book.observe(Phase.SCORE, monotonic_s() - self._asked_s)
        if self._scoring.done():
            self._scoring.result()
        self._scoring.cancel()
        await asyncio.wait([self._scoring])

    async def _await_results(self) -> None:
        """The last results are on their way: who asked for them again would draw them over the border a second time.

        They may take as long again as a reduction usually does.
        """
        if self._reducing is not None:
            usual_s = self._ctx.book.usual_s(Phase.REDUCE) or monotonic_s() - self._reducing_since_s
            await asyncio.wait([self._reducing], timeout=usual_s)

    def _completed(self, record: bytes) -> bytes:
        """A record whose value is left out is of the value this peer has voted for."""
        brief = wire.decode(record, Record)
        if brief.value != VALUE_LEFT_OUT:
            return record
        if self._held is None:
            raise ProtocolError("a certificate without its value, for which this peer has not voted")
        return wire.encode(Record(self._held.encoded, brief.votes, brief.restarts))

    async def _vote(self, sealed: wire.Sealed, encoded: bytes) -> Outcome | None:
        ctx = self._ctx
        if self._roster is not None:
            encoded = with_roster(encoded, *self._roster)
        proposal = wire.unseal(sealed, wire.Proposal)
        if sealed.author != self._ballot.leader or (proposal.round, proposal.ballot) != (
            ctx.round,
            self._ballot,
        ):
            raise ProtocolError("a proposal that is not this attempt's leader's")
        if proposal.run_id != ctx.run.id or proposal.value_digest != value_digest(encoded):
            raise ProtocolError("a proposal whose value is another one")
        ctx.is_forming = False
        asked_s = monotonic_s() if self._asked_s is None else self._asked_s
        await hear_members(ctx, self._ballot, asked_s, encoded)
        await self._end_scoring()
        await self._await_results()
        if self._reducing is not None:
            self._reducing.cancel()  # the leader holds every result: what is missing here comes by digest
        self._held = await candidate(ctx, encoded, [self._ballot.leader], self._scored)
        sealed_vote = await vote(ctx, self._ballot, self._held)
        if sealed_vote is None:
            return Aborted("this peer has promised a later attempt")
        self._has_voted = True
        self._until_s = monotonic_s() + 2 * ctx.limit_s(Phase.VOTE, self._ballot.attempt)
        # A quorum may have voted without this peer: then the leader is gone, and its certificate waits to be read.
        with suppress(StreamLostError):
            await self._stream.send(wire.CastVote(sealed_vote))
        return None

    def _without(self, reason: str) -> Aborted | InDoubt:
        return InDoubt(reason) if self._has_voted else Aborted(reason)


async def _quiet_reduce(ctx: Context, reduction: Reduction) -> None:
    """A follower's reduction may fail: its leader decides what that means, and results still come by digest."""
    try:
        await reduce(ctx, reduction)
    except (StreamLostError, ProtocolError) as error:
        ctx.sink(events.PeerLost(round=reduction.roster.round, peer=ctx.me, role="member", reason=str(error)))
