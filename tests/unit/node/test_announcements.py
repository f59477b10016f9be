"""Entries of the directory: what holds is remembered, what depends on the time is judged every time."""

import msgspec
import pytest

from swarm.charter import epochs
from swarm.charter import passport as passports
from swarm.charter.passport import issue
from swarm.net import wire
from swarm.node.announcements import MAX_CLOCK_SKEW_S, read_announcement
from swarm.state.run import Run
from tests.governing import revocation
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity
from tests.unit.state.samples import small_charter

RUN = Run(small_charter())
AUTHOR = peer_identity(1)
EXPIRES_S = CREATED_S + 1500
PASSPORT = passports.encode(issue(MEMBER_KEYS[0], RUN.charter, AUTHOR.peer_id, "DE", EXPIRES_S, CREATED_S))
ENTRY = wire.Announcement(
    run_id=RUN.id,
    peer=AUTHOR.peer_id,
    region="eu",
    passport=PASSPORT,
    addresses=(),
    round=7,
    tokens=10,
    tokens_per_s=1.5,
    phase="ready",
    at=CREATED_S + 1000.0,
    dialable=True,
    relays=(),
)


def sealed(entry: wire.Announcement = ENTRY) -> bytes:
    return wire.encode_sealed(wire.seal(AUTHOR, entry))


@pytest.mark.parametrize("skew_s", [-MAX_CLOCK_SKEW_S - 1, MAX_CLOCK_SKEW_S + 1, -MAX_CLOCK_SKEW_S, 0.0])
def test_a_remembered_entry_grows_old_like_any_other(skew_s: float) -> None:
    data = sealed()
    assert read_announcement(data, RUN, ENTRY.at) == ENTRY
    expected = ENTRY if abs(skew_s) <= MAX_CLOCK_SKEW_S else None
    assert read_announcement(data, RUN, ENTRY.at + skew_s) == expected


def test_a_remembered_entry_ends_with_its_passport() -> None:
    data = sealed(msgspec.structs.replace(ENTRY, at=EXPIRES_S - 1.0))
    assert read_announcement(data, RUN, EXPIRES_S - 0.5) is not None
    assert read_announcement(data, RUN, EXPIRES_S + 0.5) is None


def test_a_remembered_entry_ends_when_its_passport_is_withdrawn() -> None:
    data, key = sealed(), MEMBER_KEYS[0]
    assert read_announcement(data, RUN, ENTRY.at) == ENTRY
    for document in (
        revocation(RUN.id, key.peer_id, [key], peer=AUTHOR.peer_id),
        revocation(RUN.id, key.peer_id, MEMBER_KEYS[1:10]),
    ):
        assert read_announcement(data, RUN.under(epochs.plus(RUN.rules, document)), ENTRY.at) is None
    other = revocation(RUN.id, key.peer_id, [key], peer=peer_identity(2).peer_id)
    assert read_announcement(data, RUN.under(epochs.plus(RUN.rules, other)), ENTRY.at) == ENTRY


def test_an_entry_holds_for_its_own_run_only_however_often_it_was_read() -> None:
    data = sealed()
    other = Run(msgspec.structs.replace(small_charter(), run=msgspec.structs.replace(RUN.charter.run, name="other")))
    for _ in range(2):
        assert read_announcement(data, RUN, ENTRY.at) == ENTRY
        assert read_announcement(data, other, ENTRY.at) is None


def test_an_entry_under_another_name_is_passed_over_every_time() -> None:
    stolen = wire.encode_sealed(wire.seal(peer_identity(2), ENTRY))
    assert [read_announcement(stolen, RUN, ENTRY.at) for _ in range(2)] == [None, None]
