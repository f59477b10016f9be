"""One document under signatures of several keys: adding one, and seeing whose hold. Whose count is not decided here."""

from collections.abc import Container, Iterable

from swarm.charter.signing import Signature
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, verify


def with_signature(
    signatures: Iterable[Signature], identity: Identity, domain: str, message: bytes
) -> tuple[Signature, ...]:
    """The signatures with one of `identity` over `message` added, or renewed; in the order of their keys."""
    by_key = {known.key: known for known in signatures}
    by_key[identity.peer_id] = Signature(key=identity.peer_id, signature=identity.sign(domain, message).hex())
    return tuple(by_key[key] for key in sorted(by_key))


def signers(
    signatures: Iterable[Signature], among: Container[PeerId], domain: str, message: bytes
) -> frozenset[PeerId]:
    """The keys `among` some whose signature over `message` holds; a key counts once, others cost no time."""
    return frozenset(entry.key for entry in signatures if entry.key in among and _holds(entry, domain, message))


def _holds(entry: Signature, domain: str, message: bytes) -> bool:
    try:
        raw = bytes.fromhex(entry.signature)
    except ValueError:
        return False
    # One spelling only: fromhex also takes capitals and spaces.
    return raw.hex() == entry.signature and verify(entry.key, raw, domain, message)
