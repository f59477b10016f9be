"""Governance documents that a peer holds: which of them it is held to in a round, and what to make of a new one. Pure.

Revocations count at once, an amendment from its `from_round` on. What is in force depends on the set of documents only,
so two peers that hold the same follow the same rules, in whatever order the documents came to them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarm.charter.amendment import MAX_EPOCH, SignedAmendment, amendment_digest
from swarm.charter.epochs import Rules, amendment_signers, decode, digest_of, plus
from swarm.charter.revocation import MAX_REVOCATIONS, SignedRevocation
from swarm.errors import CharterError
from swarm.identity.peer_id import PeerId

MAX_DOCUMENTS = MAX_EPOCH + MAX_REVOCATIONS
_AT_LAST = 2**62
"""A round after every `from_round`."""


def in_force_for(rules: Rules, held: Iterable[bytes], round_number: int) -> tuple[Rules, tuple[bytes, ...]]:
    """What a peer that holds good documents is held to in a round, and which of them lead there from `rules`.

    In an order that depends on the set only: revocations that hold, then the next epoch, then again.
    """
    revocations: list[bytes] = []
    amendments: dict[int, bytes] = {}
    for data in sorted(held, key=digest_of):
        document = decode(data)
        if isinstance(document, SignedAmendment):
            if document.amendment.from_round <= round_number:
                amendments.setdefault(document.amendment.epoch, data)
        else:
            revocations.append(data)
    used: list[bytes] = []
    while True:
        for data in revocations:
            rules, used = _tried(rules, used, data)
        data = amendments.get(rules.epoch + 1)
        before = rules
        if data is not None:
            rules, used = _tried(rules, used, data)
        if rules is before:
            return rules, tuple(used)


def newest_of(rules: Rules, held: Iterable[bytes]) -> Rules:
    """Those rules once every document that is good counts, whatever round it waits for."""
    return in_force_for(rules, held, _AT_LAST)[0]


def _tried(rules: Rules, used: list[bytes], data: bytes) -> tuple[Rules, list[bytes]]:
    try:
        return plus(rules, data), [*used, data]
    except CharterError:
        return rules, used  # in force already, or no longer good where it would come


@dataclass(frozen=True)
class Taken:
    """Good, and new."""

    data: bytes


@dataclass(frozen=True)
class Known:
    """Held or in force already."""


@dataclass(frozen=True)
class Rejected:
    """Not good: `code` is stable, `reason` for people."""

    code: str
    reason: str


@dataclass(frozen=True)
class Equivocation:
    """A second good amendment of an epoch: `both` signed the two of them."""

    epoch: int
    both: frozenset[PeerId]
    reason: str


def judge(rules: Rules, held: Sequence[bytes], data: bytes) -> Taken | Known | Rejected | Equivocation:
    """What to make of a document that arrives where `rules` are on record and the good documents `held` were taken."""
    try:
        digest, document = digest_of(data), decode(data)
    except CharterError as error:
        return Rejected("malformed", str(error))
    if digest in {digest_of(known) for known in held}:
        return Known()
    if len(held) >= MAX_DOCUMENTS:
        return Rejected("too_many", f"{MAX_DOCUMENTS} documents are held here, and that is the most")
    if isinstance(document, SignedRevocation):
        return _judge_revocation(rules, held, data, document)
    return _judge_amendment(rules, held, data, document)


def _judge_amendment(
    rules: Rules, held: Sequence[bytes], data: bytes, signed: SignedAmendment
) -> Taken | Known | Rejected | Equivocation:
    newest = newest_of(rules, held)
    epoch = signed.amendment.epoch
    here = newest.of_epoch(epoch)
    before = newest.of_epoch(epoch - 1) if epoch > 0 else None
    if before is None:
        return Rejected("gap", f"an amendment of epoch {epoch}, and epoch {newest.epoch} is the newest here")
    if here is not None and here.digest == amendment_digest(signed.amendment):
        return Known()
    try:
        plus(before, data)
    except CharterError as error:
        return Rejected("refused", str(error))
    if here is None:
        return Taken(data)
    both = amendment_signers(signed, before.voters)
    for known in map(decode, held):
        if isinstance(known, SignedAmendment) and amendment_digest(known.amendment) == here.digest:
            both &= amendment_signers(known, before.voters)
    return Equivocation(
        epoch,
        both,
        f"a second amendment of epoch {epoch} ({amendment_digest(signed.amendment)[:16]}): the first one "
        f"({here.digest[:16]}) stands",
    )


def _judge_revocation(
    rules: Rules, held: Sequence[bytes], data: bytes, signed: SignedRevocation
) -> Taken | Known | Rejected:
    newest = newest_of(rules, held)
    if signed.revocation in newest.revoked.entries:
        return Known()
    cause = ""
    for point in {newest, rules}:
        try:
            plus(point, data)
            return Taken(data)
        except CharterError as error:
            cause = cause or str(error)
    return Rejected("refused", cause)
