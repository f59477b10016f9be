"""A record stands alone: only what a quorum of the right electorate signed, on the right history, is believed."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.state.electorate import Electorate
from swarm.state.records import (
    NO_RECORD,
    Decided,
    Record,
    Value,
    check_contributors,
    read_value,
    value_digest,
    verify_record,
    with_roster,
    without_roster,
)
from swarm.state.roster import read_roster
from swarm.state.run import Run
from tests.simulation import peer_identity
from tests.unit.state.samples import (
    STRANGER,
    ballot_led_by,
    ballot_of,
    make_chain,
    sealed_roster,
    small_charter,
    vote_for,
)

RUN = Run(small_charter())
MADE, NEXT = make_chain(RUN, 2)
CREW = MADE.crew
TAMPERED = st.integers(0, len(MADE.record) - 1)


def verify(record: bytes, electorate: Electorate | None = None) -> Decided:
    return verify_record(
        record,
        RUN,
        MADE.before.electorate if electorate is None else electorate,
        round_number=1,
        previous=NO_RECORD,
        base_digest=MADE.before.state_digest,
    )


def record_with(*votes: wire.Sealed) -> bytes:
    return wire.encode(Record(MADE.encoded, votes))


def vote(identity: Identity, *, ballot: wire.Ballot = MADE.ballot, digest: bytes = MADE.digest) -> wire.Sealed:
    return wire.seal(identity, vote_for(RUN, 1, ballot, digest))


def with_value(field: str, value: object) -> bytes:
    """A record whose value differs in one field, and which everybody has voted for."""
    encoded = wire.encode(msgspec.structs.replace(MADE.value, **{field: value}))
    ballot_vote = vote_for(RUN, 1, MADE.ballot, value_digest(encoded))
    return wire.encode(Record(encoded, tuple(wire.seal(one, ballot_vote) for one in CREW)))


def test_a_good_record_and_any_quorum_of_its_votes() -> None:
    assert verify(MADE.record).digest == MADE.digest
    for pair in ((0, 1), (1, 2), (2, 0)):
        assert verify(record_with(*(vote(CREW[n]) for n in pair))).digest == MADE.digest


def test_too_few_votes() -> None:
    for votes in ((), (vote(CREW[0]),)):
        with pytest.raises(ProtocolError, match="of 3 voices: no quorum"):
            verify(record_with(*votes))


def test_one_elector_counts_once() -> None:
    with pytest.raises(ProtocolError, match="votes of 1 of 3 voices"):
        verify(record_with(vote(CREW[0]), vote(CREW[0])))
    with pytest.raises(ProtocolError, match="votes of 1 of 3 voices"):
        verify(record_with(vote(CREW[0]), vote(CREW[0], ballot=ballot_led_by(CREW[1], 2))))


def test_votes_of_different_ballots_do_not_add_up() -> None:
    split = (
        vote(CREW[0]),
        vote(CREW[1], ballot=ballot_led_by(CREW[0], 2)),
        vote(CREW[2], ballot=ballot_led_by(CREW[1], 3)),
    )
    with pytest.raises(ProtocolError, match="votes of 1 of 3 voices"):
        verify(record_with(*split))


def test_votes_of_others_do_not_count() -> None:
    with pytest.raises(ProtocolError, match="votes of 1 of 3 voices"):
        verify(record_with(vote(CREW[0]), vote(STRANGER), vote(peer_identity(50))))


def test_more_votes_than_electors_are_not_even_read() -> None:
    with pytest.raises(ProtocolError, match="more votes"):
        verify(record_with(*(vote(one) for one in CREW), vote(STRANGER)))


def test_witnesses_count() -> None:
    witness = peer_identity(90)
    electorate = Electorate(MADE.before.electorate.peers, frozenset({witness.peer_id, peer_identity(91).peer_id}))
    assert (electorate.voices.all, electorate.is_thin) == (5, False)
    assert verify(record_with(vote(CREW[0]), vote(CREW[1]), vote(witness)), electorate).digest == MADE.digest
    with pytest.raises(ProtocolError, match="votes of 2 of 5 voices: no quorum"):
        verify(record_with(vote(CREW[0]), vote(witness)), electorate)


def test_a_vote_for_another_value_run_or_round_spoils_the_record() -> None:
    for bent in (
        vote(CREW[1], digest=bytes(32)),
        wire.seal(CREW[1], vote_for(RUN, 2, MADE.ballot, MADE.digest)),
        wire.seal(CREW[1], msgspec.structs.replace(vote_for(RUN, 1, MADE.ballot, MADE.digest), run_id="0" * 64)),
        wire.seal(CREW[1], wire.Proposal(RUN.id, 1, MADE.ballot, MADE.digest)),
        msgspec.structs.replace(vote(CREW[1]), author=CREW[2].peer_id),
    ):
        with pytest.raises(ProtocolError):
            verify(record_with(vote(CREW[0]), bent, vote(CREW[2])))


def test_another_history_is_refused() -> None:
    with pytest.raises(ProtocolError, match="round 1, got 2"):
        verify(NEXT.record)
    for previous, base_digest in ((b"", MADE.after.state_digest), (MADE.digest, MADE.before.state_digest)):
        with pytest.raises(ProtocolError, match="another history"):
            verify_record(
                NEXT.record,
                RUN,
                MADE.after.electorate,
                round_number=2,
                previous=previous,
                base_digest=base_digest,
            )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_id", "0" * 64),
        ("epoch", 1),
        ("epoch", -1),
        ("round", 0),
        ("round", 2**63),
        ("previous", bytes(32)),
        ("base_digest", b""),
        ("weights", ()),
        ("weights", (1, 1, 2)),
        ("weights", (-1, 1, 1)),
        ("chunk_digests", MADE.value.chunk_digests[:-1]),
        ("chunk_digests", (*MADE.value.chunk_digests, bytes(32))),
        ("chunk_digests", (b"", *MADE.value.chunk_digests[1:])),
        ("contributors", MADE.value.contributors[:-1]),
        ("contributors", (b"\xff", *MADE.value.contributors[1:])),
        ("contributors", (b"", *MADE.value.contributors[1:])),
        ("contributors", (bytes(2), *MADE.value.contributors[1:])),
        ("state_digest", bytes(31)),
        ("roster", NEXT.value.roster),
    ],
)
def test_a_value_that_does_not_fit_is_refused_though_all_have_voted_for_it(field: str, value: object) -> None:
    with pytest.raises(ProtocolError):
        verify(with_value(field, value))


@settings(max_examples=300, deadline=None)
@given(at=TAMPERED, change=st.integers(1, 255))
def test_a_tampered_byte_anywhere_never_changes_what_was_decided(at: int, change: int) -> None:
    """A few bytes say nothing (how long a number is written); with those the same value must come out."""
    data = bytearray(MADE.record)
    data[at] ^= change
    try:
        decided = verify(bytes(data))
    except ProtocolError:
        return
    assert (decided.digest, decided.value) == (MADE.digest, MADE.value)


@settings(max_examples=100, deadline=None)
@given(start=TAMPERED, length=st.integers(1, 400), patch=st.binary(max_size=40))
def test_a_piece_replaced_anywhere_never_changes_what_was_decided(start: int, length: int, patch: bytes) -> None:
    data = MADE.record[:start] + patch + MADE.record[start + length :]
    try:
        decided = verify(data)
    except ProtocolError:
        return
    assert (decided.digest, decided.value) == (MADE.digest, MADE.value)


def value_of(crew: Sequence[Identity], ballot: wire.Ballot) -> bytes:
    """The first value with another roster in it, everybody in that one contributing."""
    sealed = sealed_roster(RUN, MADE.before, crew, ballot)
    roster = read_roster(sealed, RUN, MADE.before.state_digest)
    everyone = (roster.bitmap(set(range(len(crew)))),) * RUN.grid.chunks
    return wire.encode(
        msgspec.structs.replace(MADE.value, roster=sealed, weights=roster.weights, contributors=everyone)
    )


def read(value: bytes, electorate: Electorate = MADE.before.electorate) -> Value:
    base_digest = MADE.before.state_digest
    return read_value(value, RUN, electorate, round_number=1, previous=NO_RECORD, base_digest=base_digest)[0]


def test_a_roster_is_led_by_whose_turn_it_is() -> None:
    turn = ballot_of(RUN, MADE.before, CREW)
    assert read(value_of(CREW, turn)).round == 1
    other = next(one for one in CREW if one.peer_id != turn.leader)
    for bent in (
        ballot_led_by(other, turn.attempt),
        ballot_led_by(CREW[0], 0),
        ballot_led_by(CREW[0], -1),
        ballot_led_by(STRANGER, 999),
    ):
        with pytest.raises(ProtocolError, match="no attempt of round 1"):
            read(value_of([*CREW, STRANGER], bent))


def test_a_roster_has_a_quorum_of_the_electorate_in_it() -> None:
    turn = ballot_of(RUN, MADE.before, CREW)
    leader = next(one for one in CREW if one.peer_id == turn.leader)
    newcomers = [peer_identity(number) for number in (5, 6, 7)]
    with pytest.raises(ProtocolError, match="no quorum of round 1"):
        read(value_of([leader, *newcomers], turn))
    witness = frozenset({peer_identity(90).peer_id, peer_identity(91).peer_id})
    assert read(value_of([leader, *newcomers], turn), Electorate(MADE.before.electorate.peers, witness)).round == 1


def with_least(min_contributors: int) -> Run:
    charter = small_charter()
    reduce = msgspec.structs.replace(charter.reduce, min_contributors=min_contributors, single_update_may_cross=False)
    return Run(msgspec.structs.replace(charter, reduce=reduce))


def test_no_state_holds_a_mean_of_too_few_members_where_states_cross_borders() -> None:
    bitmaps = {count: MADE.roster.bitmap(set(range(count))) for count in range(4)}
    for count in (0, 3):
        check_contributors(with_least(3), MADE.roster, [bitmaps[3], bitmaps[count]])
    for least in (1, 2, 3):
        for count in (1, 2):
            with pytest.raises(ProtocolError, match="fewer than the 3 members"):
                check_contributors(with_least(least), MADE.roster, [bitmaps[3], bitmaps[count]])
    charter = with_least(3).charter
    one_region = Run(msgspec.structs.replace(charter, regions=charter.regions[:1]))
    check_contributors(one_region, MADE.roster, [bitmaps[1]])


def test_the_next_electorate_is_the_roster_and_the_charters_witnesses() -> None:
    run = Run(small_charter(witnesses=1))
    (made,) = make_chain(run, 1)
    after = Electorate.after(run, made.roster)
    assert after.peers == frozenset(one.peer_id for one in CREW)
    assert after.witnesses == frozenset({peer_identity(90).peer_id})
    assert (after.voters, after.voices.all) == (after.peers | after.witnesses, len(CREW) + 1)


def test_a_value_goes_without_its_roster_and_is_whole_again_byte_for_byte() -> None:
    made = MADE
    value = wire.decode(made.encoded, Value)
    brief = without_roster(value)
    assert len(brief) < len(made.encoded) / 3
    assert with_roster(brief, value.roster, value.weights) == made.encoded
    assert with_roster(made.encoded, value.roster, ()) == made.encoded
    with pytest.raises(ProtocolError):
        with_roster(b"no value", value.roster, ())
