"""What a witness promises and votes for: the open round of its chain, to the leader of a ballot that there is."""

import asyncio

import pytest

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.round.acceptor import Acceptor, AcceptorState
from swarm.round.witness import Elsewhere, Witness
from swarm.state.chain import Chain
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from tests.simulation import peer_identity
from tests.unit.state.samples import MadeRound, make_chain, small_charter, vote_for

RUN = Run(small_charter(witnesses=1))
FIRST, SECOND = make_chain(RUN, 2)
SELF = peer_identity(90)
ROGUE = peer_identity(5)


def make_witness() -> Witness:
    store = MemoryStore()
    return Witness(RUN, SELF, Acceptor(store), Chain(RUN, store))


def question(made: MadeRound, voters: int, ballot: wire.Ballot | None = None) -> wire.AskVote:
    """Asks for a vote on a made round's value, in its own ballot or a later one, with the votes of so many."""
    ballot = made.ballot if ballot is None else ballot
    leader = next(one for one in made.crew if one.peer_id == ballot.leader)
    crew = [leader, *(one for one in made.crew if one is not leader)]
    proposal = wire.seal(leader, wire.Proposal(RUN.id, made.value.round, ballot, made.digest))
    vote = vote_for(RUN, made.value.round, ballot, made.digest)
    return wire.AskVote(proposal, made.encoded, tuple(wire.seal(one, vote) for one in crew[:voters]))


def prepare(witness: Witness, made: MadeRound, asker: Identity | None = None) -> wire.PromiseIs | Elsewhere:
    remote = made.ballot.leader if asker is None else asker.peer_id
    return asyncio.run(witness.prepare(wire.Prepare(made.value.round, made.ballot), remote))


def test_it_promises_the_open_round_to_the_leader_of_the_ballot() -> None:
    witness = make_witness()
    assert isinstance(prepare(witness, FIRST), wire.PromiseIs)
    assert witness.acceptor.promised_in(1) == FIRST.ballot


def test_nobody_else_gets_a_promise() -> None:
    witness = make_witness()
    assert prepare(witness, FIRST, ROGUE) == wire.Refusal(
        "not_the_leader", "only the leader of a ballot may ask about it"
    )
    own = wire.Prepare(1, wire.Ballot(1, ROGUE.peer_id))
    answer = asyncio.run(witness.prepare(own, ROGUE.peer_id))
    assert isinstance(answer, wire.Refusal) and answer.code == "no_such_ballot"
    assert witness.acceptor.state == AcceptorState(0)


def test_a_later_round_needs_its_records_first() -> None:
    witness = make_witness()
    assert prepare(witness, SECOND) == wire.NeedRecords(1)
    far = wire.Prepare(wire.MAX_ROUND, wire.Ballot(1, ROGUE.peer_id))
    assert asyncio.run(witness.prepare(far, ROGUE.peer_id)) == wire.NeedRecords(1)
    assert witness.acceptor.state == AcceptorState(0)
    asyncio.run(witness.learn(FIRST.record))
    assert isinstance(prepare(witness, SECOND), wire.PromiseIs)


def test_of_a_round_that_is_over_it_gives_the_record() -> None:
    witness = make_witness()
    asyncio.run(witness.learn(FIRST.record))
    assert prepare(witness, FIRST) == wire.RecordIs(FIRST.record)
    assert asyncio.run(witness.vote(question(FIRST, 3), FIRST.ballot.leader)) == wire.RecordIs(FIRST.record)


def test_it_votes_for_what_more_than_half_of_the_roster_holds() -> None:
    witness = make_witness()
    refused = asyncio.run(witness.vote(question(FIRST, 1), FIRST.ballot.leader))
    assert isinstance(refused, wire.Refusal) and refused.code == "too_few_holders"
    answer = asyncio.run(witness.vote(question(FIRST, 2), FIRST.ballot.leader))
    assert isinstance(answer, wire.CastVote)
    assert wire.unseal(answer.vote, wire.Vote) == vote_for(RUN, 1, FIRST.ballot, FIRST.digest)


def test_what_a_later_ballot_proposes_again_needs_its_leaders_vote_only() -> None:
    witness = make_witness()
    again = FIRST.before.electorate.ballot(RUN.id, 1, FIRST.ballot.attempt + 1)
    assert isinstance(asyncio.run(witness.vote(question(FIRST, 0, again), again.leader)), wire.Refusal)
    assert isinstance(asyncio.run(witness.vote(question(FIRST, 1, again), again.leader)), wire.CastVote)


def test_a_value_that_cannot_follow_its_chain_gets_no_vote() -> None:
    witness = make_witness()
    asyncio.run(witness.learn(FIRST.record))
    bent = question(SECOND, 3)
    proposal = wire.unseal(bent.proposal, wire.Proposal)
    leader = next(one for one in SECOND.crew if one.peer_id == proposal.ballot.leader)
    other = wire.seal(leader, wire.Proposal(RUN.id, 2, proposal.ballot, FIRST.digest))
    with pytest.raises(ProtocolError):
        asyncio.run(witness.vote(wire.AskVote(other, FIRST.encoded, ()), leader.peer_id))
    assert witness.acceptor.state == AcceptorState(0)
