"""Passports: a member's word that a peer is its own, where it stands and until when.

Makes, encodes and decodes them. Whether a passport is good enough to let somebody in is `admission.py`'s
decision. In a run with open or mixed admission a volunteer signs its own, as member "open".
"""

import hashlib
from functools import lru_cache
from typing import Literal

import msgspec
import rfc8785

from swarm.charter.manifest import Charter
from swarm.charter.rules import OPEN_MEMBER
from swarm.charter.signing import run_id
from swarm.errors import PassportError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, parse_peer_id, verify

PASSPORT_DOMAIN = "passport"
MAX_PASSPORT_BYTES = 4_096
_REMEMBERED = 4096
"""Passports whose reading and signature are remembered: a peer shows the same one on every stream it opens."""
CLOCK_SKEW_S = 300
"""A new passport is valid from this long before it was made: not every machine's clock is right."""


class Passport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload a member signs."""

    run_id: str
    peer_id: PeerId
    member: str
    jurisdiction: str
    """ISO 3166 alpha-2 code."""
    region: str
    not_before: int
    """Unix seconds."""
    expires: int
    """Unix seconds; from then on the passport is refused."""
    role: Literal["peer", "observer"] = "peer"
    """An observer may ask for records and published figures, and for nothing that training made."""


class SignedPassport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An envelope: nothing in it is to be believed before `swarm.charter.admission.admit`."""

    payload: Passport
    signer: PeerId
    signature: str
    """128 hexadecimal digits."""


def issue(
    member_identity: Identity,
    charter: Charter,
    peer_id: PeerId,
    jurisdiction: str,
    expires_s: float,
    now_s: float,
    role: Literal["peer", "observer"] = "peer",
    *,
    run: str | None = None,
) -> SignedPassport:
    """A passport for `peer_id`, signed by the member that owns it; both times are Unix seconds.

    `run` is the run's id where `charter` is an amended one, whose digest it is not.

    Raises:
        PassportError: the key is no member's, or the jurisdiction, the peer id or the expiry makes no valid
            passport.
    """
    for member in charter.members:
        if member.key == member_identity.peer_id:
            break
    else:
        raise PassportError(f"{member_identity.peer_id} is not the key of a member of run {charter.run.name}")
    if peer_id == member_identity.peer_id:
        raise PassportError("a member's key signs passports and runs no peer: make a second key for the peer")
    return _signed(member_identity, charter, member.name, peer_id, jurisdiction, expires_s, now_s, role, run)


def volunteer(
    identity: Identity,
    charter: Charter,
    jurisdiction: str,
    expires_s: float,
    now_s: float,
    *,
    run: str | None = None,
) -> SignedPassport:
    """A volunteer's own passport for a run that admits volunteers; times are Unix seconds, `run` is as in `issue`.

    Raises:
        PassportError: the run admits members' peers only, or as in `issue`.
    """
    if not charter.admits_volunteers:
        raise PassportError(f"run {charter.run.name} admits only peers with a member's passport")
    return _signed(identity, charter, OPEN_MEMBER, identity.peer_id, jurisdiction, expires_s, now_s, "peer", run)


@lru_cache(_REMEMBERED)
def signature_holds(signed: SignedPassport) -> bool:
    """Whether `signer` signed exactly this payload; says nothing about the signer's right to do so."""
    try:
        raw, message = bytes.fromhex(signed.signature), encode_payload(signed.payload)
    except (ValueError, PassportError):  # what has no canonical form cannot have been signed
        return False
    # One spelling only: fromhex also takes capitals and spaces.
    return raw.hex() == signed.signature and verify(signed.signer, raw, PASSPORT_DOMAIN, message)


def encode_payload(payload: Passport) -> bytes:
    """What is signed: canonical JSON (RFC 8785).

    Raises:
        PassportError: a number that JSON cannot hold exactly.
    """
    return _canonical(payload)


def encode(signed: SignedPassport) -> bytes:
    """One line of canonical JSON (RFC 8785)."""
    return _canonical(signed) + b"\n"


@lru_cache(_REMEMBERED)
def decode(data: bytes) -> SignedPassport:
    """The envelope in a file or a message; nothing is verified yet. Only the bytes that `encode` writes are
    read.

    Raises:
        PassportError: too long, not JSON, a key that is missing, unknown or of the wrong type, or another
            spelling.
    """
    if len(data) > MAX_PASSPORT_BYTES:
        raise PassportError(f"the passport is longer than {MAX_PASSPORT_BYTES} bytes")
    try:
        signed = msgspec.json.decode(data, type=SignedPassport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PassportError(f"passport: {error}") from None
    if encode(signed) != data:
        raise PassportError("the passport was changed after it was written: it is not in canonical form")
    return signed


def digest(signed: SignedPassport) -> str:
    """Hex SHA-256 of the encoded passport, payload and signature."""
    return hashlib.sha256(encode(signed)).hexdigest()


def _signed(
    identity: Identity,
    charter: Charter,
    member: str,
    peer_id: PeerId,
    jurisdiction: str,
    expires_s: float,
    now_s: float,
    role: Literal["peer", "observer"],
    run: str | None,
) -> SignedPassport:
    region = charter.region_of(jurisdiction)
    if region is None:
        raise PassportError(f"run {charter.run.name} has no region for jurisdiction {jurisdiction!r}")
    if expires_s <= now_s:
        raise PassportError("the passport would have expired before it is issued")
    try:
        parse_peer_id(peer_id)
    except ValueError as error:
        raise PassportError(str(error)) from None
    payload = Passport(
        run_id=run or run_id(charter),
        peer_id=peer_id,
        member=member,
        jurisdiction=jurisdiction,
        region=region,
        not_before=max(0, int(now_s) - CLOCK_SKEW_S),
        expires=int(expires_s),
        role=role,
    )
    signature = identity.sign(PASSPORT_DOMAIN, encode_payload(payload)).hex()
    return SignedPassport(payload=payload, signer=identity.peer_id, signature=signature)


def _canonical(document: Passport | SignedPassport) -> bytes:
    try:
        return rfc8785.dumps(msgspec.to_builtins(document))
    except rfc8785.CanonicalizationError as error:
        raise PassportError(f"the passport has no canonical form: {error}") from None
