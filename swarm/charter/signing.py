"""Founders' signatures over a charter: canonical bytes, run id, signing, verifying.

The payload (`Charter`) and the envelope (`SignedCharter`) are separate types: only `verify_charter` turns the
one into the other. What is signed and hashed is the canonical JSON (RFC 8785) of the payload with its
defaults spelled out, so that comments and order in a file change nothing. No clock and no files here.
"""

import hashlib
from typing import Any

import msgspec
import rfc8785

from swarm.charter.manifest import Charter, Data
from swarm.charter.rules import MAX_FOUNDERS, check_charter
from swarm.errors import CharterError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, verify

__all__ = [
    "Signature",
    "SignedCharter",
    "canonical_bytes",
    "check_charter",
    "check_not_expired",
    "run_id",
    "sign_charter",
    "verify_charter",
]

CHARTER_DOMAIN = "charter"
MAX_SIGNATURES = MAX_FOUNDERS
"""More than one for every founder there can be is an attempt to waste time."""


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: PeerId
    signature: str
    """128 hexadecimal digits."""


class SignedCharter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An envelope: nothing in it is to be believed before `verify_charter`."""

    charter: Charter
    signatures: tuple[Signature, ...] = ()


def canonical_bytes(charter: Charter) -> bytes:
    """RFC 8785 JSON of the payload.

    Raises:
        CharterError: a number that JSON cannot hold exactly.
    """
    try:
        return rfc8785.dumps(content_of(charter))
    except rfc8785.CanonicalizationError as error:
        raise CharterError(f"the charter has no canonical form: {error}") from None


def content_of(charter: Charter) -> dict[str, Any]:
    """The payload as what is signed and hashed. A table that charters gained later is in it only where it says
    something, so those that were signed before stay what they were."""
    content: dict[str, Any] = msgspec.to_builtins(charter)
    if charter.data == Data():
        del content["data"]
    return content


def run_id(charter: Charter) -> str:
    """The run's name among machines: hex SHA-256 of the canonical bytes."""
    return hashlib.sha256(canonical_bytes(charter)).hexdigest()


def sign_charter(signed: SignedCharter, identity: Identity) -> SignedCharter:
    """Adds (or renews) the signature of one founder; signatures stay in the founders' order.

    Raises:
        CharterError: the charter breaks a rule, or the key is not a founder's.
    """
    charter = signed.charter
    check_charter(charter)
    if identity.peer_id not in charter.founders.keys:
        raise CharterError(f"{identity.peer_id} is not one of the charter's founders")
    text = identity.sign(CHARTER_DOMAIN, canonical_bytes(charter)).hex()
    by_key = {known.key: known for known in signed.signatures if known.key in charter.founders.keys}
    by_key[identity.peer_id] = Signature(key=identity.peer_id, signature=text)
    ordered = tuple(by_key[key] for key in charter.founders.keys if key in by_key)
    return SignedCharter(charter=charter, signatures=ordered)


def verify_charter(signed: SignedCharter) -> Charter:
    """The founding payload, once it is consistent and signed by enough founders.

    Whether the run is over is no question to it: an amendment may have moved that (`check_not_expired`).

    Raises:
        CharterError: one sentence that says what is wrong.
    """
    charter = signed.charter
    check_charter(charter)
    if len(signed.signatures) > MAX_SIGNATURES:
        raise CharterError(f"the charter carries more than {MAX_SIGNATURES} signatures")
    valid, needed = len(valid_signers(signed)), charter.founders.threshold
    if valid < needed:
        raise CharterError(
            f"the charter needs valid signatures of {needed} of its {len(charter.founders.keys)} founders "
            f"and has {valid}"
        )
    return charter


def check_not_expired(charter: Charter, now_s: float) -> None:
    """Raises CharterError once the time of the run is over, by the charter in force."""
    if now_s >= charter.run.expires:
        raise CharterError(f"the charter of run {charter.run.name} has expired")


def valid_signers(signed: SignedCharter) -> frozenset[PeerId]:
    """The founders whose signature holds; a key counts once, whoever is no founder not at all."""
    message = canonical_bytes(signed.charter)
    return frozenset(
        entry.key for entry in signed.signatures if entry.key in signed.charter.founders.keys and _holds(entry, message)
    )


def _holds(entry: Signature, message: bytes) -> bool:
    try:
        raw = bytes.fromhex(entry.signature)
    except ValueError:
        return False
    return verify(entry.key, raw, CHARTER_DOMAIN, message)
