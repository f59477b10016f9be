"""How long joining took, as the leader's table saw it."""

from swarm.net import wire
from swarm.round.seats import Guest, Seats
from swarm.state.roster import Seat
from swarm.state.run import Run
from tests.simulation import peer_identity
from tests.unit.state.samples import join_of, small_charter, zero_head

RUN = Run(small_charter())
BALLOT = wire.Ballot(1, peer_identity(0).peer_id)


def guest(number: int) -> Guest:
    identity = peer_identity(number)
    join = join_of(RUN, zero_head(RUN), identity, BALLOT)
    seat = Seat(identity.peer_id, "m0", "eu", contributes=True, dialable=True, tokens=0)
    return Guest(None, wire.seal(identity, join), join, seat)  # pyright: ignore[reportArgumentType]


def test_joining_lasts_from_the_first_join_to_the_last_however_long_the_leader_then_waits() -> None:
    seats = Seats()
    assert seats.join_spread_s(1, BALLOT, 7.0) == 0.0
    seats.add(guest(1), 10.0)
    seats.add(guest(2), 12.5)
    assert seats.join_spread_s(1, BALLOT, 11.0) == 2.5
    assert seats.join_spread_s(1, BALLOT, 9.0) == 3.5
    assert seats.join_spread_s(1, BALLOT, 20.0) == 10.0


def test_who_comes_a_second_time_was_not_late() -> None:
    seats = Seats()
    seats.add(guest(1), 10.0)
    seats.add(guest(1), 40.0)
    assert seats.join_spread_s(1, BALLOT, 10.0) == 0.0
