"""A roster is believed only if its leader sealed it, every join in it was sealed by its author, and all of them fit."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.charter.passport import encode as encode_passport
from swarm.charter.passport import issue
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.state.roster import MAX_BPS, Roster, Seat, read_join, read_roster, result_digest
from swarm.state.run import Run
from tests.simulation import CREATED_S, MEMBER_KEYS, make_charter, peer_identity
from tests.unit.state.samples import (
    STRANGER,
    ballot_led_by,
    join_of,
    passport_of,
    roster_of,
    sealed_roster,
    small_charter,
    zero_head,
)

RUN = Run(small_charter())
HEAD = zero_head(RUN)
CREW = [peer_identity(number) for number in range(3)]
BALLOT = ballot_led_by(CREW[0])


def good_join(number: int) -> wire.Join:
    return join_of(RUN, HEAD, CREW[number], BALLOT, member=number)


def read(*joins: wire.Sealed, run: Run = RUN) -> Roster:
    return read_roster(roster_of(run, joins, CREW[0], BALLOT, HEAD), run, HEAD.state_digest)


def test_seats_are_in_one_order_whatever_the_order_of_joins() -> None:
    joins = [wire.seal(one, good_join(number)) for number, one in enumerate(CREW)]
    there, back = read(*joins), read(*reversed(joins))
    assert (there.round, there.ballot, there.seats, there.weights) == (
        back.round,
        back.ballot,
        back.seats,
        back.weights,
    )
    assert list(there.peers) == sorted(one.peer_id for one in CREW)
    assert {seat.member for seat in there.seats} == {"m0", "m1", "m2"}


def test_weights_keep_the_cap_and_ignore_claims_under_the_uniform_policy() -> None:
    charter = small_charter()
    capped = Run(msgspec.structs.replace(charter, weights=msgspec.structs.replace(charter.weights, cap_percent=50)))
    joins = []
    for number, one in enumerate(CREW):
        member = min(number, 1)  # the second member has two peers
        join = join_of(capped, HEAD, one, BALLOT, member=member)
        joins.append(wire.seal(one, msgspec.structs.replace(join, tokens=10**number)))
    roster = read(*joins, run=capped)
    of_second = sum(w for w, seat in zip(roster.weights, roster.seats, strict=True) if seat.member == "m1")
    assert Fraction(of_second, sum(roster.weights)) <= Fraction(1, 2)


def test_a_cap_that_this_roster_cannot_keep_is_refused() -> None:
    charter = small_charter()
    capped = Run(msgspec.structs.replace(charter, weights=msgspec.structs.replace(charter.weights, cap_percent=40)))
    joins = [wire.seal(one, join_of(capped, HEAD, one, BALLOT, member=n)) for n, one in enumerate(CREW[:2])]
    with pytest.raises(ProtocolError, match="cap"):
        read(*joins, run=capped)


def test_a_join_twice_is_refused() -> None:
    sealed = wire.seal(CREW[0], good_join(0))
    with pytest.raises(ProtocolError, match="twice"):
        read(sealed, sealed)


def test_an_empty_roster_and_one_nobody_can_dial_are_refused() -> None:
    with pytest.raises(ProtocolError, match="0 peers"):
        read()
    with pytest.raises(ProtocolError, match="dialled"):
        read(wire.seal(CREW[0], msgspec.structs.replace(good_join(0), dialable=False)))


def test_a_passport_that_had_expired_before_another_one_began_is_refused_whatever_the_clock_says() -> None:
    """An auditor, and whoever verifies a record years later, has no other clock than the passports themselves."""

    def timed(number: int, begins_s: int, ends_s: int) -> wire.Sealed:
        peer = CREW[number].peer_id
        signed = issue(MEMBER_KEYS[number], RUN.charter, peer, "DE", CREATED_S + ends_s, CREATED_S + begins_s)
        passport = msgspec.structs.replace(good_join(number), passport=encode_passport(signed))
        return wire.seal(CREW[number], passport)

    assert len(read(timed(0, 1000, 5000), timed(1, 5000, 9000)).seats) == 2, "five minutes for wrong clocks"
    with pytest.raises(ProtocolError, match="expired before another one in it began"):
        read(timed(0, 1000, 5000), timed(1, 5300, 9000))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("round", 2),
        ("round", 0),
        ("round", -1),
        ("ballot", ballot_led_by(CREW[0], 2)),
        ("ballot", ballot_led_by(CREW[1])),
        ("base_digest", bytes(32)),
        ("run_id", "0" * 64),
        ("passport", b""),
        ("passport", b"{}"),
        ("tokens", -1),
        ("tokens", 2**63),
        ("tokens", wire.MAX_ROUND + 1),
    ],
)
def test_a_join_for_something_else_or_out_of_range_is_refused(field: str, value: object) -> None:
    bent = wire.seal(CREW[1], msgspec.structs.replace(good_join(1), **{field: value}))
    with pytest.raises(ProtocolError):
        read(wire.seal(CREW[0], good_join(0)), bent)


def test_a_forged_signature_is_refused() -> None:
    sealed = wire.seal(CREW[1], good_join(1))
    forged = (
        msgspec.structs.replace(sealed, author=CREW[2].peer_id),
        msgspec.structs.replace(sealed, signature=bytes(64)),
        msgspec.structs.replace(sealed, signature=b""),
        wire.seal(STRANGER, good_join(1)),
    )
    for one in forged:
        with pytest.raises(ProtocolError):
            read(wire.seal(CREW[0], good_join(0)), one)


def test_the_passport_must_be_the_authors_own() -> None:
    borrowed = msgspec.structs.replace(good_join(1), passport=passport_of(RUN, CREW[2], member=2))
    with pytest.raises(ProtocolError, match="wrong_peer"):
        read_join(wire.seal(CREW[1], borrowed), RUN)


def test_a_stranger_is_refused_and_one_with_a_members_passport_is_not() -> None:
    outsider = Run(msgspec.structs.replace(RUN.charter, members=RUN.charter.members[3:]))
    foreign = msgspec.structs.replace(good_join(1), passport=passport_of(outsider, STRANGER, member=5))
    with pytest.raises(ProtocolError, match="wrong_run"):
        read_join(wire.seal(STRANGER, foreign), RUN)
    welcome = msgspec.structs.replace(good_join(1), passport=passport_of(RUN, STRANGER, member=5))
    assert read_join(wire.seal(STRANGER, welcome), RUN)[1].member == "m5"


def test_a_roster_is_its_ballots_leaders() -> None:
    joins = [wire.seal(one, good_join(number)) for number, one in enumerate(CREW)]
    with pytest.raises(ProtocolError, match="leader"):
        read_roster(roster_of(RUN, joins, CREW[1], BALLOT, HEAD), RUN, HEAD.state_digest)
    good = sealed_roster(RUN, HEAD, CREW, BALLOT)
    with pytest.raises(ProtocolError, match="base"):
        read_roster(good, RUN, bytes(32))


def made_roster(*, contributes: tuple[bool, ...]) -> Roster:
    seats = tuple(Seat(PeerId(f"p{n:03}"), f"m{n % 3}", "eu", does, True, 0) for n, does in enumerate(contributes))
    return Roster(1, BALLOT, seats, (1,) * len(seats))


@given(contributes=st.lists(st.booleans(), min_size=1, max_size=40), data=st.data())
def test_bitmaps_round_trip_and_name_givers_only(contributes: list[bool], data: st.DataObject) -> None:
    roster = made_roster(contributes=tuple(contributes))
    chosen = data.draw(st.sets(st.integers(0, len(contributes) - 1)))
    bitmap = roster.bitmap(chosen)
    assert len(bitmap) == (len(contributes) + 7) // 8
    if all(contributes[number] for number in chosen):
        assert set(roster.contributors(bitmap)) == chosen
        assert roster.members_in(bitmap) == len({number % 3 for number in chosen})
    else:
        with pytest.raises(ProtocolError):
            roster.contributors(bitmap)


@settings(deadline=None)
@given(seats=st.integers(1, 20), bitmap=st.binary(max_size=5))
def test_any_bitmap_names_seats_that_exist_or_is_refused(seats: int, bitmap: bytes) -> None:
    roster = made_roster(contributes=(True,) * seats)
    try:
        numbers = roster.contributors(bitmap)
    except ProtocolError:
        return
    assert all(0 <= number < seats for number in numbers)
    assert roster.bitmap(set(numbers)) == bitmap


def test_a_rate_nobody_can_have_is_refused() -> None:
    for field in ("up_bps", "down_bps"):
        for value in (-1, MAX_BPS + 1):
            bent = wire.seal(CREW[1], msgspec.structs.replace(good_join(1), **{field: value}))
            with pytest.raises(ProtocolError, match="impossible rate"):
                read_join(bent, RUN)
    kept = wire.seal(CREW[1], msgspec.structs.replace(good_join(1), up_bps=MAX_BPS, down_bps=7))
    seat = read_join(kept, RUN)[1]
    assert (seat.up_bps, seat.down_bps) == (MAX_BPS, 7)


@given(
    members=st.lists(st.tuples(st.sampled_from(("m0", "m1", "m2")), st.sampled_from(("eu", "asia"))), max_size=8),
    least=st.integers(1, 3),
)
def test_a_mean_may_cross_where_each_region_in_it_stands_for_enough_members(
    members: list[tuple[str, str]], least: int
) -> None:
    seats = tuple(Seat(PeerId(f"p{n}"), member, region, True, True, 0) for n, (member, region) in enumerate(members))
    roster = Roster(1, BALLOT, seats, (1,) * len(seats))
    of_region = {region: {m for m, where in members if where == region} for _, region in members}
    assert roster.may_cross(range(len(seats)), least) == all(len(found) >= least for found in of_region.values())


def test_a_result_digest_binds_who_is_in_it() -> None:
    assert len({result_digest(*pair) for pair in ((b"a", b"bc"), (b"ab", b"c"), (b"", b"abc"))}) == 3


def test_a_roster_that_was_read_before_is_not_read_again_and_another_base_still_refuses_it() -> None:
    joins = [wire.seal(one, good_join(number)) for number, one in enumerate(CREW)]
    sealed = roster_of(RUN, joins, CREW[0], BALLOT, HEAD)
    again = wire.Sealed(sealed.author, bytes(bytearray(sealed.payload)), sealed.signature)
    assert read_roster(sealed, RUN, HEAD.state_digest) is read_roster(again, RUN, HEAD.state_digest)
    with pytest.raises(ProtocolError, match="base"):
        read_roster(sealed, RUN, bytes(32))
    with pytest.raises(ProtocolError, match="another run"):
        read_roster(sealed, Run(make_charter(3, members=7)), HEAD.state_digest)
    forged = wire.Sealed(sealed.author, sealed.payload, bytes(64))
    with pytest.raises(ProtocolError, match="signature"):
        read_roster(forged, RUN, HEAD.state_digest)


def test_a_join_that_was_read_before_is_the_same_and_a_changed_byte_is_not() -> None:
    sealed = wire.seal(CREW[1], good_join(1))
    assert read_join(sealed, RUN) is read_join(wire.Sealed(*msgspec.structs.astuple(sealed)), RUN)
    changed = bytearray(sealed.payload)
    changed[-1] ^= 1
    with pytest.raises(ProtocolError, match="signature"):
        read_join(wire.Sealed(sealed.author, bytes(changed), sealed.signature), RUN)


def test_who_is_in_an_aggregate_is_the_same_the_second_time_and_bad_bitmaps_stay_bad() -> None:
    roster = read(*(wire.seal(one, good_join(number)) for number, one in enumerate(CREW)))
    bitmap = roster.bitmap((0, 2))
    assert roster.contributors(bitmap) == roster.contributors(bytes(bitmap)) == (0, 2)
    assert roster.members_in(bitmap) == roster.members_in(bitmap) == 2
    for _ in range(2):
        with pytest.raises(ProtocolError, match="contributes nothing"):
            roster.contributors(bytes([0b1000]))
