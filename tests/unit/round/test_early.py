"""Who is still at its inner steps, as far as announcements say it, and for how long they are believed."""

import msgspec

from swarm.net import wire
from swarm.round.early import RENEWED_WITHIN_S, StillTraining

ALL = {"a", "b", "c"}
ENTRY = wire.Announcement(
    run_id="run",
    peer="a",
    region="eu",
    passport=b"",
    addresses=(),
    dialable=True,
    relays=(),
    round=3,
    tokens=0,
    tokens_per_s=0.0,
    phase="training",
    at=100.0,
)


def test_those_of_this_round_that_are_training_count() -> None:
    ready = msgspec.structs.replace(ENTRY, phase="ready")
    earlier = msgspec.structs.replace(ENTRY, round=2)
    seen = StillTraining()
    assert seen.of_round(ALL, {"a": ENTRY, "b": ready, "c": earlier}, 3, 0.0) == {"a"}


def test_word_that_is_not_renewed_counts_for_a_while_only() -> None:
    """Whatever the directory still shows: its entries outlive it where it cannot be reached."""
    seen = StillTraining()
    assert seen.of_round(ALL, {"a": ENTRY}, 3, 0.0) == {"a"}
    assert seen.of_round(ALL, {"a": ENTRY}, 3, RENEWED_WITHIN_S) == {"a"}
    assert seen.of_round(ALL, {"a": ENTRY}, 3, RENEWED_WITHIN_S + 1) == frozenset()
    renewed = msgspec.structs.replace(ENTRY, at=105.0)
    assert seen.of_round(ALL, {"a": renewed}, 3, 200.0) == {"a"}
    assert seen.of_round(ALL, {}, 3, 201.0) == frozenset()
    assert seen.of_round(ALL, {"a": renewed}, 3, 240.0) == frozenset(), "gone from one look and back is no renewal"


def test_an_older_entry_renews_nothing() -> None:
    seen = StillTraining()
    seen.of_round(ALL, {"a": ENTRY}, 3, 0.0)
    older = msgspec.structs.replace(ENTRY, at=99.0)
    assert seen.of_round(ALL, {"a": older}, 3, RENEWED_WITHIN_S + 1) == frozenset()


def test_whom_nobody_asks_for_or_who_is_doubted_does_not_count() -> None:
    seen = StillTraining()
    assert seen.of_round({"b"}, {"a": ENTRY}, 3, 0.0) == frozenset()
    seen.doubted.add("a")
    assert seen.of_round(ALL, {"a": ENTRY}, 3, 0.0) == frozenset()
