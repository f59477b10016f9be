"""The rules of a run: the genesis charter, the amendments that follow it, and the list of revocations. Pure.

Governance documents are judged one after the other, each under the rules that those before it left:

 1. a document is of this run (its id is the genesis charter's in every epoch) and in canonical form;
 2. an amendment follows the newest epoch by number and by digest: no gap, no second one of the same epoch;
 3. it changes what an amendment may change, and nothing else (`swarm.charter.amendment`);
 4. k of the n members in force signed it (`governance.amend_threshold`, more than two thirds if that is 0), where
    whoever is revoked is no member;
 5. a revocation is signed by the key whose passports it withdraws, if that is a member's in force, or by k of n.

What a peer makes of the documents it holds is in `holdings.py`.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
import rfc8785

from swarm.charter.admission import Admitted, Refused, admit
from swarm.charter.amendment import (
    AMENDMENT_DOMAIN,
    SignedAmendment,
    amendment_bytes,
    amendment_digest,
    check_amendment,
    content_of_amendment,
)
from swarm.charter.cosigning import signers
from swarm.charter.manifest import Charter
from swarm.charter.passport import SignedPassport
from swarm.charter.revocation import (
    MAX_REVOCATIONS,
    NOTHING_REVOKED,
    REVOCATION_DOMAIN,
    Revoked,
    SignedRevocation,
    check_revocation,
    revocation_bytes,
    revocation_digest,
)
from swarm.charter.rules import MAX_MEMBERS
from swarm.charter.signing import run_id
from swarm.errors import CharterError
from swarm.identity.peer_id import PeerId

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""A whole charter, and a signature of every member there can be."""
_REMEMBERED = 256
_DIGESTS = 8_192

SignedDocument = SignedAmendment | SignedRevocation


class RulesId(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What joins and rosters name, and through its roster every commit record: the rules they were made under."""

    epoch: int = 0
    amendment: bytes = b""
    """Digest of the epoch's amendment, 32 bytes; empty for epoch 0."""
    revocations: bytes = b""
    """Digest of the revocation list, 32 bytes; empty while nothing is revoked."""


GENESIS_RULES = RulesId()


@dataclass(frozen=True, eq=False)
class Rules:
    """Rules of a run at one point. Equal where they say the same and came into force in the same round."""

    run_id: str
    charter: Charter
    """The one in force; `run_id` is not its digest once it is amended."""
    in_force: RulesId = GENESIS_RULES
    revoked: Revoked = NOTHING_REVOKED
    before: "Rules | None" = field(default=None, repr=False)
    """Those that the newest amendment replaced."""
    since: int = 0
    """The last round whose record brought documents; 0 if none has."""

    @classmethod
    def genesis(cls, charter: Charter) -> "Rules":
        return cls(run_id(charter), charter)

    @property
    def epoch(self) -> int:
        return self.in_force.epoch

    @property
    def digest(self) -> str:
        """What the next amendment has to name."""
        return self.in_force.amendment.hex() or self.run_id

    @property
    def voters(self) -> frozenset[PeerId]:
        """Keys of the members in force."""
        return frozenset(member.key for member in self.charter.members if not self.revoked.has_key(member.key))

    @property
    def threshold(self) -> int:
        """Members that must sign an amendment or somebody else's revocation."""
        return self.charter.governance.amend_threshold or 2 * len(self.voters) // 3 + 1

    def admit(self, signed: SignedPassport, remote: PeerId, now_s: float) -> Admitted | Refused:
        """Judges the passport that `remote` showed; `now_s` is in Unix seconds."""
        return admit(signed, remote, self.charter, self.run_id, now_s, self.revoked)

    def of_epoch(self, epoch: int) -> "Rules | None":
        """The rules an earlier epoch began or ended with; None for a later one."""
        if epoch >= self.epoch:
            return self if epoch == self.epoch else None
        return None if self.before is None else self.before.of_epoch(epoch)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rules) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, RulesId, int]:
        return self.run_id, self.in_force, self.since


# --- documents --------------------------------------------------------------------------------------------------------


def encode(document: SignedDocument) -> bytes:
    """One line of canonical JSON (RFC 8785). Raises CharterError for a number that JSON cannot hold exactly."""
    try:
        content: dict[str, Any] = msgspec.to_builtins(document)
        if isinstance(document, SignedAmendment):
            content["amendment"] = content_of_amendment(document.amendment)
        return rfc8785.dumps(content) + b"\n"
    except rfc8785.CanonicalizationError as error:
        raise CharterError(f"the document has no canonical form: {error}") from None


@lru_cache(_REMEMBERED)
def decode(data: bytes) -> SignedDocument:
    """The envelope in a file or a message; nothing is verified yet. Only the bytes that `encode` writes are read.

    Raises:
        CharterError: too long, not JSON, a key that is missing, unknown or of the wrong type, or another spelling.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise CharterError(f"the document is longer than {MAX_DOCUMENT_BYTES} bytes")
    try:
        document = msgspec.json.decode(data, type=SignedDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CharterError(f"governance document: {error}") from None
    if len(document.signatures) > MAX_MEMBERS:
        raise CharterError(f"the document carries more than {MAX_MEMBERS} signatures")
    if encode(document) != data:
        raise CharterError("the document was changed after it was written: it is not in canonical form")
    return document


@lru_cache(_DIGESTS)
def digest_of(data: bytes) -> str:
    """Hex digest of a document's payload: the same whoever signed it. Raises CharterError."""
    match decode(data):
        case SignedAmendment() as signed:
            return amendment_digest(signed.amendment)
        case SignedRevocation() as signed:
            return revocation_digest(signed.revocation)


def amendment_signers(signed: SignedAmendment, among: Container[PeerId]) -> frozenset[PeerId]:
    """Whose signature holds."""
    return signers(signed.signatures, among, AMENDMENT_DOMAIN, amendment_bytes(signed.amendment))


def revocation_signers(signed: SignedRevocation, among: Container[PeerId]) -> frozenset[PeerId]:
    """Whose signature holds."""
    return signers(signed.signatures, among, REVOCATION_DOMAIN, revocation_bytes(signed.revocation))


# --- judging ----------------------------------------------------------------------------------------------------------


@lru_cache(_REMEMBERED)
def plus(rules: Rules, data: bytes) -> Rules:
    """The rules once a document is in force, whatever its `from_round`.

    Raises:
        CharterError: one sentence with the rule that is broken.
    """
    match decode(data):
        case SignedAmendment() as signed:
            return _amended(rules, signed)
        case SignedRevocation() as signed:
            return _revoked(rules, signed)


def _amended(rules: Rules, signed: SignedAmendment) -> Rules:
    amendment = signed.amendment
    _check_run(rules, amendment.run_id)
    if amendment.epoch != rules.epoch + 1:
        raise CharterError(
            f"an amendment of epoch {amendment.epoch}, and epoch {rules.epoch} is the newest here: "
            + ("those between are missing" if amendment.epoch > rules.epoch else "that epoch has its amendment")
        )
    if amendment.previous != rules.digest:
        raise CharterError(
            f"the amendment of epoch {amendment.epoch} follows another epoch {rules.epoch} "
            f"({amendment.previous[:16]!r}) than the one in force ({rules.digest[:16]!r})"
        )
    check_amendment(amendment, rules.charter)
    _check_quorum(rules, amendment_signers(signed, rules.voters), "the amendment")
    _check_people(rules, amendment.charter)
    digest = bytes.fromhex(amendment_digest(amendment))
    in_force = RulesId(amendment.epoch, digest, rules.in_force.revocations)
    return replace(rules, charter=amendment.charter, in_force=in_force, before=rules)


def _check_people(rules: Rules, charter: Charter) -> None:
    known = {member.key for member in rules.charter.members}
    for member in charter.members:
        if member.key not in known and rules.revoked.has_key(member.key):
            raise CharterError(f"the amendment takes in member {member.name} under a key that is revoked")


def _revoked(rules: Rules, signed: SignedRevocation) -> Rules:
    revocation = signed.revocation
    _check_run(rules, revocation.run_id)
    check_revocation(revocation)
    if revocation in rules.revoked.entries:
        raise CharterError("that revocation is in force already")
    if len(rules.revoked.entries) >= MAX_REVOCATIONS:
        raise CharterError(f"the list has {MAX_REVOCATIONS} revocations, and that is the most")
    found = revocation_signers(signed, rules.voters)
    if revocation.key not in found:
        _check_quorum(rules, found, "a revocation that its key did not sign as a member in force")
    revoked = rules.revoked.plus(revocation)
    in_force = RulesId(rules.epoch, rules.in_force.amendment, revoked.digest)
    return replace(rules, revoked=revoked, in_force=in_force)


def _check_run(rules: Rules, run: str) -> None:
    if run != rules.run_id:
        raise CharterError(f"a document of another run ({run[:16]!r}...)")


def _check_quorum(rules: Rules, signed_by: frozenset[PeerId], what: str) -> None:
    members = rules.voters
    valid, needed = len(signed_by & members), rules.threshold
    if valid < needed:
        raise CharterError(
            f"{what} needs valid signatures of {needed} of {len(members)} members in force and has {valid}"
        )


def followed(rules: Rules, documents: Sequence[bytes], round_number: int) -> Rules:
    """The rules of a round whose record brings these documents, each of which must change something.

    Raises:
        CharterError: one of them is not good at its place, or counts from a later round only.
    """
    for data in documents:
        document = decode(data)
        if isinstance(document, SignedAmendment) and document.amendment.from_round > round_number:
            raise CharterError(
                f"epoch {document.amendment.epoch} counts from round {document.amendment.from_round} on, "
                f"not in round {round_number}"
            )
        rules = plus(rules, data)
    return replace(rules, since=round_number) if documents else rules
