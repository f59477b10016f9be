"""Newcomers in a swarm that goes on: killed in the middle of a download, and told by a peer that lies about pieces."""

import asyncio
from functools import partial
from math import inf
from typing import Literal

import msgspec
import numpy as np
import pytest

from benchmarks.lying_transport import bend
from swarm import events
from swarm.charter.manifest import Admission, Charter, Quorum
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.memory import run_virtual
from tests.memo import memoised
from tests.simulation import Simulation, make_charter

GENESIS = 3
LATE = 5
"""Number of the peer that comes late."""


async def three_trained(rounds: int) -> Simulation:
    sim = Simulation(make_charter(GENESIS), seed=4)
    for number in range(GENESIS):
        await sim.start(number)
    await sim.until_round(rounds, within_s=200)
    return sim


async def end(sim: Simulation, more: int) -> None:
    """Everybody, the newcomer too, commits some rounds more on one base."""
    await sim.until_round(sim.committed(0) + more, 0, LATE, within_s=200)
    joined = sim.peers[LATE].of(events.RoundCommitted)
    assert any(sim.peers[LATE].id in event.contributors for event in joined)
    assert sim.errors == [] and sim.network.errors == []
    await sim.finish()
    sim.check()


def test_a_kill_does_not_lose_the_late_update_that_was_handed_over() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(4, ceiling_s=6.0), seed=4)
        rounds = dict.fromkeys(range(1, 4), 0)

        def quick_then_slow(number: int) -> float:
            rounds[number] += 1
            return 1.0 if rounds[number] == 1 else 60.0

        await sim.start(0, training_s=lambda: 20.0)
        for number in (1, 2, 3):
            await sim.start(number, training_s=partial(quick_then_slow, number))
        await sim.until_round(1)
        await asyncio.sleep(25)
        before = sim.peers[0].engine._work  # type: ignore[union-attr]
        assert [event.kept for event in sim.peers[0].of(events.UpdateLate)] == [True]
        assert before is not None and before.carried_tokens == 1000
        sim.kill(0)
        await sim.start(0, training_s=lambda: 10.0)
        await asyncio.sleep(2)
        after = sim.peers[0].engine._work  # type: ignore[union-attr]
        assert after is not None and after.carried_tokens == 1000
        assert np.allclose(after._residual_N, before._residual_N, atol=0.02 * np.abs(before._residual_N).max())
        assert np.abs(after._residual_N).max() > 0.01
        await sim.until_round(2)
        assert sim.peers[0].id in sim.peers[1].of(events.RoundCommitted)[-1].contributors
        assert len(sim.peers[0].of(events.UpdateLate)) == 1
        await sim.finish()
        sim.check()

    run_virtual(main())


@pytest.mark.parametrize("fast_s", [5.0, 50.0])
def test_a_newcomer_that_is_ready_minutes_before_the_others_waits_at_their_table(fast_s: float) -> None:
    """Longer than it is patient with a leader that could close its roster and does not."""

    async def main() -> None:
        sim = Simulation(make_charter(GENESIS + 1, ceiling_s=6.0), seed=1)
        for number in range(GENESIS + 1):
            await sim.start(number, training_s=lambda: 90.0)
        await sim.until_round(1)
        await sim.start(LATE, training_s=lambda: fast_s)
        await sim.until_round(4, 0)
        rounds = sim.peers[0].of(events.RoundCommitted)[1:]
        assert all(sim.peers[LATE].id in event.contributors and event.attempt == 1 for event in rounds)
        assert sim.peers[LATE].of(events.UpdateLate) == []
        await sim.finish()
        sim.check()

    run_virtual(main())


@pytest.mark.parametrize("seed", range(3))
def test_electors_that_are_ready_long_before_the_quorum_miss_nobody(seed: int) -> None:
    """Whoever leads: no attempt fails, nobody is said to be missing, and a death then costs what it always does."""

    async def main() -> None:
        sim = Simulation(make_charter(5, ceiling_s=30.0), seed=seed)
        for number in range(5):
            await sim.start(number, training_s=partial(float, 120 if number > 1 else 10))
        await sim.until_round(4)
        for number in range(5):
            assert sim.peers[number].of(events.QuorumMissing) == []
            assert all(event.attempt == 1 for event in sim.peers[number].of(events.RoundCommitted))
        asked_s = asyncio.get_running_loop().time()
        await asyncio.sleep(60)
        sim.kill(2)
        await sim.until_round(5)
        assert asyncio.get_running_loop().time() - asked_s < 120 + 10
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_one_slow_peer_shortens_nobodys_rounds() -> None:
    """It gives its late update at once, and that calls no leader away from its own inner steps, whoever leads."""

    async def main() -> None:
        sim = Simulation(make_charter(3, ceiling_s=60.0), seed=3)
        sim.prompt_trainers = True
        updates = 0

        def slow_from_the_fifth() -> float:
            nonlocal updates
            updates += 1
            return 60.3 if updates < 5 else 80.0

        for number in range(3):
            await sim.start(number, training_s=slow_from_the_fifth if number == 1 else partial(float, 60 + number / 5))
        await sim.until_round(16, within_s=16 * 66)
        ids = [sim.peers[number].id for number in range(3)]
        given = [set(event.contributors) for event in sim.peers[0].of(events.RoundCommitted)]
        assert all({ids[0], ids[2]} <= peers for peers in given)
        assert sum(ids[1] in peers for peers in given) >= 5
        assert not sim.peers[0].of(events.UpdateLate) and not sim.peers[2].of(events.UpdateLate)
        await sim.finish()
        sim.check()

    run_virtual(main())


async def unequal(times_s: list[float], charter: Charter, rounds: int, within_s: float, seed: int = 3) -> Simulation:
    """Peers whose updates take so long, infinite for a trainer that hangs from its second on; most rounds in time."""
    sim = Simulation(charter, seed=seed)
    sim.prompt_trainers = True

    def steps(number: int) -> float:
        made[number] += 1
        return 10.0 if times_s[number] == inf and made[number] == 1 else min(times_s[number], 1e6)

    made = dict.fromkeys(range(len(times_s)), 0)
    for number in range(len(times_s)):
        await sim.start(number, training_s=partial(steps, number))
    await sim.until_round(rounds, 0, within_s=within_s)
    return sim


def test_a_leader_with_a_quorum_at_its_table_closes_at_its_deadline_and_aborts_nothing() -> None:
    async def main() -> None:
        sim = await unequal([10.0, 60.0, 100.0], make_charter(3, ceiling_s=30.0), 1, 95.0)
        assert [event.attempt for event in sim.peers[0].of(events.RoundCommitted)] == [1]
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_death_among_slow_peers_makes_no_attempt_fail_and_nobody_late() -> None:
    async def main() -> None:
        sim = await unequal([10.0, 10.0, 100.0, 100.0, 100.0], make_charter(5, ceiling_s=30.0), 2, 230.0)
        sim.kill(4)
        await sim.until_round(3, 0, 1, 2, 3, within_s=110.0)
        last = sim.peers[0].of(events.RoundCommitted)[-1]
        assert last.attempt == 1 and len(last.contributors) == 4
        for number in range(4):
            assert not sim.peers[number].of(events.QuorumMissing)
        await sim.finish()
        sim.check()

    run_virtual(main())


@pytest.mark.parametrize("peers", [2, 4])
@pytest.mark.parametrize("kind", ["majority", "available"])
def test_trainers_that_hang_hold_up_one_round_and_not_for_ever(
    peers: int, kind: Literal["majority", "available"]
) -> None:
    """Half of the voices; their nodes live, answer, and announce inner steps."""

    async def main() -> None:
        made = make_charter(peers, ceiling_s=10.0)
        admission = Admission(kind="open" if kind == "available" else "member")
        made = msgspec.structs.replace(made, quorum=Quorum(kind=kind), admission=admission)
        sim = await unequal([10.0 if number % 2 else inf for number in range(peers)], made, 1, 60.0)
        began_s = asyncio.get_running_loop().time()
        await sim.until_round(2, 1, within_s=180.0)
        assert asyncio.get_running_loop().time() - began_s > 100.0, "they might have been slow"
        await sim.until_round(5, 1, within_s=150.0)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_newcomer_killed_in_its_download_comes_back_and_takes_part() -> None:
    async def main() -> None:
        sim = await three_trained(3)
        pieces = 0

        def kill_at_the_fifth_piece(source: PeerId, target: PeerId, frame: bytes) -> None:
            nonlocal pieces
            late = sim.peers.get(LATE)
            if late is not None and target == late.id and b"StateChunk" in frame[:20]:
                pieces += 1
                if pieces == 5:
                    sim.kill(LATE)

        sim.network.on_frame = kill_at_the_fifth_piece
        await sim.start(LATE)
        async with asyncio.timeout(60):
            while sim.is_alive(LATE):  # noqa: ASYNC110 (virtual time)
                await asyncio.sleep(0.05)
        assert sim.peers[LATE].of(events.StateReady) == []
        before = pieces  # with those that were on their way to the dead
        await sim.start(LATE)
        await end(sim, 3)
        assert pieces > before

    with memoised():
        run_virtual(main())


@pytest.mark.parametrize("liar", [0, 2])
def test_a_donor_that_bends_every_piece_is_dropped_while_it_goes_on_in_rounds(
    liar: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = AuditedStream.send

    async def main() -> None:
        sim = await three_trained(3)
        rogue = sim.peers[liar].engine
        assert rogue is not None
        give = rogue._donor.give_state

        async def lie(stream: AuditedStream, request: wire.GetState, head: object) -> None:
            stream.send = lambda frame, permit=None: send(  # pyright: ignore
                stream, wire.decode(bend(wire.encode(frame)), type(frame)), permit
            )
            await give(stream, request, head)  # pyright: ignore

        monkeypatch.setattr(rogue._donor, "give_state", lie)
        late = await sim.start(LATE)
        await end(sim, 2)
        lost = [event for event in late.of(events.PeerLost) if event.role == "donor"]
        assert [event.peer for event in lost if "not what its leaf says" in event.reason] == [sim.peers[liar].id]
        assert late.of(events.StateReady)[0].source == "download"

    with memoised():
        run_virtual(main())
