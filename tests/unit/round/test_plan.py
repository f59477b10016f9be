"""The tree of a roster: one path for every part, owners by measured rates, and nothing left without an heir."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round import plan as planning
from swarm.round.plan import MAX_GROUP_PEERS, MAX_RATE_BPS, Group, Plan, in_turn, shares
from swarm.state.roster import Roster, Seat

BALLOT = wire.Ballot(1, PeerId("p0"))
MBIT = 1_000_000


def roster_of(
    regions: Sequence[str],
    *,
    undialable: frozenset[int] = frozenset(),
    rates_bps: Sequence[int] = (),
    number: int = 1,
) -> Roster:
    rates = rates_bps or (0,) * len(regions)
    seats = tuple(
        Seat(PeerId(f"p{n:04}"), f"m{n}", region, True, n not in undialable, 0, rates[n], rates[n])
        for n, region in enumerate(regions)
    )
    return Roster(number, BALLOT, seats, (1,) * len(seats))


def leaves(group: Group) -> list[Group]:
    return [leaf for child in group.children for leaf in leaves(child)] or [group]


def inner(group: Group) -> list[Group]:
    return [group, *(found for child in group.children for found in inner(child))] if group.children else []


@st.composite
def plans(draw: st.DrawFn) -> tuple[Plan, Roster, int, frozenset[int]]:
    """A plan of up to 24 peers in up to 4 regions, with cohorts of any size, and a set of peers that have failed."""
    regions = draw(st.lists(st.sampled_from(("eu", "asia", "us", "af")), min_size=1, max_size=24))
    everyone = range(len(regions))
    undialable = draw(st.frozensets(st.sampled_from(everyone), max_size=len(regions) - 1))
    rates = draw(st.lists(st.integers(0, 200), min_size=len(regions), max_size=len(regions)))
    number, chunks = draw(st.integers(1, 50)), draw(st.integers(1, 20))
    roster = roster_of(regions, undialable=undialable, rates_bps=[rate * MBIT for rate in rates], number=number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "MAX_GROUP_PEERS", draw(st.sampled_from((2, 3, 5, 64))))
        plan = Plan(roster, chunks, draw(st.sampled_from((1, 2))))
    failed = draw(st.frozensets(st.sampled_from(everyone)))
    return plan, roster, chunks, failed


@settings(max_examples=200, deadline=None)
@given(made=plans())
def test_every_chunk_has_one_path_from_every_seat_to_one_root(
    made: tuple[Plan, Roster, int, frozenset[int]],
) -> None:
    plan, roster, chunks, failed = made
    able = {number for number, seat in enumerate(roster.seats) if seat.dialable}
    for chunk in range(chunks):
        root = plan.owner(plan.root, chunk, failed)
        assert (root is None) == (able <= failed)
        for seat in range(len(roster.seats)):
            at, steps = seat, 0
            if root is None:
                with pytest.raises(LookupError):
                    plan.upstream(seat, chunk, failed)
                continue
            while (above := plan.upstream(at, chunk, failed)) is not None:
                assert above not in failed and above in able and above != at
                at, steps = above, steps + 1
                assert steps <= plan.depth
            assert at == root


@settings(max_examples=200, deadline=None)
@given(made=plans())
def test_who_owns_a_chunk_in_a_group_owns_it_in_its_own_child(
    made: tuple[Plan, Roster, int, frozenset[int]],
) -> None:
    plan, _, chunks, failed = made
    for group in inner(plan.root):
        for chunk in range(chunks):
            owner = plan.owner(group, chunk, failed)
            if owner is None:
                continue
            (child,) = [child for child in group.children if owner in child.seats]
            assert plan.owner(child, chunk, failed) == owner
            found = plan.scope(owner, chunk, failed)
            assert found is not None and group.seats <= found[1].seats


@settings(max_examples=200, deadline=None)
@given(made=plans())
def test_scope_and_branch_fit_what_is_sent(made: tuple[Plan, Roster, int, frozenset[int]]) -> None:
    """What a seat passes on for a chunk lies within the branch its owner above grants it; nobody else is in that."""
    plan, roster, chunks, failed = made
    for chunk in range(chunks):
        for seat in range(len(roster.seats)):
            if seat in failed or plan.owner(plan.root, chunk, failed) is None:
                continue
            above = plan.upstream(seat, chunk, failed)
            scope = plan.scope(seat, chunk, failed)
            if above is None:
                assert scope is not None and scope[1] is plan.root
            elif scope is not None:
                assert scope[1].seats <= plan.branch(above, seat)
                assert above not in scope[1].seats
            for other in range(len(roster.seats)):
                granted = plan.branch(seat, other)
                assert other in granted
                assert seat == other or seat not in granted


@settings(max_examples=100, deadline=None)
@given(made=plans())
def test_owners_that_fail_are_followed_by_everybody_who_can_be_dialled(
    made: tuple[Plan, Roster, int, frozenset[int]],
) -> None:
    plan, roster, chunks, _ = made
    able = {number for number, seat in enumerate(roster.seats) if seat.dialable}
    for chunk in range(chunks):
        failed: set[int] = set()
        while (owner := plan.owner(plan.root, chunk, failed)) is not None:
            failed.add(owner)
        assert failed == able


@settings(max_examples=100, deadline=None)
@given(made=plans())
def test_groups_hold_every_seat_once_and_no_region_is_mixed_with_another(
    made: tuple[Plan, Roster, int, frozenset[int]],
) -> None:
    plan, roster, _, _ = made
    for group in inner(plan.root):
        assert sorted(seat for child in group.children for seat in child.seats) == sorted(group.seats)
    if len({seat.region for seat in roster.seats}) > 1 and plan.root.children:
        by_leaf = [{roster.seats[seat].region for seat in leaf.seats} for leaf in leaves(plan.root)]
        flat = [regions for regions in by_leaf if len(regions) > 1]
        # With one level there are no regions, and cohorts of the one group may hold several.
        assert not flat or all(not child.children for child in plan.root.children)


def test_two_levels_never_put_two_regions_in_one_group_of_peers() -> None:
    roster = roster_of(["eu", "asia"] * 5 + ["us"])
    assert all(len({roster.seats[seat].region for seat in leaf.seats}) == 1 for leaf in leaves(Plan(roster, 4, 2).root))
    assert leaves(Plan(roster, 4, 1).root) == [Plan(roster, 4, 1).root] or len(leaves(Plan(roster, 4, 1).root)) == 1


@pytest.mark.parametrize("peers", [65, 128, 129, 200, 500, 1000])
def test_large_regions_form_even_cohorts(peers: int) -> None:
    roster = roster_of(["eu"] * peers, undialable=frozenset(range(0, peers, 3)))
    plan = Plan(roster, 7, 2)
    groups = leaves(plan.root)
    sizes = [len(group.seats) for group in groups]
    assert len(groups) == -(-peers // MAX_GROUP_PEERS) and max(sizes) <= MAX_GROUP_PEERS
    assert max(sizes) - min(sizes) <= 1
    assert sorted(seat for group in groups for seat in group.seats) == list(range(peers))
    owners_in = [len(group.able) for group in groups]
    assert min(owners_in) > 0 and max(owners_in) - min(owners_in) <= 1
    assert plan.depth == (1 if len(groups) == 1 else 2)


def test_cohorts_are_dealt_anew_every_round() -> None:
    def cohort_of_first(number: int) -> frozenset[int]:
        plan = Plan(roster_of(["eu"] * 130, number=number), 3, 2)
        return next(group.seats for group in leaves(plan.root) if 0 in group.seats)

    assert len({cohort_of_first(number) for number in range(1, 6)}) == 5


def test_cohorts_of_a_region_lie_under_it() -> None:
    plan = Plan(roster_of(["eu"] * 65 + ["asia"] * 3), 4, 2)
    assert plan.depth == 3
    assert sorted(len(child.children) for child in plan.root.children) == [0, 2]


def test_a_region_that_nobody_can_dial_gives_nothing_and_gets_results_from_the_root() -> None:
    plan = Plan(roster_of(["eu", "eu", "asia", "asia"], undialable=frozenset({2, 3})), 6, 2)
    for chunk in range(6):
        root = plan.owner(plan.root, chunk, set())
        assert root in (0, 1)
        for seat in (2, 3):
            assert plan.upstream(seat, chunk, set()) == root
            assert plan.scope(seat, chunk, set()) is None
            assert root not in plan.neighbours(seat)


def test_a_peer_that_nobody_can_dial_and_that_is_alone_in_its_region_gives_its_sum_and_makes_no_result() -> None:
    plan = Plan(roster_of(["eu", "eu", "asia"], undialable=frozenset({2})), 6, 2)
    for chunk in range(6):
        for failed in (set[int](), {0}, {1}):
            root = plan.owner(plan.root, chunk, failed)
            assert root in {0, 1} - failed and plan.upstream(2, chunk, failed) == root
            scope = plan.scope(2, chunk, failed)
            assert scope is not None and scope[1].seats == {2}
            assert plan.branch(root, 2) == {2}


def test_a_region_too_small_to_let_anything_out_makes_no_results() -> None:
    """Its own updates could go nowhere in a mean that it made: it asks the others for theirs."""
    roster = roster_of(["eu"] * 3 + ["asia"] * 2)
    plan, least = Plan(roster, 12, 2, least_members=3), 3
    assert not roster.may_cross([0, 1, 2, 3, 4], least)
    roots = {plan.owner(plan.root, chunk, set()) for chunk in range(12)}
    assert roots == {0, 1, 2}
    assert {Plan(roster, 12, 2).owner(Plan(roster, 12, 2).root, chunk, set()) for chunk in range(12)} > roots
    assert plan.owner(plan.root, 0, {0, 1, 2}) in (3, 4), "nobody else is left, and zeros are better than nothing"


def test_when_everybody_who_can_be_dialled_has_failed_nobody_is_left() -> None:
    plan = Plan(roster_of(["eu"] * 3, undialable=frozenset({2})), 1, 2)
    with pytest.raises(LookupError):
        plan.upstream(2, 0, {0, 1})


@pytest.mark.parametrize("regions", [["eu"] * 4, ["eu", "eu", "asia", "asia"]])
def test_heirs_share_what_a_failed_owner_leaves(regions: list[str]) -> None:
    plan, chunks = Plan(roster_of(regions), 48, 2), range(48)
    lost = [chunk for chunk in chunks if plan.owner(plan.root, chunk, set()) == 0]
    heirs = Counter(plan.owner(plan.root, chunk, {0}) for chunk in lost)
    near = plan.neighbours(0) - {0}
    assert set(heirs) == near and max(heirs.values()) - min(heirs.values()) <= len(near)


# --- shares -----------------------------------------------------------------------------------------------------------


def of_all(rates: Sequence[int]) -> list[float]:
    found = shares([rate * MBIT for rate in rates], len(rates))
    return [share / sum(found) for share in found]


def longest_s(rates: Sequence[int], part: Sequence[float]) -> float:
    """Time of the slowest for N bytes at these rates, by the formula in plan.py; N = 1."""
    return max((1 + (len(rates) - 2) * w) / rate for w, rate in zip(part, rates, strict=True))


def test_known_shares() -> None:
    assert of_all([100, 100, 60, 60]) == pytest.approx([0.4375, 0.4375, 0.0625, 0.0625])
    assert of_all([100, 100, 100, 20]) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])
    assert of_all([100, 100, 100, 100]) == [0.25] * 4
    assert of_all([100, 90, 100, 95]) == [0.25] * 4, "what differs by the noise of measuring is equal"
    assert of_all([0, 0, 0]) == pytest.approx([1 / 3] * 3)
    assert of_all([100, 10]) == [0.5, 0.5], "with two peers the split makes no difference"
    fast = MAX_RATE_BPS // MBIT
    assert of_all([fast, 5 * fast, 40 * fast]) == pytest.approx([1 / 3] * 3)


def test_whose_rate_is_not_known_counts_as_the_median_of_those_that_are() -> None:
    assert of_all([100, 100, 60, 60, 0]) == of_all([100, 100, 60, 60, 60])


@settings(max_examples=300, deadline=None)
@given(rates=st.lists(st.integers(1, 1000), min_size=3, max_size=64))
def test_shares_are_never_worse_than_an_equal_split(rates: list[int]) -> None:
    part, equal = of_all(rates), [1 / len(rates)] * len(rates)
    assert sum(part) == pytest.approx(1) and min(part) >= 0
    assert longest_s(rates, part) <= longest_s(rates, equal) * (1 + 1e-9)


@settings(max_examples=150, deadline=None)
@given(rates=st.lists(st.integers(1, 1000), min_size=3, max_size=16), data=st.data())
def test_no_split_that_moves_some_chunks_is_better(rates: list[int], data: st.DataObject) -> None:
    """The shares minimise the longest time: moving any amount from one owner to another makes nothing faster."""
    assume(max(rates) * 100 > min(rates) * 115)
    part = of_all(rates)
    giver, taker = data.draw(st.lists(st.integers(0, len(rates) - 1), min_size=2, max_size=2, unique=True))
    moved = part[giver] * data.draw(st.floats(0, 1))
    other = list(part)
    other[giver], other[taker] = part[giver] - moved, part[taker] + moved
    assert longest_s(rates, part) <= longest_s(rates, other) * (1 + 1e-9)


@settings(max_examples=200, deadline=None)
@given(weights=st.lists(st.integers(0, 2**40), min_size=1, max_size=20).filter(any), turns=st.integers(1, 300))
def test_turns_are_exact_to_one_and_evenly_spread(weights: list[int], turns: int) -> None:
    sequence, total = in_turn(weights, turns), sum(weights)
    counts = Counter(sequence)
    assert len(sequence) == turns and not any(weights[index] == 0 for index in counts)
    for index, weight in enumerate(weights):
        due = turns * weight / total
        assert due - 1 < counts[index] < due + 1
        if counts[index] > 1:
            # Of any stretch of turns it has its share, within one of it and one for every other index.
            places = [place for place, who in enumerate(sequence) if who == index]
            gaps = [later - earlier for earlier, later in itertools.pairwise(places)]
            assert max(gaps) <= turns / counts[index] + len(counts)


def test_unequal_owners_own_what_is_due_to_them() -> None:
    plan = Plan(roster_of(["eu"] * 4, rates_bps=[100 * MBIT, 100 * MBIT, 60 * MBIT, 60 * MBIT]), 64, 2)
    owned = Counter(plan.owner(plan.root, chunk, set()) for chunk in range(64))
    assert owned == {0: 28, 1: 28, 2: 4, 3: 4}


def test_owners_take_turns_from_round_to_round() -> None:
    """With fewer chunks than peers, whoever had none has one later; nobody owns everything for ever."""
    firsts = {
        plan.owner(plan.root, 0, set()) for plan in (Plan(roster_of(["eu"] * 3, number=n), 3, 2) for n in (1, 2, 3))
    }
    assert firsts == {0, 1, 2}


def test_lanes_of_unequal_owners_have_the_rates_at_which_all_links_end_together() -> None:
    rates_bps = [100 * MBIT, 100 * MBIT, 60 * MBIT, 60 * MBIT]
    plan = Plan(roster_of(["eu"] * 4, rates_bps=rates_bps), 1600, 1)
    owned = Counter(plan.root.first)
    for seat, rate_bps in enumerate(rates_bps):
        parts = sum(plan.lane_rate_bps(seat, owned[other]) or 0 for other in range(4) if other != seat)
        results = 3 * (plan.lane_rate_bps(seat, owned[seat]) or 0)
        assert parts + results == pytest.approx(rate_bps, rel=0.01)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("rates_bps", [(), (100 * MBIT, 100 * MBIT, 90 * MBIT)])
def test_lanes_of_equal_owners_are_not_limited(rates_bps: tuple[int, ...]) -> None:
    plan = Plan(roster_of(["eu"] * 3, rates_bps=rates_bps), 100, 1)
    assert plan.lane_rate_bps(0, 33) is None
