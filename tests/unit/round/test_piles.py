"""One peer's chunks against a dense mean: each seat counts once, with its weight, and only with well-formed bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.round.piles import Piles
from swarm.state.roster import Roster, Seat, result_digest
from swarm.state.run import Run
from tests.unit.state.samples import small_charter

RUN = Run(small_charter())
BALLOT = wire.Ballot(1, wire.PeerId("p0"))


def roster_with(weights: tuple[int, ...], silent: frozenset[int] = frozenset()) -> Roster:
    seats = tuple(Seat(wire.PeerId(f"p{n}"), f"m{n}", "eu", n not in silent, True, 0) for n in range(len(weights)))
    return Roster(1, BALLOT, seats, weights)


def part(seed: int, chunk: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(RUN.grid.length(chunk)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    chunk=st.sampled_from((0, 2)),
    data=st.data(),
)
def test_the_mean_is_the_dense_weighted_mean_of_those_counted(
    weights: list[int], chunk: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(weights))))
    counted = order[: data.draw(st.integers(0, len(weights)))]
    roster = roster_with(tuple(weights))
    piles = Piles(RUN, roster, 0)
    for seat in counted:
        piles.add(chunk, seat, RUN.codec.encode(part(seat, chunk)))
        piles.add(chunk, seat, RUN.codec.encode(part(99, chunk)))  # a second part of a seat changes nothing
    result = piles.finish(chunk)
    length = RUN.grid.length(chunk)
    dense = np.zeros(length)
    for seat in counted:
        dense += weights[seat] * RUN.codec.decode(RUN.codec.encode(part(seat, chunk)), length).astype(np.float64)
    dense /= sum(weights[seat] for seat in counted) or 1
    decoded = RUN.codec.decode(result.data, length)
    assert set(roster.contributors(result.contributors)) == set(counted)
    assert result.chunk == chunk
    step = np.abs(dense).max() / 127
    assert np.abs(decoded - dense).max() <= 0.51 * step + 1e-6


def test_waiting_ends_when_each_giver_gave_withheld_or_was_lost() -> None:
    piles = Piles(RUN, roster_with((1,) * 5, silent=frozenset({4})), 0)
    assert piles.waits_for(0) == {0, 1, 2, 3}
    piles.add(0, 0, RUN.codec.encode(part(0)))
    piles.withhold(0, 1)
    piles.lose(2)
    assert piles.waits_for(0) == {3}
    assert piles.waits_for(1) == {0, 1, 3}
    assert piles.finish(0).contributors == b"\x01"


def test_a_seat_that_gives_nothing_is_never_counted() -> None:
    piles = Piles(RUN, roster_with((1, 1), silent=frozenset({1})), 0)
    piles.add(0, 1, RUN.codec.encode(part(1)))
    assert piles.finish(0).contributors == b"\x00"


def test_bad_bytes_are_refused_and_leave_the_sum_alone() -> None:
    piles = Piles(RUN, roster_with((1, 1, 1), silent=frozenset({2})), 0)
    good = RUN.codec.encode(part(0))
    piles.add(0, 0, good)
    infinite = np.frombuffer(good, np.uint8).copy()
    infinite[:4] = np.frombuffer(np.float32("inf").tobytes(), np.uint8)
    for seat in (0, 1, 2):
        for bad in (good[:-1], good + b"\x00", b"", infinite.tobytes()):
            with pytest.raises(ProtocolError):
                piles.add(0, seat, bad)
    result = piles.finish(0)
    assert result.contributors == b"\x01" and result.data == good


def test_the_owner_remembers_what_its_own_quantising_took() -> None:
    roster = roster_with((1, 3))
    piles = Piles(RUN, roster, 1)
    for seat in range(2):
        piles.add(0, seat, RUN.codec.encode(part(seat)))
    result = piles.finish(0)
    made = piles.requantised[0]
    length = RUN.grid.length(0)
    parts = [RUN.codec.decode(RUN.codec.encode(part(seat)), length) for seat in range(2)]
    mean = (parts[0] + 3 * parts[1]) / 4
    expected = (mean - RUN.codec.decode(result.data, length)) * (4 / 3)
    assert made.digest == result_digest(result.contributors, result.data)
    assert np.allclose(made.error_N, expected, atol=1e-6)


def test_an_owner_that_was_not_counted_owes_nothing() -> None:
    piles = Piles(RUN, roster_with((1, 1)), 0)
    piles.withhold(0, 0)
    piles.add(0, 1, RUN.codec.encode(part(1)))
    piles.finish(0)
    assert piles.requantised == {}


def test_discarding_forgets_the_sum() -> None:
    piles = Piles(RUN, roster_with((1,)), 0)
    piles.add(0, 0, RUN.codec.encode(part(0)))
    piles.discard(0)
    assert piles.finish(0).contributors == b"\x00"
