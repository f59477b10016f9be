"""Passports and admission: who gets in, every reason for which somebody does not, and tampering."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from swarm.charter import passport as passports
from swarm.charter.admission import Admitted, Reason, Refused, admit
from swarm.charter.manifest import Admission, Charter
from swarm.charter.passport import Passport, SignedPassport
from swarm.charter.signing import run_id
from swarm.errors import PassportError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from tests.unit.charter.samples import ADA, BO, EXPIRES_S, NOW_S, PEERS, STRANGER, charter

PEER = PEERS[0]
OPEN = replace(charter(), admission=Admission(kind="open"))


def _issued(member: Identity = ADA, peer: PeerId = PEER.peer_id, jurisdiction: str = "DE") -> SignedPassport:
    return passports.issue(member, charter(), peer, jurisdiction, EXPIRES_S, NOW_S)


def _judge(signed: SignedPassport, remote: PeerId = PEER.peer_id, rules: Charter | None = None, now_s: float = NOW_S):
    rules = rules or charter()
    return admit(signed, remote, rules, run_id(rules), now_s)


def _forged(payload: Passport, signer: Identity) -> SignedPassport:
    """What somebody with a key and no scruples can make."""
    signature = signer.sign(passports.PASSPORT_DOMAIN, passports.encode_payload(payload)).hex()
    return SignedPassport(payload=payload, signer=signer.peer_id, signature=signature)


def test_a_members_peer_is_admitted() -> None:
    signed = _issued()
    assert _judge(signed) == Admitted(signed.payload)
    assert (signed.payload.member, signed.payload.region) == ("Ada", "eu")


def test_a_slow_clock_does_not_refuse_a_new_passport() -> None:
    assert isinstance(_judge(_issued(), now_s=NOW_S - 60), Admitted)


@pytest.mark.parametrize(
    ("changes", "signer", "reason"),
    [
        ({"run_id": "0" * 64}, ADA, Reason.WRONG_RUN),
        ({"peer_id": STRANGER.peer_id}, ADA, Reason.WRONG_PEER),
        ({"member": "Nobody"}, ADA, Reason.UNKNOWN_MEMBER),
        ({"member": "open"}, ADA, Reason.UNKNOWN_MEMBER),
        ({"member": "Bo"}, ADA, Reason.BAD_SIGNATURE),
        ({}, STRANGER, Reason.BAD_SIGNATURE),
        ({}, PEER, Reason.SELF_SIGNED),
        ({"member": "open"}, PEER, Reason.SELF_SIGNED),
        ({"expires": int(NOW_S)}, ADA, Reason.EXPIRED),
        ({"not_before": int(NOW_S) + 1}, ADA, Reason.NOT_YET_VALID),
        ({"region": "east-asia"}, ADA, Reason.WRONG_REGION),
        ({"jurisdiction": "US"}, ADA, Reason.WRONG_REGION),
    ],
)
def test_each_reason_to_refuse(changes: dict[str, object], signer: Identity, reason: Reason) -> None:
    assert _judge(_forged(replace(_issued().payload, **changes), signer)) == Refused(reason)


def test_a_payload_without_canonical_form_cannot_have_been_signed() -> None:
    signed = replace(_issued(), payload=replace(_issued().payload, not_before=-(2**60)))
    assert _judge(signed) == Refused(Reason.BAD_SIGNATURE)


def test_a_members_own_key_runs_no_peer() -> None:
    payload = replace(_issued().payload, peer_id=ADA.peer_id)
    assert _judge(_forged(payload, ADA), remote=ADA.peer_id) == Refused(Reason.SELF_SIGNED)
    with pytest.raises(PassportError, match="second key"):
        _issued(peer=ADA.peer_id)


def test_an_open_run_admits_volunteers_and_members() -> None:
    own = passports.volunteer(STRANGER, OPEN, "JP", EXPIRES_S, NOW_S)
    assert _judge(own, STRANGER.peer_id, OPEN) == Admitted(own.payload)
    assert own.payload.member == "open"
    membership = passports.issue(ADA, OPEN, PEER.peer_id, "DE", EXPIRES_S, NOW_S)
    assert isinstance(_judge(membership, rules=OPEN), Admitted)


def test_a_volunteer_cannot_pose_as_a_member_or_be_vouched_for() -> None:
    own = passports.volunteer(STRANGER, OPEN, "JP", EXPIRES_S, NOW_S)
    posing = _forged(replace(own.payload, member="Ada"), STRANGER)
    assert _judge(posing, STRANGER.peer_id, OPEN) == Refused(Reason.SELF_SIGNED)
    vouched = _forged(own.payload, BO)
    assert _judge(vouched, STRANGER.peer_id, OPEN) == Refused(Reason.BAD_SIGNATURE)


def test_a_closed_run_has_no_volunteers() -> None:
    with pytest.raises(PassportError, match="member's passport"):
        passports.volunteer(STRANGER, charter(), "JP", EXPIRES_S, NOW_S)


@pytest.mark.parametrize(
    ("member", "peer", "jurisdiction", "expires_s", "cause"),
    [
        (STRANGER, PEER.peer_id, "DE", EXPIRES_S, "not the key of a member"),
        (ADA, PEER.peer_id, "US", EXPIRES_S, "no region"),
        (ADA, PEER.peer_id, "DE", NOW_S, "expired"),
        (ADA, PeerId("QmOld"), "DE", EXPIRES_S, "QmOld"),
    ],
)
def test_no_passport_is_issued_that_would_not_be_accepted(
    member: Identity, peer: PeerId, jurisdiction: str, expires_s: float, cause: str
) -> None:
    with pytest.raises(PassportError, match=cause):
        passports.issue(member, charter(), peer, jurisdiction, expires_s, NOW_S)


def test_a_passport_survives_its_encoding() -> None:
    signed = _issued()
    data = passports.encode(signed)
    assert passports.decode(data) == signed
    assert len(data) <= passports.MAX_PASSPORT_BYTES
    assert passports.digest(signed) != passports.digest(_issued(jurisdiction="FR"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 4000,
        b"\xff\xfe",
        b" " * 4097,
        passports.encode(_issued()) + b"\n",
        passports.encode(_issued()).rstrip(),
        json.dumps(json.loads(passports.encode(_issued())), indent=1).encode(),
    ],
)
def test_malformed_passports_are_refused(data: bytes) -> None:
    with pytest.raises(PassportError):
        passports.decode(data)


@given(st.binary(max_size=100))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    with pytest.raises(PassportError):
        passports.decode(data)


ENCODED = passports.encode(_issued())


@given(position=st.integers(0, len(ENCODED) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, flip: int) -> None:
    data = bytearray(ENCODED)
    data[position] ^= flip
    try:
        signed = passports.decode(bytes(data))
    except PassportError:
        return
    assert isinstance(_judge(signed), Refused)
