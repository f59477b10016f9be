"""Checks of the checker: each plants one bug, and the checks must see it. A check that cannot fail is none."""

import asyncio
from collections.abc import Callable, Iterable
from unittest.mock import patch

import msgspec
import pytest

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.round import gathered, member
from swarm.round.acceptor import AcceptorState
from swarm.round.reduction import Reduction
from swarm.state.electorate import Electorate
from swarm.state.roster import result_digest
from tests.chaos.checks import check_agreement, check_bugs, check_heads, check_promises, check_records, check_replay
from tests.simulation import Simulation, make_charter


def swarm(peers: int = 3, seed: int = 1) -> Simulation:
    return Simulation(make_charter(peers, ceiling_s=5.0), seed=seed)


async def play(sim: Simulation, seconds: float) -> None:
    for number in range(len(sim.charter.genesis.peers)):
        await sim.start(number)
    await asyncio.sleep(seconds)
    await sim.finish()


def test_a_sound_swarm_passes() -> None:
    async def main() -> None:
        sim = swarm()
        await play(sim, 8.0)
        assert sim.committed(0) >= 3
        sim.check()

    run_virtual(main())


def test_a_vote_below_a_promise_is_seen() -> None:
    low, high = wire.Ballot(1, PeerId("a")), wire.Ballot(2, PeerId("b"))
    states = [AcceptorState(1, high), AcceptorState(1, low, wire.Accepted(low, b"value"))]
    with pytest.raises(AssertionError, match="took a promise back"):
        check_promises(with_promises(states))


def test_two_votes_in_one_ballot_are_seen() -> None:
    ballot = wire.Ballot(1, PeerId("a"))
    states = [AcceptorState(1, ballot, wire.Accepted(ballot, value)) for value in (b"one", b"other")]
    with pytest.raises(AssertionError, match="voted twice"):
        check_promises(with_promises(states))


def with_promises(states: list[AcceptorState]) -> Simulation:
    sim = swarm()
    sim._machine(0).disk.promises.extend(states)
    return sim


def test_two_values_in_one_ballot_are_seen() -> None:
    sim, ballot = swarm(), wire.Ballot(1, PeerId("a"))
    for number, value in enumerate((b"one", b"other")):
        state = AcceptorState(1, ballot, wire.Accepted(ballot, value))
        sim._machine(number).disk.promises.append(state)
    with pytest.raises(AssertionError, match="two values in one ballot"):
        check_agreement(sim, [])


def test_a_later_vote_against_a_decision_is_seen() -> None:
    sim = swarm()
    for number, attempt, value in ((0, 1, b"one"), (1, 1, b"one"), (2, 2, b"other")):
        ballot = wire.Ballot(attempt, PeerId("a"))
        state = AcceptorState(1, ballot, wire.Accepted(ballot, value))
        sim._machine(number).disk.promises.append(state)
    with pytest.raises(AssertionError, match="decided and then voted on differently"):
        check_agreement(sim, [])


def test_an_acceptor_that_forgets_on_restart_is_seen() -> None:
    """Peers are killed and restarted all the time, with empty acceptors: sooner or later two values have votes."""

    async def main(seed: int) -> None:
        sim = swarm(3, seed)
        sim.write_s = lambda: sim.random.uniform(0.0, 0.01)
        for number in range(3):
            await sim.start(number)
        for _ in range(40):
            await asyncio.sleep(sim.random.uniform(0.1, 1.0))
            number = sim.random.randrange(3)
            sim.kill(number)
            sim.peers[number].disk.files._acceptor = None
            await sim.start(number)
        await sim.finish()
        sim.check()

    with pytest.raises(AssertionError, match=r"took a promise back|voted twice|two values|differently|quorum for"):
        for seed in range(20):
            run_virtual(main(seed))


def test_a_commit_with_too_few_votes_is_seen() -> None:
    """The protocol commits with one vote; the checks, which count with the right quorum, must not accept it."""

    async def main() -> list[Exception]:
        sim = swarm(3)
        with patch.object(Electorate, "has_quorum", lambda _self, peers: bool(set(peers))):
            for number in range(3):
                await sim.start(number)
            sim.network.partition(*([sim.peers[number].id] for number in range(3)))
            await asyncio.sleep(60.0)
            await sim.finish()
        return failures([check_heads, check_records], sim)

    assert len(run_virtual(main())) == 2


def test_results_that_are_not_checked_are_seen() -> None:
    """An owner gives every peer other bytes, and peers apply what they got without looking at its digest."""
    honest = Reduction.send_result

    async def lie(self: Reduction, stream: object, result: wire.ChunkResult) -> None:
        scale = bytes([result.data[0] ^ 1]) + bytes(result.data[1:])
        await honest(self, stream, msgspec.structs.replace(result, data=memoryview(scale)))  # pyright: ignore[reportArgumentType]

    async def main() -> list[Exception]:
        sim = swarm(3)
        with patch.object(Reduction, "send_result", lie):
            await play(sim, 6.0)
        sim.check()  # the digests in the proposal keep such an owner from doing harm
        blind = swarm(3)
        with (
            patch.object(Reduction, "send_result", lie),
            patch.object(gathered, "result_digest", lambda who, data: Anything(result_digest(who, data))),
            patch.object(member, "ProtocolError", UnraisedError),
        ):
            await play(blind, 6.0)
        return failures([check_heads, check_records, check_replay, check_bugs], blind)

    assert run_virtual(main())


class Anything(bytes):
    """A digest that every other digest equals."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


class UnraisedError(Exception):
    """Raised where the protocol refuses, so that nothing handles it."""


def failures(checks: Iterable[Callable[[Simulation], object]], sim: Simulation) -> list[Exception]:
    found: list[Exception] = []
    for check in checks:
        try:
            check(sim) if check is not check_replay else check_replay(sim, check_records(sim))
        except Exception as error:  # noqa: BLE001 - any complaint counts
            found.append(error)
    return found


def test_a_dead_process_writes_nothing() -> None:
    async def main() -> None:
        sim = swarm(1)
        peer = await sim.start(0)
        await sim.until_round(1)
        mount = peer.mount
        sim.kill(0)
        assert mount is not None
        with pytest.raises(asyncio.CancelledError):
            await mount.save_acceptor(msgspec.msgpack.encode(AcceptorState(99)))
        assert all(state.round < 99 for state in peer.disk.promises)

    run_virtual(main())
