"""The seven faults of hivemind's own averaging test, and freezes, each striking each role in the middle of a round.

Roles are what a peer is in that round's plan: a sender that owns nothing, an owner, the leader; with two levels a
region's owner (of sums) and the root's owner (of results); and the heir of an owner that has just died. Survivors must
commit the round, bit-identical. With one death it takes at most twice the time of an undisturbed round and one deadline
more; who was only slow, and who died and comes back, must be in a roster again a few rounds later.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import msgspec
import pytest

from swarm import events
from swarm.identity.peer_id import PeerId
from swarm.net.memory import run_virtual
from swarm.round.context import Context
from swarm.round.deadlines import Phase
from swarm.round.plan import Plan
from tests.memo import memoised
from tests.simulation import SimPeer, Simulation, make_charter

PEERS, UNDIALABLE = 6, 5
WARM_ROUNDS = 5
"""Rounds before the fault, so that the deadlines in force are learnt ones."""
SLOWER = 2000.0
"""Times slower than the rest: a frame then takes seconds."""
COME_BACK_S = 120.0
"""A slow peer's frames are still on their way, and what it takes part in has deadlines of its own."""
ROLES = {1: ("sender", "owner", "leader", "heir"), 2: ("sender", "region owner", "root owner", "leader", "heir")}


class Tag(msgspec.Struct):
    t: str


FAULTS = {
    "none": (("OpenReduce",), 1),
    "fail_before": (("OpenReduce",), 1),
    "fail_sending": (("Part",), 2),
    "slow_sending": (("Part",), 1),
    "fail_reducing": (("ChunkResult", "Sum"), 2),
    "slow_reducing": (("ChunkResult", "Sum"), 1),
    "cancel": (("Part",), 2),
    "freeze_sending": (("Part",), 2),
    "freeze_reducing": (("ChunkResult", "Sum"), 1),
}
"""The kinds of frame at which each strikes its victim, and which of them it is."""


@dataclass
class Strike:
    """Watches one round, finds out who plays the role in it, and lets the fault happen at the right frame."""

    sim: Simulation
    round_number: int
    role: str
    fault: str
    do: Callable[[int], None]
    victim: int | None = None
    dead_before: int | None = None
    """The owner whose heir is struck."""
    at_s: float | None = None
    """Virtual time at which it struck."""
    _left: int = 0
    _numbers: Mapping[PeerId, int] = field(default_factory=dict[PeerId, int])

    def __post_init__(self) -> None:
        self._numbers = {peer.id: number for number, peer in self.sim.peers.items()}
        self._left = FAULTS[self.fault][1]

    def on_frame(self, source: PeerId, target: PeerId, frame: bytes) -> None:
        if self.at_s is not None:
            return
        kind = msgspec.msgpack.decode(frame, type=Tag).t
        if self.victim is None:
            ctx = context(self.sim, self._numbers[source])
            if kind == "OpenReduce" and ctx.round == self.round_number:
                self._cast(ctx)
            if self.victim is None:
                return
        kinds, _ = FAULTS[self.fault]
        if self.role == "heir" and "Part" in kinds:
            kinds = (*kinds, "Sum")  # its parts may all have gone before it inherited
        me = self.sim.peers[self.victim].id
        # Who owns nothing reduces nothing: it is struck when results come to it.
        acts = target == me if self.role == "sender" and "ChunkResult" in kinds else source == me
        if kind in kinds and acts and (self.role != "heir" or self._has_inherited()):
            self._left -= 1
            if self._left <= 0:
                self.at_s = asyncio.get_running_loop().time()
                self.do(self.victim)

    def _cast(self, ctx: Context) -> None:
        """Who plays the role, by the plan of the roster that has just been closed."""
        assert ctx.reduction is not None
        roster, plan = ctx.reduction.roster, ctx.reduction.plan
        leader = roster.index[roster.ballot.leader]
        seat = seats_of(plan, leader, ctx.run.grid.chunks)[self.role] if self.role != "sender" else None
        number = self._numbers[roster.peers[seat]] if seat is not None else UNDIALABLE
        if self.role == "heir":
            first = seats_of(plan, leader, ctx.run.grid.chunks)["root owner"]
            self.dead_before = self._numbers[roster.peers[first]]
            self.sim.kill(self.dead_before)
        self.victim = number

    def _has_inherited(self) -> bool:
        """Whether somebody has seen the heir take over."""
        assert self.victim is not None
        heir = self.sim.peers[self.victim].id
        return any(event.owner == heir for peer in self.sim.peers.values() for event in peer.of(events.ChunkTakenOver))


def seats_of(plan: Plan, leader: int, chunks: int) -> dict[str, int]:
    """A seat for each role but the sender's, none of them the leader's own."""
    found = {"leader": leader}
    for chunk in range(chunks):
        root = plan.owner(plan.root, chunk, set())
        assert root is not None
        heir = plan.owner(plan.root, chunk, {root})
        if root != leader and heir is not None and heir != leader and "heir" not in found:
            found |= {"root owner": root, "owner": root, "heir": heir}
        for group in plan.root.children:
            region = plan.owner(group, chunk, set())
            if region is not None and region not in (root, leader):
                found.setdefault("region owner", region)
    return found


def context(sim: Simulation, number: int) -> Context:
    engine = sim.peers[number].engine
    assert engine is not None and engine.ctx is not None
    return engine.ctx


@pytest.mark.parametrize(("levels", "role"), [(levels, role) for levels, roles in ROLES.items() for role in roles])
@pytest.mark.parametrize("fault", FAULTS)
def test_survivors_commit_and_nobody_is_lost(fault: str, levels: int, role: str) -> None:
    with memoised():
        run_virtual(_strike(fault, levels, role))


async def _strike(fault: str, levels: int, role: str) -> None:
    charter = make_charter(PEERS, chunk_elements=250, ceiling_s=15.0)
    reduce = msgspec.structs.replace(charter.reduce, levels=levels)
    sim = Simulation(msgspec.structs.replace(charter, reduce=reduce), seed=3)
    sim.training_s = lambda: 1.0
    for number in range(PEERS):
        await sim.start(number, dialable=number != UNDIALABLE, jurisdiction="JP" if number % 2 else "DE")
    await sim.until_round(WARM_ROUNDS)
    opened = max(sim.committed(number) for number in sim.peers) + 1
    deeds: list[asyncio.Task[None]] = []
    strike = Strike(sim, opened, role, fault, lambda victim: deeds.extend(_do(sim, fault, victim)))
    sim.network.on_frame = strike.on_frame
    async with asyncio.timeout(60):
        while strike.at_s is None:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
    assert strike.victim is not None
    gone = {strike.dead_before} if fault == "none" else {strike.dead_before, strike.victim}
    survivors = [number for number in sim.peers if number not in gone]
    undisturbed_s, deadline_s = _undisturbed_s(sim), _deadline_s(sim, survivors, levels)
    await sim.until_round(opened, *survivors, within_s=60)
    took_s = max(_seconds_of(sim, number, opened) for number in survivors)
    deaths = _deaths(fault) + (strike.dead_before is not None)
    if fault.startswith(("slow", "freeze")):
        allowed_s = (2 + deaths) * undisturbed_s + deaths * deadline_s + _allowed_for_silence_s(sim, survivors)
    else:
        allowed_s = (1 + deaths) * undisturbed_s + deaths * deadline_s
    assert took_s <= allowed_s, f"took {took_s:.3f} s, {allowed_s:.3f} s are allowed; undisturbed {undisturbed_s:.3f} s"
    sim.check()
    refused = {event.reason for peer in sim.peers.values() for event in peer.of(events.FrameRefused)}
    assert all("no hello and request within" in reason for reason in refused), refused  # of a frozen peer's streams
    for number in {strike.victim, strike.dead_before} - {None}:
        assert number is not None
        await _come_back(sim, number)
    await asyncio.gather(*deeds)
    await sim.finish()
    sim.check()


def _deaths(fault: str) -> int:
    return int(fault == "cancel" or fault.startswith("fail"))


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


def _seconds_of(sim: Simulation, number: int, round_number: int) -> float:
    """From a peer's update to its new base; 0 for one that was told of the round by others."""
    return max((e.seconds for e in sim.peers[number].of(events.RoundCommitted) if e.round == round_number), default=0.0)


def _undisturbed_s(sim: Simulation) -> float:
    """How long the rounds before took, the first left out."""
    return median(max(_seconds_of(sim, number, n) for number in sim.peers) for n in range(2, WARM_ROUNDS + 1))


def _deadline_s(sim: Simulation, survivors: list[int], levels: int) -> float:
    """The longest of the deadlines in force: that of a lane, or that of a second attempt's joins or votes."""
    contexts = [context(sim, number) for number in survivors]
    lane_s = max(ctx.limit_s(Phase.REDUCE, 1) for ctx in contexts) * (1 + 0.5 * levels)
    return max([lane_s, *(ctx.limit_s(phase, 2) for ctx in contexts for phase in (Phase.JOIN, Phase.VOTE))])


def _allowed_for_silence_s(sim: Simulation, survivors: list[int]) -> float:
    """What a peer costs that is there and says nothing: nobody may take it for dead before its deadlines have passed.

    A second attempt's join, two reductions' deadlines (the silent peer's lanes, then its chunks anew), its vote, the
    leader's heartbeats that must be missed (4 s), two rounds of short questions (3 s each) to find out who lives, and
    the pauses after two failed attempts (2 s each at the longest: swarm.round.round).
    """
    contexts = [context(sim, number) for number in survivors]
    phases = (Phase.JOIN, Phase.REDUCE, Phase.VOTE)
    join_s, reduce_s, vote_s = (max(ctx.limit_s(phase, 2) for ctx in contexts) for phase in phases)
    return join_s + 4 * reduce_s + vote_s + 4.0 + 2 * 3.0 + 2 * 2.0


async def _come_back(sim: Simulation, victim: int) -> None:
    peer = sim.peers[victim]
    if not sim.is_alive(victim):
        await sim.start(victim, dialable=victim != UNDIALABLE, jurisdiction="JP" if victim % 2 else "DE")
    sim.network.slow(peer.id, 1.0)
    sim.network.thaw(peer.id)
    since = max(map(sim.committed, sim.peers))
    async with asyncio.timeout(COME_BACK_S):
        while not _is_in_a_roster(peer, since):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)


def _is_in_a_roster(peer: SimPeer, since: int) -> bool:
    mine = [event for event in peer.of(events.RoundCommitted) if event.round > since]
    return any(peer.id in event.peers for event in mine)
