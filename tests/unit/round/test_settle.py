"""Error feedback against the slow obvious rule: what was applied is what was meant, but for the residuals at hand."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.settle import settle
from tests.unit.round.crew import (
    BALLOT,
    RUN,
    HandReduction,
    begin,
    decided_on,
    offer,
    reduce_by_hand,
    roster_of,
    updates_of,
)

NAMES = tuple(PeerId(f"p{n}") for n in range(6))
THREE = roster_of((1, 1, 1))
ALL = [[0, 1, 2]] * RUN.grid.chunks
CHUNK = 0


def own_loss(x_n: np.ndarray) -> np.ndarray:
    return x_n - RUN.codec.decode(RUN.codec.encode(x_n), x_n.size)


def result_of(seats: set[int], data: bytes, chunk: int = CHUNK) -> wire.ChunkResult:
    return wire.ChunkResult(chunk, THREE.bitmap(seats), memoryview(data))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    weights=st.tuples(*[st.integers(1, 9)] * 6),
    regions=st.sampled_from([("eu",) * 6, ("eu", "asia") * 3, ("eu", "asia", "us") * 2]),
    levels=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_nothing_is_lost(
    seed: int, weights: tuple[int, ...], regions: tuple[str, ...], levels: int, data: st.DataObject
) -> None:
    """For each chunk: W x applied + sum of w x (what the counted carry on) = sum of w x what they sent.

    Exactly so where every peer that quantised a mean is in it; who was not counted carries all of its own on.
    """
    roster = roster_of(weights, regions)
    seats_of = st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True)
    counted = [data.draw(seats_of) for _ in range(RUN.grid.chunks)]
    updates = updates_of(seed, 6)
    offers = [offer(update) for update in updates]
    decided, members, applied_N = reduce_by_hand(offers, counted, roster, levels)
    for seat, name in enumerate(NAMES):
        settle(RUN, name, offers[seat], decided, members[seat])  # type: ignore[arg-type]
    plan = members[0].plan
    for chunk, seats in enumerate(counted):
        bounds = RUN.grid.bounds(chunk)
        total = sum(weights[seat] for seat in seats)
        meant = sum(weights[seat] * updates[seat][bounds].astype(np.float64) for seat in seats)
        carried = sum(weights[seat] * offers[seat].lost_N[bounds].astype(np.float64) for seat in seats)
        groups = [group for group in plan.root.children or (plan.root,) if group.seats.intersection(seats)]
        makers = {plan.owner(group, chunk, set()) for group in groups} | {plan.owner(plan.root, chunk, set())}
        if makers <= set(seats):
            assert np.abs(total * applied_N[bounds] + carried - meant).max() < 3e-4
        for seat in set(range(6)) - set(seats):
            assert offers[seat].lost_N[bounds].tobytes() == updates[seat][bounds].tobytes()


@pytest.mark.parametrize("regions", [("eu",) * 6, ("eu", "asia") * 3])
def test_over_many_rounds_the_error_does_not_grow(regions: tuple[str, ...]) -> None:
    updates = updates_of(3, 6)
    carried = [np.zeros(RUN.grid.elements, np.float32) for _ in NAMES]
    applied_N, meant_N = np.zeros(RUN.grid.elements), np.zeros(RUN.grid.elements)
    gaps = []
    for number in range(1, 41):
        offers = [offer(update + residual) for update, residual in zip(updates, carried, strict=True)]
        roster = roster_of((1,) * 6, regions, number=number)
        decided, members, mean_N = reduce_by_hand(offers, [list(range(6))] * RUN.grid.chunks, roster)
        for seat, name in enumerate(NAMES):
            settle(RUN, name, offers[seat], decided, members[seat])  # type: ignore[arg-type]
        carried = [given.lost_N for given in offers]
        applied_N += mean_N
        meant_N += sum(update.astype(np.float64) for update in updates) / len(NAMES)
        gaps.append(np.abs(applied_N - meant_N).max())
    assert gaps[-1] < 3 * max(gaps[:3])


# --- each way a chunk can end -----------------------------------------------------------------------------------------


def member_of(updates: list[np.ndarray]) -> tuple[HandReduction, np.ndarray]:
    """The first of three peers, and the slice of its update that the tests below are about."""
    mine = offer(updates[0])
    (member,) = begin(THREE, [mine])
    return member, updates[0][RUN.grid.bounds(CHUNK)]


def settled(member: HandReduction, seats: set[int], data: bytes) -> np.ndarray:
    """What `member` carries of the chunk when these bytes with these contributors were committed."""
    result = result_of(seats, data)
    others = [result_of(seats, b"", chunk) for chunk in range(1, RUN.grid.chunks)]
    decided = decided_on([result, *others], THREE)
    assert member.delivery.contribution is not None
    given = offer(member.delivery.contribution.x_N)
    given.lost_N[:] = member.delivery.contribution.lost_N
    (kept,) = begin(THREE, [given])
    kept.delivery._parts, kept.delivery._means = member.delivery._parts, member.delivery._means
    settle(RUN, NAMES[0], given, decided, kept)  # type: ignore[arg-type]
    return given.lost_N[RUN.grid.bounds(CHUNK)]


def test_a_part_that_was_counted_leaves_what_its_quantising_took() -> None:
    member, x_n = member_of(updates_of(1, 3))
    sent = member.delivery.encode_part(CHUNK)
    assert np.array_equal(settled(member, {0, 1}, b"made by another"), own_loss(x_n))
    assert np.array_equal(x_n - own_loss(x_n), RUN.codec.decode(sent, x_n.size))


@pytest.mark.parametrize("before", ["nothing", "part", "mean", "sum"])
def test_what_was_not_counted_stays_whole(before: str) -> None:
    updates = updates_of(2, 3)
    member, x_n = member_of(updates)
    if before == "part":
        member.delivery.encode_part(CHUNK)
    elif before in ("mean", "sum"):
        data = member.delivery.encode_mean(CHUNK, x_n, 2, 1)
        member.delivery.made(CHUNK, b"digest" if before == "mean" else THREE.bitmap({0, 1}))
        assert data
    assert settled(member, {1, 2}, b"made by another").tobytes() == x_n.tobytes()


def test_a_mean_made_here_that_was_committed_leaves_its_error_blown_up() -> None:
    member, x_n = member_of(updates_of(3, 3))
    mean_n = ((x_n + updates_of(4, 1)[0][RUN.grid.bounds(CHUNK)]) / np.float32(2)).astype(np.float32)
    data = member.delivery.encode_mean(CHUNK, mean_n, 2, 1)
    decided = decided_on([result_of({0, 1}, data)], THREE)
    member.delivery.made(CHUNK, decided.value.chunk_digests[0])
    lost_n = settled(member, {0, 1}, data)
    assert np.allclose(lost_n, 2 * (mean_n - RUN.codec.decode(data, x_n.size)), atol=1e-7)


def test_a_mean_made_here_when_anothers_was_committed_leaves_what_the_earlier_part_lost() -> None:
    """Its part was in the result of the owner it took for dead; its own result was for nothing."""
    member, x_n = member_of(updates_of(5, 3))
    member.delivery.encode_part(CHUNK)
    data = member.delivery.encode_mean(CHUNK, (x_n / 2).astype(np.float32), 2, 1)
    member.delivery.made(CHUNK, b"digest of " + data[:8])
    assert np.array_equal(settled(member, {0, 1}, b"the first owner's"), own_loss(x_n))


def test_a_sum_made_here_leaves_its_error_whatever_result_it_went_into() -> None:
    member, x_n = member_of(updates_of(6, 3))
    mean_n = ((x_n + updates_of(7, 1)[0][RUN.grid.bounds(CHUNK)]) / np.float32(2)).astype(np.float32)
    data = member.delivery.encode_mean(CHUNK, mean_n, 2, 1)
    member.delivery.made(CHUNK, THREE.bitmap({0, 1}))
    lost_n = settled(member, {0, 1}, b"made by the root's owner")
    assert np.allclose(lost_n, 2 * (mean_n - RUN.codec.decode(data, x_n.size)), atol=1e-7)


def test_a_sum_and_the_result_made_from_it_here_leave_both_errors() -> None:
    """The owner above failed and this peer, next in order, made the result of its own sum."""
    member, x_n = member_of(updates_of(8, 3))
    sum_n = ((x_n + updates_of(9, 1)[0][RUN.grid.bounds(CHUNK)]) / np.float32(2)).astype(np.float32)
    passed = member.delivery.encode_mean(CHUNK, sum_n, 2, 1)
    member.delivery.made(CHUNK, THREE.bitmap({0, 1}))
    decoded_n = RUN.codec.decode(passed, x_n.size)
    mean_n = ((2 * decoded_n + updates_of(10, 1)[0][RUN.grid.bounds(CHUNK)]) / np.float32(3)).astype(np.float32)
    data = member.delivery.encode_mean(CHUNK, mean_n, 3, 1)
    result = result_of({0, 1, 2}, data)
    member.delivery.made(CHUNK, decided_on([result], THREE).value.chunk_digests[0])
    expected_n = 2 * (sum_n - decoded_n) + 3 * (mean_n - RUN.codec.decode(data, x_n.size))
    assert np.allclose(settled(member, {0, 1, 2}, data), expected_n, atol=1e-6)


def test_a_part_after_a_mean_counts_as_a_part() -> None:
    """It made a mean, lost its place, and sent its part to the owner after it."""
    member, x_n = member_of(updates_of(11, 3))
    member.delivery.encode_mean(CHUNK, (x_n / 2).astype(np.float32), 2, 1)
    member.delivery.made(CHUNK, b"digest")
    member.delivery.encode_part(CHUNK)
    assert np.array_equal(settled(member, {0, 1}, b"another's"), own_loss(x_n))


def test_an_attempt_that_left_nothing_here_is_settled_from_the_inputs() -> None:
    """It was counted in an attempt whose reduction it has thrown away since: the same encoding, once more."""
    updates = updates_of(12, 3)
    given = [offer(update) for update in updates]
    decided, members, _ = reduce_by_hand(given, ALL, THREE)
    later = begin(roster_of((1, 1, 1), attempt=2), given)[0]
    for reduction in (None, later):
        mine = offer(updates[0])
        settle(RUN, NAMES[0], mine, decided, reduction)  # type: ignore[arg-type]
        for chunk in range(RUN.grid.chunks):
            bounds = RUN.grid.bounds(chunk)
            assert np.array_equal(mine.lost_N[bounds], own_loss(updates[0][bounds]))
    assert members


def test_a_peer_that_was_not_in_the_roster_carries_everything() -> None:
    updates = updates_of(1, 3)
    decided, _, _ = reduce_by_hand([offer(update) for update in updates], ALL, THREE)
    mine = offer(updates[0])
    settle(RUN, PeerId("elsewhere"), mine, decided, None)
    assert mine.lost_N.tobytes() == updates[0].tobytes()


def test_an_update_that_was_not_offered_in_the_committed_attempt_stays_whole() -> None:
    """It joined without an update (or with another): whatever the bitmap counts was not this."""
    updates = updates_of(2, 3)
    decided, _, _ = reduce_by_hand([offer(update) for update in updates], ALL, THREE)
    mine = offer(updates[0], wire.Ballot(2, NAMES[0]))
    settle(RUN, NAMES[0], mine, decided, None)
    assert mine.lost_N.tobytes() == updates[0].tobytes()


@pytest.mark.parametrize("levels", [1, 2])
def test_settling_leaves_the_update_alone(levels: int) -> None:
    """Every attempt encodes the same: nothing that happens in a round may write to what a peer brought."""
    updates = updates_of(5, 3)
    offers = [offer(update, BALLOT) for update in updates]
    decided, members, _ = reduce_by_hand(offers, ALL, roster_of((1, 2, 3), ("eu", "eu", "asia")), levels)
    settle(RUN, NAMES[0], offers[0], decided, members[0])  # type: ignore[arg-type]
    assert offers[0].x_N.tobytes() == updates[0].tobytes()
    assert not np.isnan(offers[0].lost_N).any()


def test_an_update_that_diverged_is_dropped_and_does_not_spoil_the_rounds_after_it() -> None:
    size = RUN.grid.elements
    offers = [offer(np.full(size, 0.5, np.float32)) for _ in range(3)]
    decided, _, _ = reduce_by_hand(offers, [[0, 1]] * RUN.grid.chunks, THREE)
    for bad in (np.nan, np.inf, 2.0**101, 1000 * RUN.charter.reduce.max_rms):
        x_N = np.full(size, 0.5, np.float32)
        x_N[7] = bad
        mine = offer(x_N)
        settle(RUN, NAMES[2], mine, decided, None)
        assert not mine.lost_N.any()


def test_what_members_rejected_is_dropped_and_what_was_not_in_it_stays() -> None:
    roster = roster_of([1, 1])
    offers = [offer(x_N) for x_N in updates_of(4, 2)]
    counted = [[0, 1], [1], [0, 1]]
    decided, members, _ = reduce_by_hand(offers, counted, roster)
    rejected = replace(decided, value=msgspec.structs.replace(decided.value, is_rejected=True))
    settle(RUN, roster.peers[0], offers[0], rejected, members[0])  # pyright: ignore[reportArgumentType]
    for chunk, seats in enumerate(counted):
        left_n = offers[0].lost_N[RUN.grid.bounds(chunk)]
        kept_n = offers[0].x_N[RUN.grid.bounds(chunk)]
        assert np.array_equal(left_n, np.zeros_like(left_n) if 0 in seats else kept_n)
