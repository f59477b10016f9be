"""Eight peers, 100 ms round trips, virtual time: how long forming takes, and what somebody who does not come costs."""

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median

import pytest

from swarm import events
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.net.memory import Link, run_virtual
from swarm.node.announcements import MAX_CLOCK_SKEW_S
from swarm.node.presence import ANNOUNCEMENT_LIFETIME_S
from swarm.round.deadlines import Phase
from tests.simulation import CREATED_S, SimPeer, Simulation, make_charter, peer_identity

PEERS = 8
WARM_ROUNDS = 6
"""Rounds before anything happens, so that the deadlines in force are learnt ones."""
HUNDRED_MS = Link(min_latency_s=0.049, max_latency_s=0.051)
TRAINING_S = 1.0


def play(story: Callable[[Simulation], Awaitable[None]]) -> Simulation:
    """Eight peers that train equally long, up to a learnt state; then the story; then the checks."""

    async def run() -> Simulation:
        sim = Simulation(make_charter(PEERS), link=HUNDRED_MS)
        sim.training_s = lambda: sim.random.uniform(TRAINING_S, TRAINING_S + 0.2)
        for number in range(PEERS):
            await sim.start(number)
        await sim.until_round(WARM_ROUNDS)
        await story(sim)
        await sim.finish()
        sim.check()
        return sim

    return run_virtual(run())


def leader_of(sim: Simulation, round_number: int) -> SimPeer:
    """Who leads the first attempt of the round after the head of peer 0."""
    ctx = sim.peers[0].engine.ctx
    assert ctx.round == round_number
    leader = ctx.ballot(1).leader
    return next(peer for peer in sim.peers.values() if peer.id == leader)


def closings(sim: Simulation) -> list[events.RosterReady]:
    """The rosters that were closed, as their leaders saw it."""
    return [event for peer in sim.peers.values() for event in peer.of(events.RosterReady) if event.leader == peer.id]


def closing_of(sim: Simulation, round_number: int) -> events.RosterReady:
    [closing] = [event for event in closings(sim) if event.round == round_number]
    return closing


def lost(sim: Simulation, role: str) -> list[events.PeerLost]:
    return [event for peer in sim.peers.values() for event in peer.of(events.PeerLost) if event.role == role]


async def nothing(sim: Simulation) -> None:
    await sim.until_round(WARM_ROUNDS + 10)


def test_forming_takes_few_round_trips_when_everybody_comes() -> None:
    sim = play(nothing)
    formed_s = [event.form_s for peer in sim.peers.values() for event in peer.of(events.RosterReady) if event.round > 1]
    assert len(formed_s) >= PEERS * WARM_ROUNDS
    assert median(formed_s) <= 1.5
    # The spread of the updates, a connection with its hello, the join, the roster back.
    assert median(formed_s) <= 0.2 + 4 * 0.1
    assert all(len(event.peers) == PEERS for event in closings(sim))
    assert not lost(sim, "expected")


async def killed_before_forming(sim: Simulation, limits_s: list[float]) -> None:
    """One peer that does not lead dies when its update is about to be ready."""
    leader = leader_of(sim, WARM_ROUNDS + 1)
    victim = next(number for number in range(PEERS) if number != leader.number)
    await asyncio.sleep(TRAINING_S - 0.3)
    limits_s.append(leader.engine.ctx.limit_s(Phase.JOIN, 1))
    sim.kill(victim)
    await sim.until_round(WARM_ROUNDS + 2)


def test_a_peer_killed_right_before_forming_costs_at_most_the_learnt_deadline() -> None:
    limits_s: list[float] = []
    undisturbed = play(nothing)
    sim = play(lambda sim: killed_before_forming(sim, limits_s))
    before, after = closing_of(undisturbed, WARM_ROUNDS + 1), closing_of(sim, WARM_ROUNDS + 1)
    assert len(before.peers) == PEERS
    assert len(after.peers) == PEERS - 1
    assert after.form_s - before.form_s <= limits_s[0] + 0.1  # a leader looks every 0.1 s
    assert limits_s[0] < sim.charter.deadlines.ceiling_s / 10, "a deadline that was learnt, not the longest there is"
    assert closing_of(sim, WARM_ROUNDS + 2).form_s <= before.form_s + 0.5, "who is gone is not expected again"


async def slow_disk(sim: Simulation) -> None:
    """A member's disk becomes slow: its vote comes when its leader has a quorum and is gone."""
    leader = leader_of(sim, WARM_ROUNDS + 1)
    member = next(peer for peer in sim.peers.values() if peer is not leader)
    member.mount._write_s = lambda: 0.5
    member.seen.clear()
    await sim.until_round(WARM_ROUNDS + 2)
    assert member.of(events.RoundCommitted)
    assert not member.of(events.RoundInDoubt)


def test_a_certificate_that_came_before_the_vote_went_out_is_read() -> None:
    sim = play(slow_disk)
    assert len(closing_of(sim, WARM_ROUNDS + 1).peers) == PEERS


def announcement(sim: Simulation, author: Identity, passport: bytes, round_number: int, at: float) -> bytes:
    entry = wire.Announcement(
        run_id=sim.run_info.id,
        peer=author.peer_id,
        region="eu",
        passport=passport,
        addresses=(),
        round=round_number,
        tokens=0,
        tokens_per_s=0.0,
        phase="ready",
        at=at,
        dialable=True,
        relays=(),
    )
    return wire.encode_sealed(wire.seal(author, entry))


async def boasting(sim: Simulation, rounds: int) -> None:
    """A newcomer with a passport that answers, says for each round that it is ready, and never joins."""
    boaster = PEERS
    peer = await sim.start(boaster, training_s=lambda: 1e6)
    await asyncio.sleep(0)
    last = WARM_ROUNDS + rounds
    while sim.committed(0) < last:
        now_s = asyncio.get_running_loop().time()
        engine = sim.peers[0].engine
        passport, at = peer.engine._encoded_passport, CREATED_S + 1000 + now_s
        sealed = announcement(sim, peer.identity, passport, engine.ctx.round, at)
        sim.directory.put(peer.id, sealed, ANNOUNCEMENT_LIFETIME_S)
        await asyncio.sleep(0.2)


def test_a_peer_that_says_it_is_ready_and_never_joins_costs_two_deadlines_and_is_shown() -> None:
    rounds = 10
    sim = play(lambda sim: boasting(sim, rounds))
    boaster = peer_identity(PEERS).peer_id
    waited = [event for event in lost(sim, "expected") if event.peer == boaster]
    assert 1 <= len(waited) <= 3, "waited for, and not for ever"
    late = [event for event in closings(sim) if event.round > WARM_ROUNDS + 4]
    assert len(late) >= rounds - 4
    assert all(len(event.peers) == PEERS for event in late)
    assert max(event.form_s for event in late) <= 1.0
    rule = sim.charter.deadlines
    assert max(event.form_s for event in closings(sim) if event.round > 2) <= rule.ceiling_s / 3


async def joining_twice(sim: Simulation) -> None:
    """A member opens a second stream to its leader with the same join, then a third that it closes at once."""
    leader = leader_of(sim, WARM_ROUNDS + 1)
    member = next(peer for peer in sim.peers.values() if peer is not leader)
    ctx = member.engine.ctx
    table = leader.engine.ctx.seats
    while all(guest.peer != member.id for guest in table.at(ctx.round, ctx.ballot(1))):  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.01)
    join = ctx.sealed_join(ctx.ballot(1), None)
    stream = await ctx.caller.open(leader.id, wire.JoinRound(join), 3.0)
    await asyncio.sleep(0.2)
    stream.close()
    await sim.until_round(WARM_ROUNDS + 3)


def test_a_peer_that_joins_twice_has_one_seat_and_is_shown() -> None:
    sim = play(joining_twice)
    assert {event.reason for event in lost(sim, "guest")} >= {"it joined again, so its older stream is closed"}
    for event in closings(sim):
        assert len(set(event.peers)) == len(event.peers)
    assert len(closing_of(sim, WARM_ROUNDS + 3).peers) == PEERS


async def joining_and_leaving(sim: Simulation) -> None:
    """A newcomer sits down at a leader's table and gets up again, before the roster is closed."""
    leader = leader_of(sim, WARM_ROUNDS + 1)
    ctx = leader.engine.ctx
    visitor = await sim.start(PEERS, training_s=lambda: 1e6)
    while sim.committed(PEERS) < ctx.head.round:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.05)
    own = visitor.engine.ctx
    leader = leader_of(sim, own.round) if sim.committed(0) == own.head.round else leader
    stream = await own.caller.open(leader.id, wire.JoinRound(own.sealed_join(own.ballot(1), None)), 3.0)
    await asyncio.sleep(0.06)
    stream.close()
    sim.kill(PEERS)
    await sim.until_round(WARM_ROUNDS + 4, *range(PEERS))


def test_a_peer_that_joins_and_leaves_is_not_waited_for_and_is_shown() -> None:
    sim = play(joining_and_leaving)
    visitor = peer_identity(PEERS).peer_id
    assert [event.reason for event in lost(sim, "guest") if event.peer == visitor] == ["it left this leader's table"]
    assert all(visitor not in event.peers for event in closings(sim))


@pytest.mark.parametrize("skew_s", [-2 * MAX_CLOCK_SKEW_S, -200.0, 200.0, 2 * MAX_CLOCK_SKEW_S])
def test_a_peer_whose_clock_is_wrong_takes_part_and_says_so_if_it_is_very_wrong(skew_s: float) -> None:
    async def run() -> Simulation:
        sim = Simulation(make_charter(PEERS), link=HUNDRED_MS)
        sim.training_s = lambda: TRAINING_S
        for number in range(PEERS):
            await sim.start(number, skew_s=skew_s if number == 3 else 0.0)
        await sim.until_round(PEERS)
        await sim.finish()
        sim.check()
        return sim

    sim = run_virtual(run())
    settled = [event for event in closings(sim) if event.round > 2]
    assert all(len(event.peers) == PEERS for event in settled)
    assert max(event.form_s for event in settled) <= 1.0
    notes = [event for event in sim.peers[3].of(events.Note) if "another time" in event.text]
    assert bool(notes) == (abs(skew_s) > MAX_CLOCK_SKEW_S)
