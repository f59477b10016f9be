"""The machine of a secure sum: whatever the order, a self-mask goes out once, and only when all are ready."""

from hypothesis import given
from hypothesis import strategies as st

from swarm.round.secure.phases import (
    Code,
    End,
    Failure,
    Happened,
    Phases,
    Receipt,
    Reveal,
    SayAllKept,
    Seed,
    Todo,
    Word,
    after,
    begin,
)

GIVERS = frozenset(range(4))
ME, OWNERS = 0, frozenset({1, 2, 3})
PHASES = Phases(seat=ME, givers=GIVERS, due=OWNERS)

happenings = st.one_of(
    st.sampled_from([Receipt(owner) for owner in OWNERS]),
    st.sampled_from([Word(seat) for seat in GIVERS - {ME}]),
    st.sampled_from([Seed(seat, bytes([seat])) for seat in GIVERS]),
    st.sampled_from([Failure(code) for code in Code]),
)


def played(happened: list[Happened], phases: Phases = PHASES) -> tuple[Phases, list[list[Todo]]]:
    phases, first = begin(phases)
    todos = [list(first)]
    for each in happened:
        phases, todo = after(phases, each)
        todos.append(list(todo))
    return phases, todos


@given(st.lists(happenings, max_size=25))
def test_nothing_is_revealed_before_every_receipt_and_everybodys_word(happened: list[Happened]) -> None:
    _, todos = played(happened)
    has_ended = False
    for index, todo in enumerate(todos):
        before = happened[:index]
        for each in todo:
            assert not has_ended
            if isinstance(each, SayAllKept | Reveal):
                assert {one.owner for one in before if isinstance(one, Receipt)} >= OWNERS
            if isinstance(each, Reveal):
                assert GIVERS - {ME} <= {one.seat for one in before if isinstance(one, Word)}
                assert not any(isinstance(one, Failure) for one in before)
            has_ended = has_ended or isinstance(each, End)
    flat = [each for todo in todos for each in todo]
    assert sum(isinstance(each, Reveal) for each in flat) <= 1
    assert sum(isinstance(each, SayAllKept) for each in flat) <= 1


def test_all_receipts_and_words_lead_to_the_self_mask() -> None:
    phases, todos = played([Word(1), Receipt(1), Word(2), Receipt(2), Receipt(3), Word(3)])
    assert todos[5] == [SayAllKept()] and todos[6] == [Reveal()]
    assert phases.is_revealed


def test_whoever_is_missing_in_any_phase_keeps_the_self_mask_here() -> None:
    whole: list[Happened] = [Receipt(1), Receipt(2), Receipt(3), Word(1), Word(2), Word(3)]
    for absent in range(len(whole)):
        phases, todos = played([*whole[:absent], *whole[absent + 1 :], Failure(Code.TOO_LATE), whole[absent]])
        assert not phases.is_revealed and phases.ended is Code.TOO_LATE
        assert [each for todo in todos for each in todo if isinstance(each, Reveal)] == []
        assert End(Code.TOO_LATE, is_spent=False) in todos[-2]


def test_an_end_after_the_self_mask_says_that_the_update_is_spent() -> None:
    phases, todos = played(
        [Receipt(1), Receipt(2), Receipt(3), Word(1), Word(2), Word(3), Seed(1, b"a"), Failure(Code.MEMBER_LOST)]
    )
    assert todos[-1] == [End(Code.MEMBER_LOST, is_spent=True)]
    assert phases.seeds == {}, "nothing can be opened with what is left here"


def test_two_self_masks_of_one_member_end_the_sum() -> None:
    _, todos = played([Seed(2, b"a"), Seed(2, b"a"), Seed(2, b"b")])
    assert todos[2] == [] and todos[3] == [End(Code.BAD_MASK, is_spent=False)]


def test_who_gives_nothing_says_and_reveals_nothing() -> None:
    watcher = Phases(seat=None, givers=GIVERS, due=frozenset())
    _, todos = played([Word(0), Word(1), Word(2), Word(3), Seed(1, b"a")], watcher)
    assert not any(todos)


def test_who_sends_its_parts_to_nobody_is_ready_at_once() -> None:
    owner_of_all = Phases(seat=ME, givers=GIVERS, due=frozenset())
    _, todos = played([Word(1), Word(2), Word(3)], owner_of_all)
    assert todos[0] == [SayAllKept()] and todos[-1] == [Reveal()]
