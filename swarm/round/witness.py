"""A witness: an acceptor that holds no state and votes for leaders it has not joined.

It follows the chain of records, so it knows which round is open, whose turn it is to lead, and what a value may look
like: nobody can have it promise a round that is not next, or a ballot that is not theirs. It votes without holding the
bytes, so only for values that more than half of the roster's voices (members', swarm.state.voices) have voted for: then
a majority of those who do hold them has put them on disk. A value that a later attempt proposes again needs its
leader's vote only: it is proposed again because members are missing, and nothing else may be proposed in its place.
Like an elector it votes for nothing whose outcome would be the other one with the quality votes that it was told.
"""

from dataclasses import dataclass, field

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.acceptor import Acceptor
from swarm.round.heard import Heard, stands
from swarm.state.chain import Chain, Mark
from swarm.state.records import count_votes, rules_after, value_digest
from swarm.state.run import Run

Elsewhere = wire.NeedRecords | wire.RecordIs | wire.Refusal
"""What a witness says about a round that is not the one after its last record, or to a peer that does not lead."""


@dataclass(frozen=True)
class Witness:
    """Promises and votes for rounds it takes no other part in."""

    run: Run
    identity: Identity
    acceptor: Acceptor
    chain: Chain
    heard: Heard = field(default_factory=Heard)
    """Quality votes that members have told it themselves."""

    async def learn(self, record: bytes) -> None:
        """Follows the chain by one record. Raises ProtocolError if it is for the open round and does not verify."""
        await self.chain.advance(record)

    def hear(self, author: PeerId, word: wire.CastQuality | wire.NoQuality) -> None:
        """What a member says of a candidate base. Raises ProtocolError for a vote that is not its own."""
        self.heard.note(self.run, self.chain.mark.round + 1, author, word)

    async def restart(self, documents: tuple[bytes, ...]) -> None:
        """Follows the founders to another electorate. Raises ProtocolError if they are not theirs, or do not fit."""

        async def going_back(mark: Mark) -> None:
            await self.acceptor.begin_term(mark.round, mark.electorate.term)

        await self.chain.restart(documents, going_back)

    @property
    def restarts(self) -> tuple[bytes, ...]:
        """The newest restart it has taken, with those it followed."""
        return self.chain.restarts

    async def prepare(self, request: wire.Prepare, remote: PeerId) -> wire.PromiseIs | Elsewhere:
        """A durable promise to vote in no lower ballot of the open round."""
        elsewhere = self._elsewhere(request.round, request.ballot, remote)
        if elsewhere is not None:
            return elsewhere
        if not await self.acceptor.promise(request.round, request.ballot):
            return wire.Refusal("promised", "a later attempt has this witness's promise")
        promise = wire.Promise(self.run.id, request.round, request.ballot, self.acceptor.accepted_in(request.round))
        return wire.PromiseIs(wire.seal(self.identity, promise))

    async def vote(self, request: wire.AskVote, remote: PeerId) -> wire.CastVote | Elsewhere:
        """A durable vote for a value of the open round that more than half of its roster's voices hold."""
        proposal = wire.unseal(request.proposal, wire.Proposal)
        digest = value_digest(request.value)
        if request.proposal.author != proposal.ballot.leader or proposal.run_id != self.run.id:
            raise ProtocolError("a proposal that is not its leader's, or of another run")
        if proposal.value_digest != digest:
            raise ProtocolError("a proposal whose value is another one")
        elsewhere = self._elsewhere(proposal.round, proposal.ballot, remote)
        if elsewhere is not None:
            return elsewhere
        value, roster = self.chain.mark.read(self.run, request.value)
        if len(request.votes) > len(roster.seats):
            raise ProtocolError("more votes than there are peers in the roster")
        by_ballot = count_votes(request.votes, self.run, proposal.round, digest)
        voted = by_ballot.get(proposal.ballot, frozenset())
        is_again = proposal.ballot > roster.ballot and proposal.ballot.leader in voted
        if not roster.voices.is_majority(voted) and not is_again:
            return wire.Refusal("too_few_holders", "no more than half of the roster's voices are for this value")
        run = self.run.under(rules_after(self.chain.mark.rules, value))
        if stands(roster.ballot, proposal.ballot) and self.heard.left_out(run, roster, value):
            return wire.Refusal("votes_left_out", "its outcome would be the other one with all its quality votes")
        if not await self.acceptor.accept(proposal.round, proposal.ballot, request.value):
            return wire.Refusal("promised", "a later attempt has this witness's promise")
        vote = wire.Vote(self.run.id, proposal.round, proposal.ballot, digest)
        return wire.CastVote(wire.seal(self.identity, vote))

    def _elsewhere(self, round_number: int, ballot: wire.Ballot, remote: PeerId) -> Elsewhere | None:
        """None if this is the open round and `remote` leads this ballot of it."""
        mark = self.chain.mark
        if not 1 <= round_number <= wire.MAX_ROUND:
            raise ProtocolError(f"there is no round {round_number}")
        if remote != ballot.leader:
            return wire.Refusal("not_the_leader", "only the leader of a ballot may ask about it")
        if round_number > mark.round + 1:
            return wire.NeedRecords(mark.round + 1)
        record = self.chain.record(round_number)
        if record is not None:
            return wire.RecordIs(record)
        if not mark.electorate.has_ballot(self.run.id, round_number, ballot):
            return wire.Refusal("no_such_ballot", f"no attempt of round {round_number} has this ballot")
        return None
