"""The seven faults of hivemind's own averaging test, and freezes, each striking each role in the middle of a round.

Survivors must commit the round, bit-identical, within what the adaptive deadlines in force allow; who was only slow,
and who died and comes back, must be in a roster again a few rounds later.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from swarm import events
from swarm.net.memory import run_virtual
from swarm.round.deadlines import Phase
from tests.simulation import SimPeer, Simulation, make_charter, peer_identity

UNDIALABLE, NEWCOMER = 3, 4
WARM_ROUNDS = 5
"""Rounds before the fault, so that the deadlines in force are learnt ones."""
SLOWER = 2000.0
"""Times slower than the rest: a frame then takes seconds."""


class Tag(msgspec.Struct):
    t: str


@dataclass
class Strike:
    """Runs `fault` when a frame of one of these kinds is about to leave (or reach) the victim for the `nth` time."""

    sim: Simulation
    victim: int
    kinds: tuple[str, ...]
    nth: int
    fault: Callable[[], None]
    at_s: float | None = None
    """Virtual time at which it struck."""

    def on_frame(self, source: str, target: str, frame: bytes) -> None:
        if self.at_s is not None or self.sim.peers[self.victim].id not in (source, target):
            return
        kind = msgspec.msgpack.decode(frame, type=Tag).t
        owns = kind != "ChunkResult" or self.victim == UNDIALABLE
        if kind in self.kinds and (source == self.sim.peers[self.victim].id or owns):
            self.nth -= 1
            if self.nth == 0:
                self.at_s = asyncio.get_running_loop().time()
                self.fault()


FAULTS = {
    "none": (("Part",), 1),
    "fail_before_sending": (("OpenReduce",), 1),
    "fail_while_sending": (("Part",), 4),
    "slow_sending": (("Part",), 1),
    "fail_while_reducing": (("ChunkResult",), 2),
    "slow_reducing": (("ChunkResult",), 1),
    "cancel": (("Part",), 2),
    "freeze_while_sending": (("Part",), 2),
    "freeze_while_reducing": (("ChunkResult",), 1),
}


@pytest.mark.parametrize("role", ["leader", "owner", "undialable", "newcomer"])
@pytest.mark.parametrize("fault", FAULTS)
def test_survivors_commit_and_nobody_is_lost(fault: str, role: str) -> None:
    run_virtual(_strike(fault, role))


async def _strike(fault: str, role: str) -> None:
    sim = Simulation(make_charter(4, ceiling_s=15.0), seed=3)
    for number in range(4):
        await sim.start(number, dialable=number != UNDIALABLE)
    await sim.until_round(WARM_ROUNDS)
    if role == "newcomer":
        await sim.start(NEWCOMER)
        await sim.until_round(1, NEWCOMER)
    opened = max(sim.committed(number) for number in sim.peers) + 1
    victim = _victim(sim, role)
    survivors = [number for number in sim.peers if number != victim]
    kinds, nth = FAULTS[fault]
    deeds: list[asyncio.Task[None]] = []
    strike = Strike(sim, victim, kinds, nth, lambda: deeds.extend(_do(sim, fault, victim)))
    sim.network.on_frame = strike.on_frame
    async with asyncio.timeout(60):
        while strike.at_s is None:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
    began_s = asyncio.get_running_loop().time()
    allowed_s = _allowed_s(sim, survivors, fault)
    await sim.until_round(max(opened, max(map(sim.committed, survivors)) + 1), *survivors, within_s=60)
    took_s = asyncio.get_running_loop().time() - began_s
    assert took_s <= allowed_s, f"took {took_s:.2f} s, {allowed_s:.2f} s are allowed"
    sim.check()
    await _come_back(sim, fault, victim)
    await asyncio.gather(*deeds)
    await sim.finish()
    sim.check()


def _victim(sim: Simulation, role: str) -> int:
    """Who plays a role in the open round; all electors agree on its leader."""
    context = sim.peers[0].engine.ctx
    leader = context.ballot(1).leader
    by_role = {
        "leader": next(number for number in sim.peers if peer_identity(number).peer_id == leader),
        "owner": next(number for number in range(3) if peer_identity(number).peer_id != leader),
        "undialable": UNDIALABLE,
        "newcomer": NEWCOMER,
    }
    return by_role[role]


def _do(sim: Simulation, fault: str, victim: int) -> list[asyncio.Task[None]]:
    """Lets a fault happen; a task if it takes time."""
    peer = sim.peers[victim]
    if fault.startswith("fail"):
        sim.kill(victim)
    elif fault.startswith("slow"):
        sim.network.slow(peer.id, SLOWER)
    elif fault.startswith("freeze"):
        sim.network.freeze(peer.id)
    elif fault == "cancel":
        return [asyncio.create_task(_leave(sim, peer))]
    return []


async def _leave(sim: Simulation, peer: SimPeer) -> None:
    """Ctrl+C: says goodbye, then stops."""
    assert peer.engine is not None
    await peer.engine.leave()
    sim.kill(peer.number)


def _allowed_s(sim: Simulation, survivors: list[int], fault: str) -> float:
    """What the deadlines in force allow a round that is hit once.

    No fault, or a death, which breaks streams: one reduction's deadline for chunks that change owners, and a second
    attempt if the leader died. Silence: also the deadline of the lanes to the silent peer (1.5 reductions), the
    leader's heartbeats that must be missed (4 s), and two rounds of short questions (3 s each) to find out who lives.
    """
    contexts = [sim.peers[number].engine.ctx for number in survivors]
    join_s = max(ctx.limit_s(Phase.JOIN, 2) for ctx in contexts)
    reduce_s = max(ctx.limit_s(Phase.REDUCE, 2) for ctx in contexts)
    vote_s = max(ctx.limit_s(Phase.VOTE, 2) for ctx in contexts)
    training_s = 1.5
    attempt_s = training_s + join_s + reduce_s + vote_s
    if fault in ("none", "cancel") or fault.startswith("fail"):
        return attempt_s + reduce_s
    return attempt_s + 1.5 * reduce_s + reduce_s + 4.0 + 2 * 3.0


async def _come_back(sim: Simulation, fault: str, victim: int) -> None:
    peer = sim.peers[victim]
    if not sim.is_alive(victim):
        await sim.start(victim, dialable=victim != UNDIALABLE)
    sim.network.slow(peer.id, 1.0)
    sim.network.thaw(peer.id)
    since = max(map(sim.committed, sim.peers))
    async with asyncio.timeout(60):
        while not _is_in_a_roster(sim, peer, since):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)


def _is_in_a_roster(sim: Simulation, peer: SimPeer, since: int) -> bool:
    mine = [event for event in peer.of(events.RoundCommitted) if event.round > since]
    return any(peer.id in event.peers for event in mine)
