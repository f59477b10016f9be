"""Revocations: a key's passports are withdrawn, one, those of one peer, or all of them.

A member withdraws passports that it signed itself; k of n members withdraw those of any key: a member's (that is how a
member is revoked) or a volunteer's. The entries in force make a list with one digest, whatever order they came in. This
file makes and reads entries and answers whether a list withdraws a passport; who may sign is `swarm.charter.epochs`.

A withdrawn peer may come back under a passport of another member, a withdrawn passport may be followed by a new one, a
member's key by a new key in an amendment. Nothing is ever taken off the list.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import msgspec
import rfc8785

from swarm.charter.amendment import check_reason
from swarm.charter.passport import SignedPassport
from swarm.charter.passport import digest as passport_digest
from swarm.charter.signing import Signature
from swarm.errors import CharterError
from swarm.identity.peer_id import PeerId, parse_peer_id

REVOCATION_DOMAIN = "revocation"
MAX_REVOCATIONS = 4_096
"""Entries a list may have; a member that mints passports and revokes them must not fill every peer's memory."""
_DIGEST_HEX = 64
_SHOWN_HEX = 16


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload. With neither `peer` nor `passport`, all passports that `key` signed are withdrawn."""

    run_id: str
    key: PeerId
    """Who signed the passports that are withdrawn."""
    peer: PeerId = PeerId("")
    """Only this peer's."""
    passport: str = ""
    """Only the one with this hex digest (`tapestry passport verify` prints it)."""
    reason: str


class SignedRevocation(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="revocation"
):
    """An envelope: nothing in it is to be believed before `swarm.charter.epochs` has judged it."""

    revocation: Revocation
    signatures: tuple[Signature, ...] = ()


def revocation_bytes(revocation: Revocation) -> bytes:
    """What is signed: canonical JSON (RFC 8785). Raises CharterError for text that has none."""
    try:
        return rfc8785.dumps(msgspec.to_builtins(revocation))
    except rfc8785.CanonicalizationError as error:
        raise CharterError(f"the revocation has no canonical form: {error}") from None


def revocation_digest(revocation: Revocation) -> str:
    """Hex SHA-256 of the payload, whoever signed it."""
    return hashlib.sha256(revocation_bytes(revocation)).hexdigest()


def check_revocation(revocation: Revocation) -> None:
    """Judges the payload alone. Raises CharterError with the first rule that is broken."""
    for name, text in (("key", revocation.key), ("peer", revocation.peer or revocation.key)):
        try:
            parse_peer_id(text)
        except ValueError as error:
            raise CharterError(f"the revocation's {name}: {error}") from None
    if revocation.peer and revocation.passport:
        raise CharterError("the revocation names a peer and a passport: it withdraws one or the other")
    if revocation.passport and not _is_digest(revocation.passport):
        raise CharterError("the revocation's passport must be 64 lowercase hexadecimal digits")
    check_reason(revocation.reason)


def _is_digest(text: str) -> bool:
    return len(text) == _DIGEST_HEX and not set(text) - set("0123456789abcdef")


def scope(revocation: Revocation) -> str:
    """Which passports a revocation withdraws."""
    if revocation.passport:
        return f"passport {revocation.passport[:_SHOWN_HEX]} by {revocation.key} is"
    if revocation.peer:
        return f"passports of {revocation.peer} by {revocation.key} are"
    return f"all passports by {revocation.key} are"


@dataclass(frozen=True)
class Revoked:
    """A list of revocations in force."""

    entries: frozenset[Revocation] = frozenset()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the sorted digests of the entries, 32 bytes; empty while nothing is revoked."""
        if not self.entries:
            return b""
        return hashlib.sha256("".join(sorted(map(revocation_digest, self.entries))).encode()).digest()

    def withdraws(self, signed: SignedPassport) -> bool:
        """Whether this passport no longer counts."""
        return bool(self.entries) and bool(
            {(signed.signer, "", ""), (signed.signer, signed.payload.peer_id, "")} & self._scopes
            or (signed.signer in self._keys_of_single and (signed.signer, "", passport_digest(signed)) in self._scopes)
        )

    def has_key(self, key: PeerId) -> bool:
        """Whether all passports of a key are withdrawn: then it counts as no member either."""
        return (key, "", "") in self._scopes

    def plus(self, revocation: Revocation) -> "Revoked":
        return Revoked(self.entries | {revocation})

    @cached_property
    def _scopes(self) -> frozenset[tuple[str, str, str]]:
        return frozenset((entry.key, entry.peer, entry.passport) for entry in self.entries)

    @cached_property
    def _keys_of_single(self) -> frozenset[str]:
        return frozenset(entry.key for entry in self.entries if entry.passport)


NOTHING_REVOKED = Revoked()
