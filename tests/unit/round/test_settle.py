"""Error feedback against the slow obvious rule: what was applied is what was meant, but for the residuals at hand."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.context import Offer
from swarm.round.piles import Piles
from swarm.round.settle import settle
from swarm.state.records import Decided, Value
from swarm.state.roster import Roster, Seat, result_digest
from swarm.state.run import Run
from tests.unit.state.samples import small_charter

RUN = Run(small_charter())
BALLOT = wire.Ballot(1, PeerId("p0"))
NAMES = tuple(PeerId(f"p{n}") for n in range(3))
SEATS = tuple(Seat(name, name, "eu", True, True, 0) for name in NAMES)


@dataclass
class FinishedReduction:
    """What `settle` looks at of a reduction."""

    roster: Roster
    piles: Piles


def reduced(
    updates: list[np.ndarray], counted: list[list[int]], weights: tuple[int, ...], round_number: int = 1
) -> tuple[Decided, list[FinishedReduction]]:
    """Every chunk averaged by its owner over the seats in `counted[chunk]`."""
    roster = Roster(round_number, BALLOT, SEATS, weights)
    piles = [Piles(RUN, roster, seat) for seat in range(len(SEATS))]
    results: list[wire.ChunkResult] = []
    for chunk in range(RUN.grid.chunks):
        owner = piles[roster.index[roster.owners(chunk)[0]]]
        for seat in counted[chunk]:
            owner.add(chunk, seat, RUN.codec.encode(updates[seat][RUN.grid.bounds(chunk)]))
        results.append(owner.finish(chunk))
    value = Value(
        run_id=RUN.id,
        epoch=0,
        round=round_number,
        previous=b"",
        base_digest=b"",
        roster=wire.Sealed(NAMES[0], b"", b""),
        weights=weights,
        chunk_digests=tuple(result_digest(result.contributors, result.data) for result in results),
        contributors=tuple(result.contributors for result in results),
        state_digest=b"",
    )
    decided = Decided(b"".join(result.data for result in results), b"", value, roster)
    return decided, [FinishedReduction(roster, pile) for pile in piles]


def mean_of(decided: Decided) -> np.ndarray:
    sizes = [RUN.encoded_bytes(chunk) for chunk in range(RUN.grid.chunks)]
    starts = np.cumsum([0, *sizes])
    return np.concatenate(
        [
            RUN.codec.decode(decided.record[start : start + size], RUN.grid.length(chunk))
            for chunk, (start, size) in enumerate(zip(starts, sizes, strict=False))
        ]
    )


def updates_of(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(RUN.grid.elements).astype(np.float32) for _ in SEATS]


def offer(x_N: np.ndarray, *ballots: wire.Ballot) -> Offer:
    return Offer(x_N.copy(), 1, set(ballots or (BALLOT,)))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    weights=st.tuples(*[st.integers(1, 9)] * 3),
    counted=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True), min_size=3, max_size=3),
)
def test_nothing_is_lost(seed: int, weights: tuple[int, int, int], counted: list[list[int]]) -> None:
    """For each chunk: W x applied + sum of w x (what the counted carry on) = sum of w x what they sent."""
    updates = updates_of(seed)
    decided, reductions = reduced(updates, counted, weights)
    left = [
        settle(RUN, name, offer(updates[seat]), decided, reductions[seat])  # type: ignore[arg-type]
        for seat, name in enumerate(NAMES)
    ]
    applied_N = mean_of(decided).astype(np.float64)
    for chunk, seats in enumerate(counted):
        bounds = RUN.grid.bounds(chunk)
        total = sum(weights[seat] for seat in seats)
        meant = sum(weights[seat] * updates[seat][bounds].astype(np.float64) for seat in seats)
        carried = sum(weights[seat] * left[seat][bounds].astype(np.float64) for seat in seats)
        owner = decided.roster.index[decided.roster.owners(chunk)[0]]
        if owner in seats:
            assert np.abs(total * applied_N[bounds] + carried - meant).max() < 1e-4
        for seat in {0, 1, 2} - set(seats):
            assert left[seat][bounds].tobytes() == updates[seat][bounds].tobytes()


def test_over_many_rounds_the_error_does_not_grow() -> None:
    updates = updates_of(3)
    carried = [np.zeros(RUN.grid.elements, np.float32) for _ in SEATS]
    applied_N, meant_N = np.zeros(RUN.grid.elements), np.zeros(RUN.grid.elements)
    gaps = []
    for round_number in range(1, 41):
        sent = [update + residual for update, residual in zip(updates, carried, strict=True)]
        decided, reductions = reduced(sent, [[0, 1, 2]] * 3, (1, 1, 1), round_number)
        carried = [
            settle(RUN, name, offer(sent[seat]), decided, reductions[seat])  # type: ignore[arg-type]
            for seat, name in enumerate(NAMES)
        ]
        applied_N += mean_of(decided)
        meant_N += sum(update.astype(np.float64) for update in updates) / 3
        gaps.append(np.abs(applied_N - meant_N).max())
    assert gaps[-1] < 3 * max(gaps[:3])


def test_a_peer_that_was_not_in_the_roster_carries_everything() -> None:
    updates = updates_of(1)
    decided, reductions = reduced(updates, [[0, 1, 2]] * 3, (1, 1, 1))
    left = settle(RUN, PeerId("elsewhere"), offer(updates[0]), decided, None)
    assert left.tobytes() == updates[0].tobytes()
    assert reductions


def test_an_update_that_was_not_offered_in_the_committed_attempt_stays_whole() -> None:
    """It joined without an update (or with another): whatever the bitmap counts was not this."""
    updates = updates_of(2)
    decided, _ = reduced(updates, [[0, 1, 2]] * 3, (1, 1, 1))
    left = settle(RUN, NAMES[0], offer(updates[0], wire.Ballot(2, NAMES[0])), decided, None)
    assert left.tobytes() == updates[0].tobytes()


@pytest.mark.parametrize("other", ["attempt", "result"])
def test_an_owner_owes_only_for_the_very_result_that_was_committed(other: str) -> None:
    updates = updates_of(4)
    decided, _ = reduced(updates, [[0, 1, 2]] * 3, (1, 1, 1))
    _, mine = reduced(updates, [[0, 1]] * 3 if other == "result" else [[0, 1, 2]] * 3, (1, 1, 1))
    chunk = next(n for n in range(RUN.grid.chunks) if decided.roster.owners(n)[0] == NAMES[0])
    reduction = mine[0]
    if other == "attempt":
        roster = Roster(1, wire.Ballot(2, NAMES[0]), SEATS, (1, 1, 1))
        reduction = FinishedReduction(roster, reduction.piles)
    assert chunk in reduction.piles.requantised
    left = settle(RUN, NAMES[0], offer(updates[0]), decided, reduction)  # type: ignore[arg-type]
    bounds = RUN.grid.bounds(chunk)
    x_n = updates[0][bounds]
    assert np.array_equal(left[bounds], x_n - RUN.codec.decode(RUN.codec.encode(x_n), x_n.size))


def test_settling_spends_the_offer() -> None:
    updates = updates_of(5)
    decided, reductions = reduced(updates, [[0, 1, 2]] * 3, (1, 1, 1))
    one = offer(updates[0])
    assert settle(RUN, NAMES[0], one, decided, reductions[0]) is one.x_N  # type: ignore[arg-type]


def test_an_update_that_diverged_is_dropped_and_does_not_spoil_the_rounds_after_it() -> None:
    size = RUN.grid.elements
    updates = [np.full(size, 0.5, np.float32) for _ in SEATS]
    decided, reductions = reduced(updates, [[0, 1]] * RUN.grid.chunks, (1, 1, 1))
    for bad in (np.nan, np.inf, 2.0**101):
        x_N = np.full(size, 0.5, np.float32)
        x_N[7] = bad
        residual_N = settle(RUN, NAMES[2], Offer(x_N, 1, {BALLOT}), decided, reductions[2])  # type: ignore[arg-type]
        assert not residual_N.any()
