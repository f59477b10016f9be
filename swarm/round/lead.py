"""The leader's side of one attempt: collect joins, close a roster, propose a value, count votes, give the certificate.

Paxos per round: a leader that finds votes among its quorum of promises must propose the value of the highest one again,
and makes a value of its own only if there is none.
"""

import asyncio
from collections import Counter
from collections.abc import Set

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.transport import StreamLostError
from swarm.round.again import to_propose_again
from swarm.round.canvass import ask_promise, ask_vote
from swarm.round.closing import Close, decide
from swarm.round.context import SHORT_CALL_S, Context
from swarm.round.deadlines import Phase
from swarm.round.member import Candidate, Scored, begin_reduction, candidate, commit, reduce, step, vote
from swarm.round.objecting import objection
from swarm.round.outcome import Aborted, InDoubt, Offer, Outcome
from swarm.round.quality import put_to_members
from swarm.round.seats import Guest
from swarm.round.secure.sums import check_counted, current_ranges
from swarm.state.electorate import Electorate
from swarm.state.records import (
    VALUE_LEFT_OUT,
    Record,
    Value,
    check_contributors,
    rules_after,
    value_digest,
    without_roster,
)
from swarm.state.roster import Roster, read_roster

_PROBE_EVERY_S = 1.0
_PROBES_MISSED = 2
_ABSENCES_FORGIVEN = 1
"""Who has announced itself more often than this in a row and not come is not waited for until it has come."""
_PROBED_AT_ONCE = 64
"""Of a thousand that are still training hardly any are dead; who has been asked least comes first."""
_LOOK_S_PER_GUEST = 50e-6
"""Pause after looking at every guest, so that a thousand joins are not a thousand looks at a thousand guests."""


async def lead(ctx: Context, ballot: wire.Ballot, offer: Offer | None) -> Outcome:
    """Leads an attempt to its outcome."""
    if not ctx.is_dialable:
        return Aborted("this peer cannot be dialled, so nobody can join it")
    if not await ctx.acceptor.promise(ctx.round, ballot):
        return Aborted("this peer has promised a later attempt")
    leader = _Leader(ctx, ballot, offer)
    try:
        return await leader.run()
    except (StreamLostError, ProtocolError) as error:
        return InDoubt(str(error)) if leader.has_voted else Aborted(str(error))
    finally:
        leader.close()


class _Leader:
    def __init__(self, ctx: Context, ballot: wire.Ballot, offer: Offer | None) -> None:
        self._ctx = ctx
        self._ballot = ballot
        self._offer = offer
        self._own_join = ctx.sealed_join(ballot, offer)
        self._promises: dict[PeerId, wire.Promise] = {}
        self._missed: dict[PeerId, int] = {}
        self._probes: Counter[PeerId] = Counter()
        self._began_s = monotonic_s()
        self._helpers: list[asyncio.Task[None]] = []
        self._has_said_who_trains = False
        self._told: set[Guest] = set()
        """Guests that were sent this attempt's roster: a proposal need not repeat it."""
        self.has_voted = False

    async def run(self) -> Outcome:
        self._ctx.is_forming = True
        aborted = await self._form()
        if aborted is not None:
            return aborted
        self._ctx.is_forming = False
        guests = {guest.peer for guest in self._guests()}
        accepted = to_propose_again(self._ctx, self._accepted(), {self._ctx.me, *guests}, self._promises.keys())
        if accepted is None:
            return await self._decide(await self._reduce())
        reason = objection(self._ctx, self._ballot, accepted.value)
        if reason is not None:
            return Aborted(f"{reason}, and too few electors are here to tell that it was not decided")
        holders = [guest.peer for guest in self._guests()]
        return await self._decide(await candidate(self._ctx, accepted.value, holders))

    def close(self) -> None:
        for task in self._helpers:
            task.cancel()
        for guest in self._guests():
            guest.dismiss()

    def _accepted(self) -> dict[PeerId, wire.Accepted]:
        """The highest vote of each voter whose promise this leader holds; nobody else's word on votes counts."""
        ctx = self._ctx
        voters = ctx.electorate.voters
        found = {ctx.me: ctx.acceptor.accepted_in(ctx.round)}
        found |= {guest.peer: guest.join.accepted for guest in self._guests() if guest.peer in voters}
        found |= {peer: promise.accepted for peer, promise in self._promises.items()}
        return {peer: vote for peer, vote in found.items() if vote is not None}

    # --- forming ------------------------------------------------------------------------------------------------------

    async def _form(self) -> Aborted | None:
        """Waits until the roster can be closed."""
        ctx, electorate = self._ctx, self._ctx.electorate
        self._helpers.append(asyncio.create_task(self._ask_witnesses()))
        self._helpers.append(asyncio.create_task(self._probe()))
        if self._ballot.attempt > 1:
            others = electorate.peers - {ctx.me}
            ctx.in_background(ctx.push(others, wire.CallToAttempt(ctx.round, self._ballot)))
        limit_s = ctx.limit_s(Phase.JOIN, self._ballot.attempt)
        give_up_s = ctx.run.charter.deadlines.ceiling_s
        has_said_so = False
        while True:
            guests = self._guests()
            joined = {ctx.me, *(guest.peer for guest in guests)}
            promised = (joined | self._promises.keys()) & electorate.voters
            expected = self._expected()
            training = ctx.awaited(joined, self._dead() - joined)
            if training:
                self._say_who_trains(training)
            for guest in guests:
                guest.waiting = wire.Waiting(len(joined), len(expected | joined))
            half_s = ctx.half_here_s(self._ballot)
            waited_s = self._tried_s if half_s is None else monotonic_s() - max(half_s, ctx.early_s)
            match decide(
                joined=joined,
                has_quorum=self._are_enough(promised, limit_s),
                expected=expected,
                waited_s=waited_s,
                limit_s=limit_s,
            ):
                case Close():
                    spread_s = ctx.seats.join_spread_s(ctx.round, self._ballot, self._began_s, ctx.early_s)
                    ctx.book.observe(Phase.JOIN, spread_s)
                    self._report_absent(expected - joined, limit_s)
                    return None
                case wait:
                    past_limit = self._tried_s >= limit_s
                    if not wait.has_quorum and past_limit and not has_said_so and not electorate.may_thin:
                        has_said_so = True
                        self._say_no_quorum(promised)
                    if not wait.has_quorum and self._tried_s >= give_up_s:
                        voices = electorate.voices
                        came = f"{float(voices.count(promised)):.3g} of {voices.all} voices"
                        return Aborted(f"electors with {came} came: no quorum")
            await ctx.seats.changed.wait_within(0.1)
            await asyncio.sleep(_LOOK_S_PER_GUEST * len(guests))

    def _are_enough(self, promised: Set[PeerId], limit_s: float) -> bool:
        """Whether a roster may close on these promises: a quorum; fewer only where the charter says that whoever is
        there goes on, and only once everybody else has had time and does not answer."""
        electorate = self._ctx.electorate
        if electorate.has_quorum(promised):
            return True
        if not electorate.may_thin or self._tried_s < limit_s:
            return False
        return not electorate.peers - promised - electorate.undialable - self._dead() - self._ctx.outlaws

    @property
    def _tried_s(self) -> float:
        """How long this leader has been here with a chance of a quorum."""
        return monotonic_s() - max(self._began_s, self._ctx.early_s)

    def _dead(self) -> set[PeerId]:
        """Those that do not answer."""
        return {peer for peer, missed in self._missed.items() if missed >= _PROBES_MISSED}

    def _expected(self) -> set[PeerId]:
        """Electors that answer, and newcomers that say they are at this round or the last; at first all of genesis.

        Who announces itself and never comes costs this leader one deadline, then it is not waited for any more.
        """
        ctx = self._ctx
        announced = {peer for peer in ctx.at_work() if ctx.absences[peer] <= _ABSENCES_FORGIVEN}
        wanted = set(ctx.electorate.peers) | announced
        if ctx.round > 1 or self._ballot.attempt > 1:
            wanted -= self._dead()
        return wanted - ctx.outlaws | {ctx.me}

    async def _probe(self) -> None:
        """Asks those who are missing whether they live, so that the dead are not waited for."""
        ctx = self._ctx
        while True:
            await asyncio.sleep(_PROBE_EVERY_S)
            here = {ctx.me, *(guest.peer for guest in self._guests())}
            missing = sorted(self._expected() - here, key=lambda peer: (self._probes[peer], peer))[:_PROBED_AT_ONCE]
            self._probes.update(missing)
            await asyncio.gather(*(self._probe_one(peer) for peer in missing))
            ctx.seats.changed.fire()

    async def _probe_one(self, peer: PeerId) -> None:
        ctx = self._ctx
        if peer in ctx.electorate.undialable:
            return
        try:
            status = await ctx.caller.ask(peer, wire.GetStatus(), wire.Status, wire.MAX_REQUEST_BYTES, SHORT_CALL_S)
        except (StreamLostError, ProtocolError):
            self._missed[peer] = self._missed.get(peer, 0) + 1
            return
        self._missed[peer] = 0
        ctx.told_status(peer, status)
        if status.head == ctx.round and status.term == ctx.electorate.term:
            ctx.news.told_ahead(status.head)

    async def _ask_witnesses(self) -> None:
        witnesses = sorted(self._ctx.electorate.witnesses - {self._ctx.me})
        await asyncio.gather(*(self._ask_witness(peer) for peer in witnesses))

    async def _ask_witness(self, peer: PeerId) -> None:
        while True:
            try:
                promise = await ask_promise(self._ctx, peer, self._ballot)
                if promise is not None:
                    self._promises[peer] = promise
                    self._ctx.seats.changed.fire()
                return
            except (StreamLostError, ProtocolError):
                await asyncio.sleep(_PROBE_EVERY_S)

    def _say_who_trains(self, training: Set[PeerId]) -> None:
        """Once, when this has taken long: a trainer that hangs looks like one that is slow."""
        ctx = self._ctx
        waited_s = monotonic_s() - self._began_s
        if self._has_said_who_trains or waited_s < ctx.run.charter.deadlines.ceiling_s:
            return
        self._has_said_who_trains = True
        names = ", ".join(sorted(training))
        text = f"round {ctx.round} waits for {len(training)} electors that are still at their inner steps: {names}"
        ctx.sink(events.Note(text=text))

    def _say_no_quorum(self, promised: Set[PeerId]) -> None:
        electorate = self._ctx.electorate
        self._ctx.sink(
            events.QuorumMissing(
                round=self._ctx.round,
                present=float(electorate.voices.count(promised)),
                needed=electorate.voices.all / 2,
                electors=electorate.voices.all,
                missing=tuple(sorted(electorate.voters - promised)),
            )
        )

    def _report_absent(self, peers: Set[PeerId], limit_s: float) -> None:
        reason = f"it was expected and did not join within {limit_s:.1f} s"
        for peer in sorted(peers):
            self._ctx.sink(events.PeerLost(round=self._ctx.round, peer=peer, role="expected", reason=reason))

    def _guests(self) -> list[Guest]:
        return self._ctx.seats.at(self._ctx.round, self._ballot)

    # --- reducing -----------------------------------------------------------------------------------------------------

    async def _reduce(self) -> Candidate:
        """Closes the roster, reduces under it, and makes the value that everybody is asked to vote for."""
        ctx = self._ctx
        joins = (self._own_join, *(guest.sealed for guest in self._guests()))
        sealed = ctx.seal(wire.Roster(ctx.run.id, ctx.round, self._ballot, joins, ctx.run.rules.in_force))
        roster = read_roster(sealed, ctx.run, ctx.head.state_digest)
        ctx.sink(
            events.RosterReady(
                round=ctx.round,
                attempt=self._ballot.attempt,
                leader=ctx.me,
                peers=roster.peers,
                form_s=monotonic_s() - self._began_s,
            )
        )
        reduction = begin_reduction(ctx, roster, self._offer)
        closed = wire.RosterClosed(sealed)
        for guest in self._guests():
            guest.tell(closed)
            self._told.add(guest)
        await reduce(ctx, reduction)
        chunks = range(ctx.run.grid.chunks)
        results = [reduction.results[chunk] for chunk in chunks]
        contributors = tuple(result.contributors for result in results)
        if not any(any(bitmap) for bitmap in contributors):
            raise ProtocolError("nobody gave an update")
        check_contributors(ctx.run, roster, contributors)
        check_counted(ctx, ctx.run, roster, contributors)
        if not self._could_go_on(roster):
            raise ProtocolError("too many of this roster were lost on the way to commit anything after it")
        encoded = [result.data for result in results]
        digests = tuple(digest for chunk in chunks if (digest := reduction.results.digest(chunk)) is not None)
        scored = Scored(digests, encoded, await step(ctx, digests, encoded))
        verdict = await put_to_members(ctx, roster, self._guests(), scored)
        value = Value(
            run_id=ctx.run.id,
            epoch=ctx.run.rules.epoch,
            round=ctx.round,
            previous=ctx.head.record_digest,
            base_digest=ctx.head.state_digest,
            roster=sealed,
            weights=roster.weights,
            chunk_digests=digests,
            contributors=contributors,
            state_digest=verdict.successor.state_digest,
            candidate=verdict.candidate,
            quality=verdict.votes,
            is_rejected=verdict.is_rejected,
            documents=ctx.brings,
            amended_in=ctx.head.rules.since,
            ranges=current_ranges(ctx) if verdict.is_rejected else verdict.successor.ranges,
        )
        data = wire.encode(value)
        results = () if verdict.is_rejected else encoded
        return Candidate(data, value_digest(data), value, results, verdict.successor)

    def _could_go_on(self, roster: Roster) -> bool:
        """Whether enough of the roster is still here to be the next round's quorum; if not, a new roster is formed.

        A committed value makes its roster the electorate, and an electorate that has lost its quorum stays stuck. Who
        withheld its update is here as long as its stream is.
        """
        present = {self._ctx.me, *(guest.peer for guest in self._guests())}
        after = Electorate.after(self._ctx.run, roster, self._ctx.electorate)
        return after.may_thin or after.has_quorum(present | self._promises.keys())

    # --- deciding -----------------------------------------------------------------------------------------------------

    async def _decide(self, held: Candidate) -> Outcome:
        """Proposes, counts votes, and hands the certificate to everybody who should know."""
        ctx = self._ctx
        began_s = monotonic_s()
        own_vote = await vote(ctx, self._ballot, held)
        if own_vote is None:
            return Aborted("this peer has promised a later attempt")
        self.has_voted = True
        proposal = ctx.seal(wire.Proposal(ctx.run.id, ctx.round, self._ballot, held.digest))
        whole, brief = wire.Propose(proposal, held.encoded), wire.Propose(proposal, without_roster(held.value))
        guests = self._guests()
        for guest in guests:
            guest.tell(brief if guest in self._told else whole)
        until_s = began_s + ctx.limit_s(Phase.VOTE, self._ballot.attempt)
        electorate = ctx.electorate
        _, roster = ctx.head.mark.read(ctx.run, held.encoded)
        members = frozenset(roster.peers)
        # Whose passport the value itself withdraws has a voice only with a seat in its roster, on another passport.
        silent = electorate.withdrawn(rules_after(ctx.head.rules, held.value)) - members
        votes = {ctx.me: own_vote}
        asked_witnesses = False
        while True:
            for guest in guests:
                is_new = guest.peer not in votes and guest.peer not in silent
                if guest.vote is not None and is_new and self._is_vote(guest, held.digest):
                    votes[guest.peer] = guest.vote
            is_again = roster.ballot < self._ballot
            if not asked_witnesses and (is_again or roster.voices.is_majority(votes)):
                asked_witnesses = True
                # What a witness goes by; of a value proposed again also those vote who are not in its roster.
                shown = (own_vote,) if is_again else tuple(votes[peer] for peer in sorted(members & votes.keys()))
                question = wire.AskVote(proposal, held.encoded, shown)
                for peer in sorted(electorate.witnesses - {ctx.me}):
                    self._helpers.append(asyncio.create_task(self._ask_vote(peer, question, held, votes)))
            if electorate.decides(votes, members):
                break
            left_s = until_s - monotonic_s()
            if left_s <= 0 or not await ctx.seats.changed.wait_within(left_s):
                return InDoubt("too few votes came back in time")
            await asyncio.sleep(_LOOK_S_PER_GUEST * len(guests))
        ctx.book.observe(Phase.VOTE, monotonic_s() - began_s)
        voters = sorted(electorate.voters & votes.keys())
        counted = voters if electorate.may_thin else electorate.first_quorum(voters)
        certificate = tuple(votes[peer] for peer in counted)
        record = wire.encode(Record(held.encoded, certificate, electorate.restarts))
        outcome = await commit(ctx, record, held, [])
        whole, brief = (
            wire.Committed(record),
            wire.Committed(wire.encode(Record(VALUE_LEFT_OUT, certificate, electorate.restarts))),
        )
        for guest in guests:
            guest.tell(whole if guest.vote is None or guest.vote is not votes.get(guest.peer) else brief)
        told = {ctx.me, *(guest.peer for guest in guests)}
        others = (electorate.voters | ctx.announced().keys()) - told
        ctx.in_background(ctx.push(sorted(others), wire.PushRecord(record)))
        return outcome

    def _is_vote(self, guest: Guest, digest: bytes) -> bool:
        sealed = guest.vote
        if sealed is None or sealed.author != guest.peer:
            return False
        try:
            given = wire.unseal(sealed, wire.Vote)
        except ProtocolError as error:
            self._ctx.sink(events.FrameRefused(peer=guest.peer, reason=str(error)))
            return False
        return given == wire.Vote(self._ctx.run.id, self._ctx.round, self._ballot, digest)

    async def _ask_vote(
        self, peer: PeerId, question: wire.AskVote, held: Candidate, votes: dict[PeerId, wire.Sealed]
    ) -> None:
        ctx = self._ctx
        wanted = wire.Vote(ctx.run.id, ctx.round, self._ballot, held.digest)
        try:
            given = await ask_vote(ctx, peer, question, wanted)
            if given is not None:
                votes[peer] = given
                ctx.seats.changed.fire()
        except (StreamLostError, ProtocolError):
            return  # a witness that cannot be reached has not voted
