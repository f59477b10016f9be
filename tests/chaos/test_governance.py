"""Rules that change while a swarm runs: documents dropped on one peer are followed by all, and the bases stay equal."""

import asyncio

import msgspec
import pytest

from swarm import events
from swarm.charter.epochs import Rules
from swarm.errors import PassportError
from swarm.identity.peer_id import PeerId
from swarm.net.memory import run_virtual
from swarm.round.ruling import told_documents
from swarm.state.chain import last_mark
from tests.governing import amendment, revocation
from tests.simulation import MEMBER_KEYS, REGIONS, Simulation, make_charter, peer_identity


async def drop(sim: Simulation, number: int, *documents: bytes) -> None:
    """Puts files into a running peer's STATE/governance."""
    for data in documents:
        await sim.peers[number].store.save_document(f"dropped-{hash(data)}.json", data)


def in_force(sim: Simulation, number: int) -> Rules:
    """What a peer holds to now."""
    engine = sim.peers[number].engine
    assert engine is not None and engine.ctx is not None
    return engine.ctx.run.rules


def test_an_amendment_and_a_revocation_take_effect_between_rounds_and_records_verify_from_the_charter() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(5, members=5), seed=3)
        genesis = sim.run_info.rules
        for number in range(5):
            await sim.start(number, jurisdiction="DE")
        await sim.until_round(2)
        changed = amendment(genesis, MEMBER_KEYS[:4], from_round=5, reduce={"min_contributors": 2})
        await drop(sim, 1, changed)
        await sim.until_round(6)
        assert {sim.decided(0, number).value.epoch for number in (1, 2, 3, 4)} == {0}
        assert sim.decided(0, 5).value.epoch == 1 and sim.decided(3, 6).value.epoch == 1
        assert sim.decided(0, 5).value.documents == (changed,) and sim.decided(0, 6).value.documents == ()
        assert [in_force(sim, number).charter.reduce.min_contributors for number in range(5)] == [2] * 5

        gone = peer_identity(4).peer_id
        await drop(sim, 3, revocation(genesis.run_id, MEMBER_KEYS[4].peer_id, [MEMBER_KEYS[4]], peer=gone))
        at = sim.committed(0)
        await sim.until_round(at + 4, 0, 1, 2, 3)
        last = sim.decided(0, at + 4)
        assert gone not in last.roster.peers and len(last.roster.peers) == 4
        assert all(in_force(sim, number).revoked.entries for number in range(4))
        keeping = sim.peers[4].engine
        assert keeping is not None
        ended = [task.exception() for task in keeping.keeping if task.done()]
        assert any(isinstance(error, PassportError) and "revoked" in str(error) for error in ended)
        refused = [event for number in range(4) for event in sim.peers[number].of(events.FrameRefused)]
        assert {event.reason for event in refused if event.peer == gone} >= {"not admitted: revoked"}
        assert len({sim.decided(n, at + 4).value.state_digest for n in range(4)}) == 1

        # An auditor has the charter and the records, and nothing else.
        mark = last_mark(sim.run_info, sim.peers[2].store.load_record)
        assert mark.round >= at + 4 and mark.rules == in_force(sim, 2) and mark.rules.epoch == 1
        # The revoked one goes with all it has: its own chain verifies without anybody.
        assert last_mark(sim.run_info, sim.peers[4].store.load_record).round >= at
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_peers_that_come_late_or_come_back_learn_the_rules_from_records() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(3, members=4), seed=4)
        genesis = sim.run_info.rules
        for number in range(3):
            await sim.start(number)
        await drop(sim, 0, amendment(genesis, MEMBER_KEYS[:3], deadlines={"floor_s": 0.5}))
        await sim.until_round(3)
        sim.kill(2)
        await drop(sim, 1, amendment(in_force(sim, 1), MEMBER_KEYS[:3], deadlines={"floor_s": 0.6}))
        await sim.until_round(sim.committed(0) + 3, 0, 1)
        await sim.start(2)
        await sim.start(3)
        await sim.until_round(sim.committed(0) + 3)
        assert [in_force(sim, number).epoch for number in range(4)] == [2] * 4
        assert in_force(sim, 3).charter.deadlines.floor_s == 0.6
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_a_second_amendment_of_one_epoch_is_refused_and_its_signers_are_named() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(3, members=3), seed=5)
        genesis = sim.run_info.rules
        for number in range(3):
            await sim.start(number)
        await drop(sim, 0, amendment(genesis, MEMBER_KEYS[:3], deadlines={"floor_s": 0.5}))
        await sim.until_round(4)
        await drop(sim, 2, amendment(genesis, MEMBER_KEYS[:3], deadlines={"floor_s": 0.9}))
        await sim.until_round(7)
        assert {in_force(sim, number).charter.deadlines.floor_s for number in range(3)} == {0.5}
        (said,) = sim.peers[2].of(events.MembersEquivocated)
        assert said.epoch == 1 and set(said.signers) == {key.peer_id for key in MEMBER_KEYS[:3]}
        sim.check()
        await sim.finish()

    run_virtual(main())


@pytest.mark.parametrize("first", [0, 2])
def test_rules_that_only_one_peer_holds_when_a_round_forms_are_exchanged_and_the_round_commits(first: int) -> None:
    """The push is lost: the others learn of the document from its join, or its table."""

    async def main() -> None:
        sim = Simulation(make_charter(3, members=3), seed=6)
        for number in range(3):
            await sim.start(number)
        await sim.until_round(2)
        engine = sim.peers[first].engine
        assert engine is not None and engine.ctx is not None
        told_documents(engine.ctx, [amendment(sim.run_info.rules, MEMBER_KEYS[:3], deadlines={"floor_s": 0.5})])
        await sim.until_round(6, within_s=60)
        assert [in_force(sim, number).epoch for number in range(3)] == [1] * 3
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_passports_that_lapsed_together_and_were_renewed_stop_nobody() -> None:
    """The last record names the old ones: whoever announces itself with a new one may lead again."""

    async def main() -> None:
        sim = Simulation(make_charter(3, members=3, regions=REGIONS[:1]), seed=8)
        for number in range(3):
            await sim.start(number, expires_in_s=1012.0)
        await sim.until_round(2)
        for number in range(3):
            sim.kill(number)
        await asyncio.sleep(30)
        at = max(sim.committed(number) for number in range(3))
        for number in range(3):
            await sim.start(number)
        await sim.until_round(at + 2)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_passport_that_expires_within_a_group_serves_until_the_group_ends_and_not_in_the_next() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(4, members=4, regions=REGIONS[:1]), seed=8)
        for number in range(3):
            await sim.start(number)
        short = await sim.start(3, expires_in_s=1008.0)
        await sim.until_round(1)
        was_in = [n for n in range(1, sim.committed(0) + 1) if short.id in sim.decided(0, n).roster.peers]
        assert was_in, "it took part while its passport was good"
        await asyncio.sleep(max(0.0, 20.0 - asyncio.get_running_loop().time()))
        at = sim.committed(0)
        await sim.until_round(at + 2, 0, 1, 2)
        assert short.id not in sim.decided(0, at + 2).roster.peers
        assert any(
            "expired" in event.reason
            for event in sim.peers[0].of(events.FrameRefused) + sim.peers[1].of(events.FrameRefused)
        )
        assert short.engine is not None
        ended = [task.exception() for task in short.engine.keeping if task.done()]
        assert any(isinstance(error, PassportError) and "expired" in str(error) for error in ended)
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_a_value_that_has_votes_is_judged_by_the_rules_it_was_made_under() -> None:
    """Two of three vote and all die. One of them and the third come back, and both hold stricter rules by now."""

    async def main() -> None:
        sim = Simulation(make_charter(3, members=3), seed=7)
        genesis = sim.run_info.rules
        for number in range(3):
            await sim.start(number)
        await sim.until_round(2)
        numbers = {peer.id: number for number, peer in sim.peers.items()}
        opened = max(map(sim.committed, sim.peers)) + 1
        proposed: list[int] = []
        voted = asyncio.Event()

        def on_frame(source: PeerId, target: PeerId, frame: bytes) -> None:
            message = msgspec.msgpack.decode(frame)
            if message["t"] == "Propose" and not proposed and sim.committed(numbers[source]) == opened - 1:
                proposed.extend((numbers[source], numbers[target]))
                sim.kill(numbers[target])  # it has voted for nothing, and what it reduced is gone
            elif message["t"] == "CastVote" and proposed and not voted.is_set():
                for number in {numbers[source], proposed[0]}:
                    sim.kill(number)
                voted.set()

        sim.network.on_frame = on_frame
        async with asyncio.timeout(60):
            await voted.wait()
        leader, third = proposed
        stricter = amendment(genesis, MEMBER_KEYS[:3], reduce={"max_rms": 1e-9})
        for number in proposed:
            await drop(sim, number, stricter)
            await sim.start(number)
        await sim.until_round(opened, leader, third, within_s=120)
        assert sim.decided(third, opened).value.epoch == 0
        assert {in_force(sim, number).charter.reduce.max_rms for number in proposed} == {1e-9}
        sim.check()
        await sim.finish()

    run_virtual(main())
