"""The projection: what a made-up run comes to, and that nobody can tell in which order its news arrived."""

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from swarm import events
from swarm.telemetry.facts import KEPT_ROUNDS, Facts, apply
from swarm.telemetry.seen import (
    Announced,
    Decided,
    Logged,
    Parted,
    Recipient,
    Remark,
    RoundPart,
    RunSeen,
    Seat,
    Seen,
    Told,
)
from swarm.telemetry.view import SILENT_AFTER_S, View, view
from tests.unit.telemetry.story import BEGAN_AT, PEERS, ROUNDS, spent, story

ADA, BOB, CYN = PEERS
NOW_S = BEGAN_AT + 72.0


def _view(told: list[Seen], now_s: float = NOW_S) -> View:
    return view(reduce(apply, told, Facts()), now_s)


def _decided(number: int, digest: str = "") -> Decided:
    seats = tuple(
        Seat(peer=peer, region=region, member=member, tokens=50, weight=1, counted=peer != CYN)
        for peer, (region, member) in PEERS.items()
    )
    return Decided(
        round=number,
        attempt=2,
        leader=ADA,
        seats=seats,
        votes=(ADA, BOB),
        voters=3,
        state_digest=digest or f"{number:064x}",
    )


def _told(at: float, loss: float | None = 1.5) -> Told:
    return Told(
        peer=BOB,
        at=at,
        round=3,
        isolation="namespaces",
        reach="direct",
        tokens_per_s=55.0,
        loss=loss,
        bytes_by_kind={"update": 9},
        refused=2,
        denied=1,
        aborted=0,
        epsilon=0.25,
        delta=1e-6,
        rounds={3: RoundPart(at=at, committed=True, seconds=0.7, loss=loss, tokens=7)},
        links=(Recipient(peer=CYN, region="asia", bytes=9),),
    )


def _announced(at: float, phase: str) -> Announced:
    return Announced(
        peer=CYN, at=at, region="asia", member="cy", phase=phase, round=4, tokens_per_s=70.0, reach="behind NAT"
    )


def _charter(at: float, *regions: str) -> RunSeen:
    return RunSeen(
        at=at,
        run_id="ab",
        name="r",
        admission="open",
        min_contributors=1,
        parameters=7,
        regions=dict.fromkeys(regions, ("DE",)),
    )


EVERYTHING: list[Seen] = [
    *story(),
    _charter(BEGAN_AT, "eu", "asia"),
    _charter(BEGAN_AT + 20, "eu", "asia", "africa"),
    _charter(BEGAN_AT + 20, "eu", "asia", "oceania"),
    *(_decided(number) for number in (2, 3)),
    replace(_decided(3, "e" * 64), chain=1),
    Parted(chain=1, round=2),
    _told(BEGAN_AT + 50),
    _told(BEGAN_AT + 50, loss=1.25),
    _told(BEGAN_AT + 60, loss=None),
    _announced(BEGAN_AT + 71, "ready"),
    _announced(BEGAN_AT + 71, "training"),
    Remark(subject="s", at=BEGAN_AT, text="first"),
    Remark(subject="s", at=BEGAN_AT + 1, text="second"),
]


def test_a_run_in_figures() -> None:
    seen = _view([*story()])
    assert (seen.head, seen.state_digest) == (ROUNDS, f"{ROUNDS:064x}")
    assert [(row.name, row.peers, row.live) for row in seen.regions] == [("asia", 1, 1), ("eu", 2, 2)]
    assert (seen.totals.refused, seen.totals.live, seen.totals.tokens_per_s) == (1, 3, 300.0)
    last = seen.rounds[-1]
    assert (last.committed, last.verified, last.apart, last.votes, last.counted) == (True, False, False, None, 3)
    assert (last.seconds, last.reduce_s, last.form_s, last.tokens) == (0.5, 0.2, None, 600)
    # ada and bob give 100 and 200 tokens at losses 2.0 and 2.25.
    assert last.loss == {"asia": pytest.approx(2.5), "eu": pytest.approx((2.0 * 100 + 2.25 * 200) / 300)}
    # Two links inside eu, four across; totals grow by 1,000 bytes a round and link.
    assert all((row.inside_bytes, row.across_bytes) == (2000, 4000) for row in seen.rounds)
    assert (seen.totals.inside_bytes, seen.totals.across_bytes) == (2000 * ROUNDS, 4000 * ROUNDS)
    assert [row.isolation for row in seen.peers] == ["confined"] * 3
    assert seen.links.bytes == tuple(
        tuple(0 if source == target else 1000 * ROUNDS for target in range(3)) for source in range(3)
    )


def test_a_verified_record_stands_above_what_logs_say() -> None:
    (row,) = [row for row in _view([*story(), _decided(3)]).rounds if row.round == 3]
    assert (row.verified, row.votes, row.voters, row.counted, row.attempt, row.tokens) == (True, 2, 3, 2, 2, 150)


def test_an_amended_charter_stands_above_the_one_before() -> None:
    told: list[Seen] = [_charter(NOW_S, "eu", "africa"), _charter(BEGAN_AT, "eu", "asia")]
    assert [row.name for row in _view(told).regions] == ["africa", "eu"]


def test_bases_that_differ_are_shown() -> None:
    rounds = _view([*story(), _decided(3, "f" * 64)]).rounds
    assert [row.round for row in rounds if row.apart] == [3]


def test_rounds_of_a_chain_that_was_left_are_void() -> None:
    """Those before the fork stay, those after it are the other chain's, however few these are."""
    old = [_decided(number) for number in range(1, 6)]
    new = [Parted(chain=1, round=2), replace(_decided(3, "e" * 64), chain=1)]
    rounds = _view([*old, *new]).rounds
    assert [row.round for row in rounds if row.verified] == [1, 2, 3] and rounds[2].state_digest == "e" * 64
    assert not any(row.apart for row in rounds)


def test_a_rejected_round_is_told_by_its_record() -> None:
    (row,) = _view([replace(_decided(3), accepting=1.0, rejecting=2.0)]).rounds
    assert (row.verified, row.accepting, row.rejecting) == (True, 1.0, 2.0)


def test_what_only_the_directory_knows_is_no_nought() -> None:
    seen = _view([_announced(NOW_S, "training")])
    assert (seen.head, seen.totals.telling, [row.tells for row in seen.peers]) == (4, 0, [False])
    assert [(row.inside_bytes, row.across_bytes) for row in seen.regions] == [(None, None)]
    told = _view([_announced(NOW_S, "training"), _told(NOW_S)])
    assert told.totals.telling == 1 and [row.tells for row in told.peers if row.peer == BOB] == [True]


def test_who_is_neither_peer_nor_in_a_roster_is_one_of_the_others() -> None:
    links = (("bootstrap", 5), ("an observer", 7), (CYN, 9))
    sent_to = tuple(events.SentTo(peer=peer, region="", bytes=count) for peer, count in links)
    event = events.BytesOut(round=1, by_kind={}, peers=3, sent_to=sent_to, inside_bytes=0, across_bytes=9)
    alone = _view([Logged(peer=ADA, at=1.0, event=event)], 2.0).links
    assert alone.names == (ADA[-6:], "others") and alone.bytes[0] == (0, 21)
    links = _view([*story()[:2], Logged(peer=ADA, at=1.0, event=event), _decided(1)], 2.0).links
    assert links.names[-1] == "others" and sorted(links.bytes[links.names.index(ADA[-6:])]) == [0, 0, 9, 12]


def test_bytes_of_rounds_that_nobody_told_of_are_put_into_no_other() -> None:
    def sent(number: int, total: int) -> Logged:
        links = (events.SentTo(peer=CYN, region="asia", bytes=total),)
        event = events.BytesOut(round=number, by_kind={}, peers=2, sent_to=links, across_bytes=total)
        return Logged(peer=ADA, at=float(number), event=event)

    rounds = _view([sent(5, 100), sent(6, 130), sent(9, 300), sent(10, 320)], 11.0).rounds
    assert [row.across_bytes for row in rounds] == [None, 30, None, 20]


def test_who_says_nothing_is_silent_and_does_not_count() -> None:
    seen = _view([*story()], NOW_S + SILENT_AFTER_S + 1)
    assert {row.state for row in seen.peers} == {"silent"}
    assert (seen.totals.live, seen.totals.tokens_per_s) == (0, 0.0)


def test_who_has_left_is_no_alarm() -> None:
    left = Logged(peer=ADA, at=NOW_S, event=events.NodeStopped(round=4, saved=""))
    seen = _view([*story(), left], NOW_S + 10_000)
    assert [row.state for row in seen.peers if row.peer == ADA] == ["stopped"]


def test_privacy_spent_and_the_border_of_an_old_log() -> None:
    bytes_only = events.BytesOut(round=1, by_kind={"update": 5}, peers=1)
    told: list[Seen] = [spent(), Logged(peer=ADA, at=1.0, event=bytes_only)]
    seen = _view(told, 2.0)
    assert (seen.totals.epsilon, seen.totals.sent_bytes, seen.rounds) == (0.5, 5, ())


def test_a_node_that_was_started_again_begins_its_totals_anew() -> None:
    def sent(number: int, total: int) -> Logged:
        event = events.BytesOut(
            round=number,
            by_kind={},
            peers=2,
            sent_to=(events.SentTo(peer=CYN, region="asia", bytes=total),),
            across_bytes=total,
        )
        return Logged(peer=ADA, at=float(number), event=event)

    rounds = _view([sent(1, 100), sent(2, 250), sent(3, 40), sent(4, 50)], 5.0).rounds
    assert [row.across_bytes for row in rounds] == [100, 150, 40, 10]


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(EVERYTHING))
def test_order_does_not_matter(order: list[Seen]) -> None:
    assert _view(order) == _view(EVERYTHING)


@settings(max_examples=30, deadline=None)
@given(twice=st.lists(st.sampled_from([seen for seen in EVERYTHING if not isinstance(seen, Logged)])))
def test_what_an_observer_learns_may_come_twice(twice: list[Seen]) -> None:
    assert _view([*EVERYTHING, *twice]) == _view(EVERYTHING)


def test_old_rounds_are_forgotten_by_number() -> None:
    numbers = range(1, KEPT_ROUNDS + 20)
    facts = reduce(apply, [_decided(number) for number in reversed(numbers)], Facts())
    assert sorted(facts.rounds) == list(numbers[-KEPT_ROUNDS:])
    one_more = apply(facts, replace(_decided(1), votes=()))
    assert sorted(one_more.rounds) == list(numbers[-KEPT_ROUNDS:])
