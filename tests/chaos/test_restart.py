"""The founders' restart: a majority dies for good, k founders name a new electorate, and the run goes on from there."""

import asyncio

import msgspec
import pytest

from swarm import events
from swarm.charter import restart as restarts
from swarm.charter.manifest import Charter, Founders
from swarm.charter.restart import Restart, SignedRestart
from swarm.charter.signing import run_id
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.state.chain import last_mark
from swarm.state.records import Record
from tests.simulation import MEMBER_KEYS, SimPeer, Simulation, make_charter, peer_identity

FOUNDERS = MEMBER_KEYS[:3]
IDS = tuple(peer_identity(number).peer_id for number in range(8))


def charter(genesis: int = 5, *, witnesses: tuple[PeerId, ...] = ()) -> Charter:
    made = make_charter(genesis, witnesses=witnesses, ceiling_s=6.0)
    return msgspec.structs.replace(made, founders=Founders(keys=tuple(key.peer_id for key in FOUNDERS), threshold=2))


def document(
    rules: Charter,
    round_number: int,
    record: bytes,
    peers: tuple[int, ...],
    *,
    term: int = 1,
    signers: int = 2,
    witnesses: tuple[PeerId, ...] = (),
) -> bytes:
    signed = SignedRestart(
        restart=Restart(
            run_id=run_id(rules),
            term=term,
            round=round_number,
            record=record.hex(),
            peers=tuple(IDS[number] for number in peers),
            witnesses=witnesses,
        )
    )
    for key in FOUNDERS[:signers]:
        signed = restarts.sign_restart(signed, rules, key)
    return restarts.encode(signed)


def head_of(sim: Simulation, number: int) -> tuple[int, bytes]:
    peer = sim.peers[number]
    assert peer.engine is not None and peer.engine.ctx is not None
    return peer.engine.ctx.head.round, peer.engine.ctx.head.record_digest


def give(peer: SimPeer, *documents: bytes) -> None:
    assert peer.engine is not None
    peer.engine.restart(documents)


async def thinned(sim: Simulation, dead: tuple[int, ...]) -> None:
    """Five peers commit two rounds, then some die for good and what is left has stood still for a while."""
    for number in range(len(sim.charter.genesis.peers)):
        await sim.start(number)
    await sim.until_round(2)
    for number in dead:
        sim.kill(number)
    await asyncio.sleep(30)


def test_a_lost_majority_comes_back_by_the_founders_and_not_without_them() -> None:
    async def main() -> None:
        sim = Simulation(charter())
        await thinned(sim, (2, 3, 4))
        stood, record = head_of(sim, 0)
        await asyncio.sleep(60)
        assert head_of(sim, 0) == (stood, record), "a minority has committed"
        give(sim.peers[0], document(sim.charter, stood, record, (0, 1)))
        await sim.until_round(stood + 3, 0, 1)
        assert [event.term for event in sim.peers[1].of(events.Restarted)] == [1], "handed over by the protocol"
        await sim.start(5)
        await sim.until_round(stood + 6)
        await sim.start(2)  # the dead come back, and their term is over
        await sim.until_round(stood + 9)
        assert sim.peers[2].engine is not None
        await sim.finish()
        sim.check()
        mark = last_mark(sim.run_info, sim.peers[5].store.load_record)
        assert (mark.round, mark.electorate.term) == (sim.committed(5), 1), "a newcomer verifies it all"

    run_virtual(main())


def test_what_the_dead_may_have_decided_is_decided_again() -> None:
    """A quorum has voted, nobody has the certificate, and all of it but one peer dies: its vote binds the next term."""

    async def main() -> None:
        sim = Simulation(charter())
        for number in range(5):
            await sim.start(number)
        voted: dict[int, bytes] = {}
        left: list[int] = []

        def dies_when_a_quorum_has_voted(number: int) -> None:
            states = sim.peers[number].disk.promises
            vote = states[-1].accepted if states and states[-1].round == 4 else None
            if vote is None or number in voted or left:
                return
            voted[number] = vote.value
            leader = IDS.index(vote.ballot.leader)
            if len(voted) == 3 and number != leader:
                left.extend([number, min(set(range(5)) - voted.keys())])
                for dead in set(range(5)) - set(left):
                    sim.kill(dead)

        sim.on_write = dies_when_a_quorum_has_voted
        while not left:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        await asyncio.sleep(20)
        stood, record = head_of(sim, left[0])
        assert stood == 3
        give(sim.peers[left[1]], document(sim.charter, stood, record, (left[0], left[1])))
        await sim.until_round(6, *left)
        assert {value_on_disk(sim, number, 4) for number in left} == {voted[left[0]]}
        await sim.finish()
        sim.check()

    run_virtual(main())


def value_on_disk(sim: Simulation, number: int, round_number: int) -> bytes:
    return wire.decode(sim.decided(number, round_number).record, Record).value


def test_the_higher_term_wins_over_a_majority_that_was_only_away() -> None:
    """Founders restart the smaller side of a partition; when it heals, the larger side goes back and follows."""

    async def main() -> None:
        sim = Simulation(charter())
        for number in range(5):
            await sim.start(number)
        await sim.until_round(2)
        sim.network.partition([IDS[0], IDS[1]], [IDS[2], IDS[3], IDS[4]])
        await asyncio.sleep(12)
        stood, record = head_of(sim, 0)
        give(sim.peers[0], document(sim.charter, stood, record, (0, 1)))
        await sim.until_round(stood + 3, 0, 1)
        assert sim.committed(2) > stood, "the larger side has gone on meanwhile"
        sim.network.heal()
        await asyncio.sleep(20)
        await sim.until_round(max(sim.committed(number) for number in range(5)) + 2)
        switched = [sim.peers[number].of(events.ChainSwitched) for number in (2, 3, 4)]
        assert all(len(found) == 1 and found[0].fork_round == stood for found in switched)
        digests = {sim.decided(number, stood + 1).digest for number in range(5)}
        assert len(digests) == 1
        await sim.finish()

    run_virtual(main())


def test_a_round_that_founders_take_back_is_not_the_next_one_again() -> None:
    """Everybody has voted for it, and nobody brings that vote into the new term."""

    async def main() -> None:
        sim = Simulation(charter())
        for number in range(5):
            await sim.start(number)
        await sim.until_round(3)
        stood, _ = head_of(sim, 0)
        taken = sim.decided(0, stood).digest
        give(sim.peers[0], document(sim.charter, stood - 1, sim.decided(0, stood - 1).digest, (0, 1, 2, 3, 4)))
        await asyncio.sleep(20)
        await sim.until_round(max(sim.committed(number) for number in range(5)) + 1)
        found = [sim.decided(number, stood) for number in range(5)]
        marks = [last_mark(sim.run_info, sim.peers[number].store.load_record) for number in range(5)]
        assert {mark.electorate.term for mark in marks} == {1}
        assert len({decided.digest for decided in found}) == 1 and taken != found[0].digest
        await sim.finish()

    run_virtual(main())


def test_a_witness_that_was_away_while_founders_took_a_round_back_votes_again() -> None:
    async def main() -> None:
        sim = Simulation(charter(2, witnesses=(IDS[7],)))
        for number in range(2):
            await sim.start(number)
        await sim.start_witness(7)
        await sim.until_round(3)
        stood, _ = head_of(sim, 0)
        sim.kill(7)
        named = sim.decided(0, stood - 1).digest
        give(sim.peers[0], document(sim.charter, stood - 1, named, (0, 1), witnesses=(IDS[7],)))
        await asyncio.sleep(20)
        await sim.until_round(stood + 2, 0, 1)
        await sim.start_witness(7)
        await asyncio.sleep(10)
        sim.kill(1)
        at = sim.committed(0)
        await sim.until_round(at + 2, 0)  # one peer and the witness are two of three
        await sim.finish()

    run_virtual(main())


def test_two_restarts_of_one_record_and_a_witness_of_the_founders() -> None:
    async def main() -> None:
        sim = Simulation(charter())
        await thinned(sim, (2, 3, 4))
        stood, record = head_of(sim, 0)
        first = document(sim.charter, stood, record, (0, 2))  # 2 is dead: no quorum of this either
        give(sim.peers[0], first)
        await asyncio.sleep(20)
        assert sim.committed(0) == stood
        give(sim.peers[0], document(sim.charter, stood, record, (0, 1), term=2, witnesses=(IDS[7],)))
        await sim.start_witness(7)
        await sim.until_round(stood + 1, 0, 1)
        sim.kill(1)
        await sim.until_round(stood + 3, 0)  # one peer and the witness are two of three
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_what_is_refused_and_why() -> None:
    async def main() -> None:
        sim = Simulation(charter())
        await thinned(sim, (2, 3, 4))
        stood, record = head_of(sim, 0)
        rules, peer = sim.charter, sim.peers[0]
        good = document(rules, stood, record, (0, 1))
        for bad, reason in (
            (document(rules, stood, record, (0, 1), signers=1), "2 of 3 founders and has 1"),
            (signed_by_a_stranger(good), "not one of the charter's founders"),
            (good.replace(b'"term":1', b'"term":2'), "2 of 3 founders and has 0"),
            (document(rules, stood, record, (0, 1), term=1)[:-2], "restart: "),
            (another_runs(good), "another run"),
        ):
            with pytest.raises(ProtocolError, match=reason):
                give(peer, bad)
        give(peer, document(rules, stood, bytes(32), (0, 1)))
        await asyncio.sleep(10)
        refused = peer.of(events.RestartRefused)
        assert refused and "unknown record" in refused[0].reason
        assert sim.committed(0) == stood
        give(peer, good)
        await sim.until_round(stood + 1, 0, 1)
        with pytest.raises(ProtocolError, match="a second restart of term 1"):
            give(peer, document(rules, stood, record, (0, 1, 2)))
        give(peer, good)  # known already: nothing happens
        await sim.finish()
        sim.check()

    run_virtual(main())


def signed_by_a_stranger(data: bytes) -> bytes:
    signed = restarts.decode(data)
    entry = msgspec.structs.replace(signed.signatures[0], key=peer_identity(50).peer_id)
    return restarts.encode(msgspec.structs.replace(signed, signatures=(*signed.signatures, entry)))


def another_runs(data: bytes) -> bytes:
    signed = restarts.decode(data)
    payload = msgspec.structs.replace(signed.restart, run_id="0" * 64)
    return restarts.encode(msgspec.structs.replace(signed, restart=payload))
