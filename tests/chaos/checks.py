"""What must hold of a simulated swarm at any instant, read from disks and memories, never from what peers say of it.

heads      each live peer holds the state it says it holds, and no two peers hold different states of one round
records    all records of a round, on all disks, have one digest; each disk's chain verifies from the charter
replay     state 0 and the results that records name give, outer step by outer step, exactly the states in the records
promises   no acceptor ever took a promise back, voted below one, or voted for two values in one ballot
agreement  one value per ballot; once a quorum voted for a value, no higher ballot of that round has another, and every
           record is of such a value
bugs       no task of any peer died of an exception
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from swarm import events
from swarm.net import wire
from swarm.round.acceptor import AcceptorState
from swarm.state.records import NO_RECORD, Decided, Electorate, value_digest, verify_record
from swarm.vector.digest import state_digest

if TYPE_CHECKING:
    from tests.simulation import SimPeer, Simulation

Vote = tuple[int, wire.Ballot, bytes]
"""Round, ballot, value digest."""


def check_all(sim: "Simulation") -> None:
    """Raises AssertionError with what does not hold."""
    check_bugs(sim)
    check_heads(sim)
    chain = check_records(sim)
    check_replay(sim, chain)
    check_promises(sim)
    check_agreement(sim, chain)


def check_bugs(sim: "Simulation") -> None:
    for error in sim.network.errors:
        raise AssertionError(f"a task that served a stream died: {error!r}") from error
    for error in sim.errors:
        raise AssertionError(f"a peer died: {error!r}") from error


def check_heads(sim: "Simulation") -> None:
    by_round: dict[int, set[str]] = {}
    for peer in sim.peers.values():
        for event in (*peer.of(events.RoundCommitted), *peer.of(events.RoundRejected)):
            by_round.setdefault(event.round, set()).add(event.state_digest)
        if peer.engine is not None and peer.engine.ctx is not None:
            head = peer.engine.ctx.head
            by_round.setdefault(head.round, set()).add(head.state_digest.hex())
            actual = state_digest(sim.run_info.grid, head.base_N, head.outer_VN)
            assert actual == head.state_digest, f"peer {peer.number} does not hold what it says it holds"
    split = {number: digests for number, digests in by_round.items() if len(digests) > 1}
    assert not split, f"rounds with more than one committed state: {split}"


def check_records(sim: "Simulation") -> list[Decided]:
    """The one chain all disks agree on, from round 1 on."""
    longest: list[Decided] = []
    for peer in sim.peers.values():
        chain = list(_chain(sim, peer))
        for mine, theirs in zip(chain, longest, strict=False):
            assert mine.digest == theirs.digest, f"two records of round {mine.value.round}"
        longest = max(longest, chain, key=len)
    for peer in sim.peers.values():
        if peer.engine is not None and peer.engine.ctx is not None and peer.engine.ctx.head.round:
            head = peer.engine.ctx.head
            assert head.round <= len(longest), f"peer {peer.number} acts on round {head.round}: no record"
            assert head.record_digest == longest[head.round - 1].digest
            assert head.state_digest == longest[head.round - 1].value.state_digest
    return longest


def _chain(sim: "Simulation", peer: "SimPeer") -> Iterator[Decided]:
    run = sim.run_info
    electorate, previous, number = Electorate.genesis(run), NO_RECORD, 1
    base_digest = bytes.fromhex(run.charter.model.state_digest)
    while (data := peer.store.load_record(number)) is not None:
        decided = verify_record(data, run, electorate, round_number=number, previous=previous, base_digest=base_digest)
        yield decided
        assert decided.rules is not None, "a verified record says under which rules it was made"
        run = run.under(decided.rules)
        electorate, previous = Electorate.after(run, decided.roster, decided.voters), decided.digest
        base_digest, number = decided.value.state_digest, number + 1


def check_replay(sim: "Simulation", chain: list[Decided]) -> None:
    run = sim.run_info
    vectors = (sim.base_zero(), *(np.zeros(run.grid.elements, np.float32) for _ in range(run.rule.vectors)))
    written = {digest: data for peer in sim.peers.values() for digest, data in peer.disk.results.items()}
    for decided in chain:
        if decided.value.is_rejected:
            assert decided.value.state_digest == decided.value.base_digest
            continue
        results = written.get(decided.digest)
        assert results is not None, f"round {decided.value.round} is committed and its results are on no disk"
        for chunk, data in enumerate(results):
            bounds = run.grid.bounds(chunk)
            mean_N = run.codec.decode(data, run.grid.length(chunk))
            run.rule.step(
                vectors[0][bounds], tuple(vector[bounds] for vector in vectors[1:]), mean_N, decided.value.round
            )
        replayed = state_digest(run.grid, vectors[0], vectors[1:])
        assert replayed == decided.value.state_digest, f"round {decided.value.round} does not replay"


def check_promises(sim: "Simulation") -> None:
    for peer in sim.peers.values():
        promised: dict[int, wire.Ballot] = {}
        voted: dict[tuple[int, wire.Ballot], bytes] = {}
        for state in _states(peer):
            if state.promised is not None:
                before = promised.get(state.round)
                assert before is None or before <= state.promised, f"peer {peer.number} took a promise back"
                promised[state.round] = state.promised
            if state.accepted is not None:
                key = (state.round, state.accepted.ballot)
                if key not in voted:
                    assert state.promised is not None and state.accepted.ballot >= promised[state.round], (
                        f"peer {peer.number} voted below its promise in round {state.round}"
                    )
                once = voted.setdefault(key, state.accepted.value)
                assert once == state.accepted.value, f"peer {peer.number} voted twice in one ballot"


def _states(peer: "SimPeer") -> Iterator[AcceptorState]:
    """Every state of every round that was ever on a peer's disk."""
    for state in peer.disk.promises:
        if state.before is not None:
            yield state.before
        yield state


def is_majority(electorate: Electorate, peers: set[str]) -> bool:
    """Whether these are a quorum, counted the slow obvious way: one voice for each member and for each witness."""
    member_of = dict(electorate.members)
    groups: dict[str, set[str]] = {}
    for peer in electorate.peers - electorate.witnesses:
        groups.setdefault(member_of.get(peer, peer), set()).add(peer)
    if len(groups) == 1:
        groups = {peer: {peer} for peer in electorate.peers}
    groups |= {witness: {witness} for witness in electorate.witnesses}
    return sum(Fraction(len(group & peers), len(group)) for group in groups.values()) > Fraction(len(groups), 2)


def check_agreement(sim: "Simulation", chain: list[Decided]) -> None:
    voters: dict[Vote, set[str]] = {}
    for peer in sim.peers.values():
        for state in _states(peer):
            if state.accepted is not None:
                vote = (state.round, state.accepted.ballot, value_digest(state.accepted.value))
                voters.setdefault(vote, set()).add(peer.id)
    by_ballot: dict[tuple[int, wire.Ballot], bytes] = {}
    for number, ballot, digest in voters:
        once = by_ballot.setdefault((number, ballot), digest)
        assert once == digest, f"two values in one ballot of round {number}"
    committed = {decided.value.round: decided.digest for decided in chain}
    electorates = {1: Electorate.genesis(sim.run_info)}
    for decided in chain:
        if decided.voters is not None:
            electorates[decided.value.round] = decided.voters
        electorates[decided.value.round + 1] = Electorate.after(sim.run_info, decided.roster, decided.voters)
    chosen: dict[int, wire.Ballot] = {}
    for (number, ballot, digest), peers in sorted(voters.items()):
        electorate = electorates.get(number)
        if electorate is None or not is_majority(electorate, peers):
            continue
        chosen.setdefault(number, ballot)
        assert committed.get(number, digest) == digest, f"round {number} has a record and a quorum for something else"
    for number, ballot, digest in voters:
        first = chosen.get(number)
        if first is not None and ballot >= first:
            assert by_ballot[number, first] == digest, f"round {number} was decided and then voted on differently"
    for decided in chain:
        assert decided.value.round in chosen, f"round {decided.value.round} has no quorum of votes on disks"
