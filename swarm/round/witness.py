"""The acceptor's side towards leaders it has not joined: what a witness does, and what any peer can do.

A witness votes without holding the bytes, so it votes only for values that more than half of the roster has voted for:
then a majority of those who do hold them has put them on disk. A value that a later attempt proposes again needs its
leader's vote only: it is proposed again because members are missing, and nothing else may be proposed in its place.
"""

from dataclasses import dataclass

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.round.acceptor import Acceptor
from swarm.state.records import Value, count_votes, value_digest
from swarm.state.roster import read_roster
from swarm.state.run import Run


@dataclass(frozen=True)
class Witness:
    """Promises and votes for rounds it takes no other part in."""

    run: Run
    identity: Identity
    acceptor: Acceptor

    async def prepare(self, request: wire.Prepare) -> wire.PromiseIs | wire.Refusal:
        """A durable promise to vote in no lower ballot of the round."""
        if not 1 <= request.round <= wire.MAX_ROUND:
            raise ProtocolError(f"there is no round {request.round}")
        if not await self.acceptor.promise(request.round, request.ballot):
            return wire.Refusal("promised", "a later attempt or round has this peer's promise")
        promise = wire.Promise(self.run.id, request.round, request.ballot, self.acceptor.accepted_in(request.round))
        return wire.PromiseIs(wire.seal(self.identity, promise))

    async def vote(self, request: wire.AskVote) -> wire.CastVote | wire.Refusal:
        """A durable vote for a value that more than half of its roster holds."""
        proposal = wire.unseal(request.proposal, wire.Proposal)
        digest = value_digest(request.value)
        if request.proposal.author != proposal.ballot.leader or proposal.value_digest != digest:
            raise ProtocolError("a proposal that is not its leader's, or of another value")
        value = wire.decode(request.value, Value)
        if (value.run_id, value.round) != (self.run.id, proposal.round):
            raise ProtocolError("a value of another run or round")
        roster = read_roster(value.roster, self.run, value.base_digest)
        if len(request.votes) > len(roster.seats):
            raise ProtocolError("more votes than there are peers in the roster")
        by_ballot = count_votes(request.votes, self.run, value.round, digest)
        holders = by_ballot.get(proposal.ballot, frozenset()) & frozenset(roster.peers)
        is_again = proposal.ballot > roster.ballot and proposal.ballot.leader in by_ballot.get(proposal.ballot, ())
        if len(holders) * 2 <= len(roster.seats) and not is_again:
            return wire.Refusal("too_few_holders", "less than half of the roster has voted for this value")
        if not await self.acceptor.accept(proposal.round, proposal.ballot, request.value):
            return wire.Refusal("promised", "a later attempt or round has this peer's promise")
        vote = wire.Vote(self.run.id, proposal.round, proposal.ballot, digest)
        return wire.CastVote(wire.seal(self.identity, vote))
