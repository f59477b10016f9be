"""Rosters that a secure sum refuses when they are closed: too few members in them, or more weight than 16 bits hold."""

import asyncio

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.charter.manifest import SecureSum
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.round.plan import Plan
from swarm.round.secure.circles import circles_of
from swarm.state.roster import Roster, Seat
from swarm.state.run import Run
from swarm.vector.secure_codes import SecureCodes
from tests.simulation import Simulation, make_charter

LARGEST_WEIGHT = 257
"""At 8 bits: 257 x 255 is the last whole number that 16 bits hold."""
RANGES_K = np.ones(1, np.float32)


class Tag(msgspec.Struct):
    t: str


def run_of(across: bool) -> Run:
    rule = SecureSum(block_elements=64, initial_rms=0.1, across_regions=across)
    return Run(make_charter(4, aggregation=rule, min_contributors=3))


def roster_of(members: str, regions: str, weights: tuple[int, ...] | None = None) -> Roster:
    """A peer per letter: whose it is, and where."""
    ballot = wire.Ballot(1, PeerId("p0"))
    seats = tuple(
        Seat(PeerId(f"p{n}"), member, region, True, True, 0)
        for n, (member, region) in enumerate(zip(members, regions, strict=True))
    )
    return Roster(1, ballot, seats, weights or (1,) * len(seats))


def givers(across: bool, roster: Roster) -> frozenset[int]:
    run = run_of(across)
    return circles_of(run, roster, Plan(roster, run.grid.chunks, 2, run.least_members), RANGES_K).givers


@pytest.mark.parametrize("across", [False, True])
def test_three_peers_of_two_members_are_no_circle(across: bool) -> None:
    assert givers(across, roster_of("abc", "eee")) == {0, 1, 2}
    with pytest.raises(ProtocolError, match="takes updates of 3 distinct members at least"):
        givers(across, roster_of("abb", "eee"))


def test_three_members_in_two_regions_are_a_circle_only_across_them() -> None:
    apart = roster_of("abc", "eej")
    assert givers(True, apart) == {0, 1, 2}
    with pytest.raises(ProtocolError, match="in no region"):
        givers(False, apart)


def test_nobody_counts_who_gives_nothing() -> None:
    made = roster_of("abc", "eee")
    silent = Seat(PeerId("p2"), "c", "e", False, True, 0)
    with pytest.raises(ProtocolError, match="3 distinct members"):
        givers(True, Roster(1, made.ballot, (*made.seats[:2], silent), (1, 1, 1)))


@pytest.mark.parametrize("across", [False, True])
def test_a_roster_whose_weights_could_overflow_is_refused(across: bool) -> None:
    assert givers(across, roster_of("abc", "eee", (85, 86, 86))) == {0, 1, 2}
    with pytest.raises(ProtocolError, match="weights of 258 together at 8 bits do not fit"):
        givers(across, roster_of("abc", "eee", (86, 86, 86)))
    assert run_of(across).secure_codes.fits(LARGEST_WEIGHT)
    assert LARGEST_WEIGHT * 255 == 2**16 - 1


def aborted(sim: Simulation) -> list[events.RoundAborted]:
    return [event for peer in sim.peers.values() for event in peer.of(events.RoundAborted)]


@pytest.mark.parametrize("fault", ["3 distinct members", "do not fit into the 16 bits"])
def test_a_leader_tells_nobody_a_roster_that_it_refuses_at_close(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_heavy = fault.startswith("do not fit")
    rule = SecureSum(block_elements=64, initial_rms=0.1, across_regions=True)
    made = make_charter(4, members=4 if is_heavy else 2, aggregation=rule, min_contributors=3)
    if is_heavy:
        monkeypatch.setattr(SecureCodes, "fits", lambda codes, weight: False)
    told: list[str] = []

    async def main() -> None:
        sim = Simulation(made, seed=9)
        sim.network.on_frame = lambda source, target, frame: told.append(msgspec.msgpack.decode(frame, type=Tag).t)
        for number in range(4):
            await sim.start(number)
        while not (failed := aborted(sim)):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)  # virtual
        assert any(fault in event.reason for event in failed), failed
        assert "JoinRound" in told and not {"RosterClosed", "OpenReduce", "Part"} & set(told)
        await sim.finish()

    run_virtual(main())
