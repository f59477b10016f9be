"""When a roster closes, who leads an attempt, and how long anything is waited for."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.charter.manifest import Deadlines
from swarm.identity.peer_id import PeerId
from swarm.round.closing import Close, Wait, decide
from swarm.round.deadlines import DeadlineBook, Phase, deadline_s
from swarm.state.electorate import Electorate

RULE = Deadlines(floor_s=2.0, ceiling_s=60.0, mad_factor=6.0)
NAMES = [PeerId(name) for name in "abcdefg"]
crowds = st.frozensets(st.sampled_from(NAMES))
seconds = st.floats(0.0, 1e6)


@given(joined=crowds, expected=crowds, has_quorum=st.booleans(), waited_s=seconds, limit_s=seconds)
def test_a_roster_never_closes_without_a_quorum(
    joined: frozenset[PeerId],
    expected: frozenset[PeerId],
    has_quorum: bool,
    waited_s: float,
    limit_s: float,
) -> None:
    decision = decide(joined=joined, has_quorum=has_quorum, expected=expected, waited_s=waited_s, limit_s=limit_s)
    if not has_quorum:
        assert decision == Wait(has_quorum=False)
    elif expected <= joined or waited_s >= limit_s:
        assert decision == Close()
    else:
        assert decision == Wait(has_quorum=True)


def electorate(*names: PeerId, undialable: frozenset[PeerId] = frozenset()) -> Electorate:
    return Electorate(frozenset(names), frozenset({PeerId("witness")}), undialable)


def test_attempts_move_the_lead_around_and_witnesses_never_have_it() -> None:
    leaders = [electorate(*NAMES).ballot("run", 5, attempt).leader for attempt in range(1, 60)]
    assert set(leaders) == set(NAMES)
    assert [electorate(*reversed(NAMES)).ballot("run", 5, attempt).leader for attempt in range(1, 60)] == leaders
    assert [electorate(*NAMES).ballot("run", 6, attempt).leader for attempt in range(1, 60)] != leaders
    assert [electorate(*NAMES).ballot("nur", 5, attempt).leader for attempt in range(1, 60)] != leaders


def test_peers_that_can_be_dialled_come_first() -> None:
    some = electorate(*NAMES, undialable=frozenset(NAMES[1:]))
    assert {some.ballot("run", 1, attempt).leader for attempt in range(1, 40)} == {NAMES[0]}
    none = electorate(*NAMES[:2], undialable=frozenset(NAMES[:2]))
    assert none.ballot("run", 1, 1).leader in NAMES[:2]


def test_ballots_order_by_attempt_first() -> None:
    ballots = [electorate(*NAMES).ballot("run", 1, attempt) for attempt in range(1, 30)]
    assert ballots == sorted(ballots)


@given(observed=st.lists(st.floats(0.0, 1e4), min_size=1, max_size=40))
def test_a_deadline_is_median_plus_deviations_within_the_charters_bounds(observed: list[float]) -> None:
    limit = deadline_s(observed, RULE)
    middle = median(observed)
    deviation = median(abs(value - middle) for value in observed)
    wanted = middle + 6.0 * max(deviation, middle / 4)  # equal observations say little about the next
    assert limit == min(max(wanted, 2.0), 60.0)


def test_with_nothing_observed_it_is_a_guess_or_the_ceiling() -> None:
    assert deadline_s([], RULE) == 60.0
    assert deadline_s([], RULE, 5.0) == 5.0
    assert deadline_s([], RULE, 500.0) == 60.0


def test_phases_are_learnt_apart_and_old_observations_fade() -> None:
    book = DeadlineBook(RULE)
    for _ in range(40):
        book.observe(Phase.REDUCE, 50.0)
    for _ in range(32):
        book.observe(Phase.REDUCE, 3.0)
    assert book.limit_s(Phase.REDUCE, 1) == 7.5
    assert book.limit_s(Phase.JOIN, 1) == 60.0


def test_failed_attempts_wait_longer_up_to_the_ceiling() -> None:
    book = DeadlineBook(RULE)
    book.observe(Phase.VOTE, 1.0)
    limits = [book.limit_s(Phase.VOTE, attempt) for attempt in range(1, 12)]
    assert limits[:3] == [2.5, 3.75, 5.625]
    assert limits == sorted(limits) and limits[-1] == 60.0


@pytest.mark.parametrize("attempt", [1_000, 2_000, 2**40])
def test_hours_of_failed_attempts_still_have_a_deadline(attempt: int) -> None:
    assert DeadlineBook(RULE).limit_s(Phase.JOIN, attempt) == 60.0
