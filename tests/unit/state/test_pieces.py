"""Who is asked for which piece: every piece comes, whatever donors do, and nobody waits for the slowest."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.identity.peer_id import PeerId
from swarm.state.pieces import MAX_WINDOW, MIN_WINDOW, Pieces

FAST, SLOW, SILENT = PeerId("fast"), PeerId("slow"), PeerId("silent")


def fetch(pieces: Pieces, piece_s: dict[PeerId, float], *, until_s: float = 10_000.0) -> tuple[float, Counter[PeerId]]:
    """Donors that take so long for a piece each, one piece after the other; when all is here, and who gave how much."""
    now_s, given_by = 0.0, Counter[PeerId]()
    due_s = dict.fromkeys(piece_s, 0.0)
    while pieces.left:
        for donor in piece_s:
            was_idle = not pieces.asked_of(donor)
            if pieces.ask(donor, now_s) and was_idle:
                due_s[donor] = now_s + piece_s[donor]
        busy = [donor for donor in piece_s if pieces.asked_of(donor)]
        assert busy, "pieces are left and nobody owes one"
        donor = min(busy, key=lambda one: due_s[one])
        now_s = due_s[donor]
        assert now_s < until_s
        given_by[donor] += 1
        pieces.arrived(donor, pieces.asked_of(donor)[0], now_s)
        due_s[donor] = now_s + piece_s[donor]
    return now_s, given_by


def test_donors_give_in_proportion_to_their_rates() -> None:
    took_s, given_by = fetch(Pieces(range(400)), {FAST: 0.1, SLOW: 0.3})
    assert took_s == pytest.approx(400 / (1 / 0.1 + 1 / 0.3), rel=0.03)
    assert given_by[FAST] == pytest.approx(300, rel=0.05)


def test_a_silent_donor_costs_the_pieces_it_holds_once_more_and_no_time() -> None:
    took_s, given_by = fetch(Pieces(range(100)), {SILENT: 5000.0, FAST: 0.1})
    assert given_by == {FAST: 100}
    assert took_s == pytest.approx(100 * 0.1, rel=0.05)


def test_a_donor_that_falls_silent_after_a_good_start_is_not_waited_for() -> None:
    pieces = Pieces(range(6))
    assert pieces.ask(SILENT, 0.0) == (0, 1)
    assert pieces.arrived(SILENT, 0, 0.01)
    assert pieces.arrived(SILENT, 1, 0.02)
    assert pieces.ask(SILENT, 0.02) == (2, 3, 4, 5)
    assert pieces.ask(FAST, 0.02) == ()  # at the rate shown, they are here before anybody else could bring them
    assert pieces.ask(FAST, 9.0) == (5,)


def test_the_first_copy_counts_and_nobody_is_asked_for_a_piece_twice() -> None:
    pieces = Pieces([7])
    assert pieces.ask(SLOW, 0.0) == (7,)
    assert pieces.ask(FAST, 0.0) == (7,)
    assert pieces.ask(SILENT, 0.0) == ()  # two are enough
    assert pieces.ask(FAST, 50.0) == ()
    assert pieces.arrived(FAST, 7, 0.1) and pieces.left == 0
    assert not pieces.arrived(SLOW, 7, 0.2)


def test_what_a_donor_leaves_is_asked_of_others_first() -> None:
    pieces = Pieces(range(100))
    owed = pieces.ask(SLOW, 0.0)
    pieces.leave(SLOW)
    assert pieces.ask(FAST, 0.0) == owed
    pieces.leave(SILENT)  # one that owes nothing


def test_windows_hold_about_a_second() -> None:
    pieces = Pieces(range(1000))
    assert len(pieces.ask(FAST, 0.0)) == MIN_WINDOW
    now_s = 0.0
    for _ in range(100):
        now_s += 0.1
        pieces.arrived(FAST, pieces.asked_of(FAST)[0], now_s)
        pieces.ask(FAST, now_s)
    assert 9 <= len(pieces.asked_of(FAST)) <= 11
    for _ in range(100):
        now_s += 0.001
        pieces.arrived(FAST, pieces.asked_of(FAST)[0], now_s)
        pieces.ask(FAST, now_s)
    assert len(pieces.asked_of(FAST)) == MAX_WINDOW


@given(
    count=st.integers(1, 30),
    steps=st.lists(st.tuples(st.sampled_from([FAST, SLOW, SILENT]), st.sampled_from("agl")), max_size=200),
)
def test_whatever_donors_do_no_piece_is_lost_or_counted_twice(count: int, steps: list[tuple[PeerId, str]]) -> None:
    pieces, here, now_s = Pieces(range(count)), Counter[int](), 0.0
    for donor, step in steps:
        now_s += 0.5
        owed = pieces.asked_of(donor)
        if step == "a":
            fresh = pieces.ask(donor, now_s)
            assert not set(fresh) & set(owed) and len(owed) + len(fresh) <= MAX_WINDOW
        elif step == "l":
            pieces.leave(donor)
        elif owed and pieces.arrived(donor, owed[0], now_s):
            here[owed[0]] += 1
    assert pieces.left == count - len(here)
    for donor in (SLOW, SILENT):
        pieces.leave(donor)
    while pieces.left:
        now_s += 0.1
        pieces.ask(FAST, now_s)
        index = pieces.asked_of(FAST)[0]
        here[index] += pieces.arrived(FAST, index, now_s)
    assert here == dict.fromkeys(range(count), 1)
