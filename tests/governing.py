"""Amendments and revocations for tests: made the way the commands make them, signed by whoever a test names."""

from collections.abc import Sequence
from typing import Any

import msgspec

from swarm.charter.amendment import AMENDMENT_DOMAIN, Amendment, SignedAmendment, amendment_bytes
from swarm.charter.cosigning import with_signature
from swarm.charter.epochs import Rules, encode
from swarm.charter.manifest import Charter
from swarm.charter.revocation import REVOCATION_DOMAIN, Revocation, SignedRevocation, revocation_bytes
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId


def changed(charter: Charter, **tables: Any) -> Charter:
    """A charter with whole tables replaced, or, given a dict, some of a table's keys."""
    made = {
        name: msgspec.structs.replace(getattr(charter, name), **value) if isinstance(value, dict) else value
        for name, value in tables.items()
    }
    return msgspec.structs.replace(charter, **made)


def amendment(
    rules: Rules, signers: Sequence[Identity], *, from_round: int = 1, reason: str = "as agreed", **tables: Any
) -> bytes:
    """The next epoch after `rules`, with some of the charter changed."""
    payload = Amendment(
        run_id=rules.run_id,
        epoch=rules.epoch + 1,
        previous=rules.digest,
        from_round=from_round,
        charter=changed(rules.charter, **tables),
        reason=reason,
    )
    return signed_amendment(payload, signers)


def signed_amendment(payload: Amendment, signers: Sequence[Identity]) -> bytes:
    made = SignedAmendment(amendment=payload)
    for signer in signers:
        signatures = with_signature(made.signatures, signer, AMENDMENT_DOMAIN, amendment_bytes(payload))
        made = SignedAmendment(amendment=payload, signatures=signatures)
    return encode(made)


def revocation(
    run_id: str, key: PeerId, signers: Sequence[Identity], *, peer: PeerId | None = None, passport: str = ""
) -> bytes:
    """Withdraws what `key` has signed: all of it, one peer's, or one passport."""
    payload = Revocation(run_id=run_id, key=key, peer=peer or PeerId(""), passport=passport, reason="lost its disk")
    made = SignedRevocation(revocation=payload)
    for signer in signers:
        signatures = with_signature(made.signatures, signer, REVOCATION_DOMAIN, revocation_bytes(payload))
        made = SignedRevocation(revocation=payload, signatures=signatures)
    return encode(made)
