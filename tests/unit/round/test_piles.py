"""One peer's sums against a dense mean: each seat counts once, with its weight, and only with well-formed bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.piles import Piles
from swarm.state.roster import Roster, Seat
from swarm.state.run import Run
from tests.unit.state.samples import small_charter

RUN = Run(small_charter())
BALLOT = wire.Ballot(1, PeerId("p0"))
ALL = frozenset(range(5))


def roster_with(weights: tuple[int, ...], silent: frozenset[int] = frozenset()) -> Roster:
    seats = tuple(Seat(PeerId(f"p{n}"), f"m{n}", "eu", n not in silent, True, 0) for n in range(len(weights)))
    return Roster(1, BALLOT, seats, weights)


def part(seed: int, chunk: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(RUN.grid.length(chunk)).astype(np.float32)


def encoded(seed: int, chunk: int = 0) -> bytes:
    return RUN.codec.encode(part(seed, chunk))


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    chunk=st.sampled_from((0, 2)),
    data=st.data(),
)
def test_the_mean_is_the_dense_weighted_mean_of_those_counted(
    weights: list[int], chunk: int, data: st.DataObject
) -> None:
    """Whatever the order in which parts come, and wherever this peer's own part comes among them."""
    order = data.draw(st.permutations(range(len(weights))))
    counted = order[: data.draw(st.integers(0, len(weights)))]
    own = data.draw(st.sampled_from([None, *counted]))
    piles = Piles(RUN, roster_with(tuple(weights)))
    length = RUN.grid.length(chunk)
    dense, largest = np.zeros(length), 0.0
    for seat in counted:
        x_n = part(seat, chunk)
        if seat == own:
            piles.add_own(chunk, seat, x_n)
        else:
            assert piles.add(chunk, {seat}, RUN.codec.encode(x_n))
            x_n = RUN.codec.decode(RUN.codec.encode(x_n), length)
        assert not piles.add(chunk, {seat}, encoded(99, chunk))  # a second part of a seat changes nothing
        piles.add_own(chunk, seat, part(98, chunk))
        dense += weights[seat] * x_n.astype(np.float64)
        largest = max(largest, float(np.abs(x_n).max()))
    seats, weight, mean_n = piles.take(chunk)
    assert seats == set(counted) and weight == sum(weights[seat] for seat in counted)
    assert np.abs(mean_n - dense / (weight or 1)).max() <= 2e-6 * largest + 1e-30


@settings(max_examples=40, deadline=None)
@given(weights=st.tuples(*[st.integers(1, 50)] * 4), own_is_counted=st.booleans())
def test_a_sum_of_a_group_counts_as_all_of_it(weights: tuple[int, int, int, int], own_is_counted: bool) -> None:
    piles = Piles(RUN, roster_with(weights))
    mean_n = RUN.codec.decode(encoded(1), RUN.grid.length(0)).astype(np.float64)
    assert piles.add(0, {1, 2}, encoded(1))
    dense, counted = (weights[1] + weights[2]) * mean_n, {1, 2}
    if own_is_counted:
        piles.add_own(0, 0, part(0))
        dense, counted = dense + weights[0] * part(0).astype(np.float64), {0, 1, 2}
    # Whoever is in a sum that came is in no other one: not alone, and not in a larger group.
    assert not piles.add(0, {2}, encoded(2)) and not piles.add(0, {2, 3}, encoded(2))
    seats, weight, found_n = piles.take(0)
    assert seats == counted and weight == sum(weights[seat] for seat in counted)
    assert np.abs(found_n - dense / weight).max() < 1e-5


def test_waiting_ends_when_each_giver_gave_withheld_or_was_lost() -> None:
    piles = Piles(RUN, roster_with((1,) * 5, silent=frozenset({4})))
    assert piles.waits_for(0, ALL) == {0, 1, 2, 3}
    assert piles.waits_for(0, {1, 4}) == {1}
    piles.add(0, {0}, encoded(0))
    piles.settle(0, (1,))
    piles.lose(2)
    assert piles.waits_for(0, ALL) == {3}
    assert piles.waits_for(1, ALL) == {0, 1, 3}
    assert piles.take(0)[0] == {0}


def test_who_was_lost_still_counts_if_its_part_came() -> None:
    piles = Piles(RUN, roster_with((1, 1)))
    piles.lose(1)
    assert piles.add(0, {1}, encoded(1))
    assert piles.take(0)[0] == {1}


def test_a_seat_that_gives_nothing_is_never_counted() -> None:
    piles = Piles(RUN, roster_with((1, 1), silent=frozenset({1})))
    assert not piles.add(0, {1}, encoded(1))
    assert not piles.add(0, {0, 1}, encoded(1))
    assert piles.take(0)[0] == frozenset()


def test_bad_bytes_are_refused_and_leave_the_sum_alone() -> None:
    piles = Piles(RUN, roster_with((1, 1, 1), silent=frozenset({2})))
    good = encoded(0)
    piles.add(0, {0}, good)
    infinite = np.frombuffer(good, np.uint8).copy()
    infinite[:2] = (0x80, 0x7F)  # the first scale, as little-endian bfloat16 infinity
    for seat in (0, 1, 2):
        for bad in (good[:-1], good + b"\x00", b"", infinite.tobytes()):
            with pytest.raises(ProtocolError):
                piles.add(0, {seat}, bad)
    seats, weight, mean_n = piles.take(0)
    assert (seats, weight) == ({0}, 1)
    assert mean_n.tobytes() == RUN.codec.decode(good, RUN.grid.length(0)).tobytes()


def test_discarding_forgets_the_sum() -> None:
    piles = Piles(RUN, roster_with((1,)))
    piles.add(0, {0}, encoded(0))
    piles.discard(0)
    seats, weight, mean_n = piles.take(0)
    assert (seats, weight) == (frozenset(), 0) and not mean_n.any()


def test_memory_that_is_used_again_brings_nothing_of_the_sum_before() -> None:
    """A sum lies in the memory of one that was taken; neither its first part nor its own part may add to that."""
    for first in ("part", "own"):
        piles = Piles(RUN, roster_with((1, 1)))
        piles.add(0, {0}, encoded(7))
        piles.take(0)
        if first == "part":
            piles.add(1, {1}, encoded(1, 1))
            expected_n = RUN.codec.decode(encoded(1, 1), RUN.grid.length(1))
        else:
            piles.add_own(1, 1, part(1, 1))
            expected_n = part(1, 1)
        assert piles.take(1)[2].tobytes() == expected_n.tobytes()
