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
    assert seats.join_spread_s(1, BALLOT, 7.0, 0.0) == 0.0
    seats.add(guest(1), 10.0)
    seats.add(guest(2), 12.5)
    assert seats.join_spread_s(1, BALLOT, 11.0, 0.0) == 2.5
    assert seats.join_spread_s(1, BALLOT, 9.0, 0.0) == 3.5
    assert seats.join_spread_s(1, BALLOT, 20.0, 0.0) == 10.0


def test_how_much_too_early_somebody_came_is_no_part_of_how_long_joining_takes() -> None:
    seats = Seats()
    seats.add(guest(1), 10.0)
    seats.add(guest(2), 312.5)
    assert seats.join_spread_s(1, BALLOT, 311.0, 310.0) == 2.5
    assert seats.join_spread_s(1, BALLOT, 11.0, 400.0) == 0.0


def test_who_comes_a_second_time_was_not_late() -> None:
    seats = Seats()
    seats.add(guest(1), 10.0)
    seats.add(guest(1), 40.0)
    assert seats.join_spread_s(1, BALLOT, 10.0, 0.0) == 0.0


def test_guests_are_waited_for_from_when_half_of_the_electors_are_there() -> None:
    seats = Seats()
    electors = {peer_identity(number).peer_id for number in (1, 2, 3)}
    assert seats.waiting_since_s(1, BALLOT, electors, 1) is None
    assert seats.add(guest(9), 5.0)
    assert seats.waiting_since_s(1, BALLOT, electors, 1) is None, "a newcomer starts no clock"
    assert seats.add(guest(1), 10.0)
    assert seats.add(guest(2), 12.5)
    assert not seats.add(guest(2), 13.0)
    assert seats.waiting_since_s(1, BALLOT, electors, 1) == 10.0
    assert seats.waiting_since_s(1, BALLOT, electors, 2) == 12.5
    assert seats.waiting_since_s(1, BALLOT, electors, 3) is None


def test_nobody_is_waited_for_at_a_table_that_all_have_left() -> None:
    seats = Seats()
    visitor = guest(1)
    seats.add(visitor, 10.0)
    visitor.is_lost = True
    assert seats.waiting_since_s(1, BALLOT, {visitor.peer}, 1) is None


def test_a_guest_that_comes_again_takes_its_own_place_and_others_that_leave_were_not_sent_away() -> None:
    seats = Seats()
    first, second = guest(1), guest(1)
    seats.add(first, 10.0)
    seats.add(second, 11.0)
    assert seats.at(1, BALLOT) == [second]
    assert (first.is_dismissed, second.is_dismissed) == (True, False)
